package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// journal is where a process writes what it is about to send to portals for the first time: for
// each attempt the receipt as it is to be if nothing is heard of the attempt any more. Many share
// one message, so that an intent costs a fraction of a receipt. A page of it is there until
// receipts say what became of each of its attempts.
//
// Nobody reads the journal but [Receipts.Recover], when targets change hands.
type journal struct {
	receipts *Receipts
	subject  string
	writes   *group[Receipt, *Intent]

	mu       sync.Mutex
	pages    []*page            // in the stream's order
	doubtful map[string]*Intent // ended, and no receipt says how; by the receipt's subject
	tidying  bool               // soon, or just now
	closed   bool
	work     sync.WaitGroup
}

// page is one message of the journal.
type page struct {
	seq  uint64
	at   time.Time
	open map[*Intent]bool
}

// intent is how an attempt stands in the journal.
type intent struct {
	Receipt
	// Over is the place of the receipt over which that of the attempt will be stored.
	Over uint64 `json:"over"`
}

// Intent is one attempt that was written into the journal.
type Intent struct {
	journal *journal
	intent  intent
	page    *page // guarded by the journal's lock
	ended   atomic.Bool
}

const (
	// tidyAfter is how long settled pages stay in the journal at least: so many more go at once.
	tidyAfter = time.Second
	// carryAfter is the age from which on open attempts are carried forward to a new page. Pages go
	// from the oldest on: the answer of one slow portal would keep those of all others.
	carryAfter = 5 * time.Second
	// recoverAtOnce is how many attempts are looked into at once when they are recovered.
	recoverAtOnce = 256
)

func newJournal(rs *Receipts) *journal {
	j := &journal{receipts: rs, subject: streams.IntentSubject(uuid.NewString()), doubtful: map[string]*Intent{}}
	// One write at a time: while it is under way, more gather for the next.
	j.writes = newGroup(receiptBatch, 1, receiptRoom, j.write)
	return j
}

// Intend notes durably that the portal is about to be sent version v of the article, of which r is
// the receipt up to now. The caller ends the intent when a receipt says what came of the attempt, or
// when none will.
func (rs *Receipts) Intend(ctx context.Context, r Receipt, v article.Version) (*Intent, error) {
	r.MayHold = v
	c, err := rs.journal.writes.put(ctx, r)
	if err == nil {
		select {
		case <-c.done:
			err = c.err
		case <-ctx.Done():
			err = ctx.Err()
			go func() { // which is not for long: a write has a time of its own
				if <-c.done; c.err == nil {
					c.out.End(true)
				}
			}()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("note that portal %q is about to be sent %s: %w", r.Portal, r.Key, err)
	}
	return c.out, nil
}

// End says that the attempt is over. Settled says that its receipt is on disk, or that nothing was
// sent; otherwise the portal may hold the version from now on. Only the first call counts, and with
// nil, for a portal of which that is known anyway, none.
func (i *Intent) End(settled bool) {
	if i == nil || i.ended.Swap(true) {
		return
	}
	j := i.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if settled {
		delete(i.page.open, i)
	} else {
		subject := i.intent.subject()
		if former := j.doubtful[subject]; former != nil {
			delete(former.page.open, former) // what it says is said by this one
		}
		j.doubtful[subject] = i
	}
	if !j.tidying && !j.closed {
		j.tidying = true
		j.work.Go(j.tidyLater)
	}
}

// write writes one page: new attempts, and old ones that are to be carried forward.
func (j *journal) write(batch []*call[Receipt, *Intent]) {
	now := time.Now()
	all := make([]*Intent, 0, len(batch))
	for _, c := range batch {
		c.out = &Intent{journal: j, intent: intent{c.in, c.in.Seq}}
		all = append(all, c.out)
	}
	carried := j.old(now)
	all = append(all, carried...)
	lines := make([]intent, len(all))
	for n, i := range all {
		lines[n] = i.intent
	}
	data, err := json.Marshal(lines)
	p := &page{at: now, open: make(map[*Intent]bool, len(all))}
	if err == nil {
		j.receipts.patiently(func(ctx context.Context) bool {
			var ack *jetstream.PubAck
			if ack, err = j.receipts.js.Publish(ctx, j.subject, data); err == nil {
				p.seq = ack.Sequence
			}
			return err == nil || !passing(err)
		})
	}
	for _, c := range batch {
		c.err = err
	}
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, i := range carried {
		if !i.page.open[i] {
			continue // it was settled meanwhile
		}
		delete(i.page.open, i)
		i.page, p.open[i] = p, true
	}
	for _, c := range batch {
		c.out.page, p.open[c.out] = p, true
	}
	j.pages = append(j.pages, p)
}

// old gives the attempts to be carried forward, the oldest first; what is more than a page holds is
// carried next time.
func (j *journal) old(now time.Time) []*Intent {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []*Intent
	for _, p := range j.pages {
		if now.Sub(p.at) < carryAfter {
			break
		}
		for i := range p.open {
			if len(all) == receiptBatch {
				return all
			}
			all = append(all, i)
		}
	}
	return all
}

// tidyLater tidies until all is settled that has ended.
func (j *journal) tidyLater() {
	for {
		select {
		case <-time.After(tidyAfter):
		case <-j.receipts.closing:
		}
		ctx, cancel := context.WithTimeout(context.Background(), receiptTimeout)
		j.tidy(ctx)
		cancel()
		j.mu.Lock()
		done := len(j.doubtful) == 0 && (len(j.pages) == 0 || len(j.pages[0].open) > 0) || j.closed
		j.tidying = !done
		j.mu.Unlock()
		if done {
			return
		}
	}
}

// tidy stores the receipts that are missing, and removes the pages before the first open one. What
// it cannot do is done next time, or by those who take the portals over.
func (j *journal) tidy(ctx context.Context) {
	j.mu.Lock()
	doubtful := slices.Collect(maps.Values(j.doubtful))
	j.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(recoverAtOnce)
	for _, i := range doubtful {
		g.Go(func() error { return j.resolve(ctx, i) })
	}
	_ = g.Wait() // those that are left come next time, or when somebody asks for their receipts

	j.mu.Lock()
	n, before := 0, uint64(0)
	for n < len(j.pages) && len(j.pages[n].open) == 0 {
		before = j.pages[n].seq + 1
		n++
	}
	j.mu.Unlock()
	if n == 0 {
		return
	}
	stream, err := j.receipts.js.Stream(ctx, streams.Intents)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(j.subject), jetstream.WithPurgeSequence(before))
	}
	if err == nil {
		j.mu.Lock()
		j.pages = j.pages[n:]
		j.mu.Unlock()
	}
}

// resolve stores that a portal may hold what an attempt has sent of which nothing more will be heard.
func (j *journal) resolve(ctx context.Context, i *Intent) error {
	if err := j.receipts.suppose(ctx, i.intent); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if subject := i.intent.subject(); j.doubtful[subject] == i {
		delete(j.doubtful, subject)
		delete(i.page.open, i)
	}
	return nil
}

// settle resolves the last attempt of r's pair, if that is in doubt: what its receipt says until then
// may be too little.
func (j *journal) settle(ctx context.Context, r Receipt) error {
	j.mu.Lock()
	var i *Intent
	if len(j.doubtful) > 0 {
		i = j.doubtful[r.subject()]
	}
	j.mu.Unlock()
	if i == nil {
		return nil
	}
	return j.resolve(ctx, i)
}

// close tidies as far as that is possible now.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.writes.close()
	j.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), receiptTimeout)
	defer cancel()
	j.tidy(ctx)
}

// suppose stores that a portal may hold what an attempt has sent it, unless its receipt says so much
// itself, or what became of the attempt.
func (rs *Receipts) suppose(ctx context.Context, i intent) error {
	for {
		now, err := rs.latest(ctx, i.Receipt)
		if err != nil || i.knows(now) {
			return err
		}
		r := i.Receipt
		r.Seq, r.Again = now.Seq, now.Again
		if _, err = rs.Put(ctx, r); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// knows reports whether a receipt says what became of the attempt, or of a later one at the same
// portal. Its place does not tell: that over which the attempt's was to be stored may have been read
// from a replica that lagged.
func (i intent) knows(now Receipt) bool {
	return now.Touched() || now.Seq > i.Over && now.Outcome != "" && !now.LastAttempt.Before(i.LastAttempt)
}

// Recovered is what [Receipts.Recover] found.
type Recovered struct {
	Attempts int // of which it is not known what became, and which receipts tell of now
	// Unreadable are the places in the stream of pages that cannot be read, at least in part. They
	// are left there.
	Unreadable []uint64
}

// Recover finds the attempts of other processes that did not end, at the portals that has names, and
// stores for each that the portal may hold what it was being sent. It is called when these portals
// are taken over, before anything is decided about them.
//
// Before that, tell is given what will be stored: after an error of it, nothing is, and the attempt is
// found again. It is called by many goroutines.
func (rs *Receipts) Recover(ctx context.Context, has func(portal string) bool, tell func(context.Context, Receipt) error) (found Recovered, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("recover the intents of others: %w", err)
		}
	}()
	last, err := streams.Leader(ctx, rs.js, streams.Intents, streams.AllIntents)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	stream, err := rs.js.Stream(ctx, streams.Intents)
	if err != nil {
		return found, err
	}
	for m, err := range streams.LeaderAll(ctx, rs.js, streams.Intents, streams.AllIntents) {
		if err != nil {
			return found, err
		}
		if m.Sequence > last.Sequence {
			break // written since, and so by those who have their portals
		}
		if m.Subject == rs.journal.subject {
			continue // this process ends them itself
		}
		p, err := rs.recover(ctx, m.Data, has, tell)
		found.Attempts += p.stored
		if err != nil {
			return found, err
		}
		if p.unreadable > 0 {
			found.Unreadable = append(found.Unreadable, m.Sequence)
		}
		if p.unreadable+p.open == 0 {
			_ = streams.Remove(ctx, stream, m.Sequence) // else the next who looks does it
		}
	}
	return found, nil
}

// recovered is what was found on one page.
type recovered struct {
	stored           int // lines of which receipts tell now
	open, unreadable int // lines that are not settled
}

// recover is Recover for one page. An error says that the server did not answer, or is that of tell,
// not that the page or a receipt is bad.
func (rs *Receipts) recover(ctx context.Context, data []byte, has func(portal string) bool, tell func(context.Context, Receipt) error) (recovered, error) {
	var lines []intent
	if json.Unmarshal(data, &lines) != nil {
		return recovered{unreadable: 1}, nil
	}
	var mu sync.Mutex
	var p recovered
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(recoverAtOnce)
	for _, line := range lines {
		g.Go(func() error {
			stored, open, err := rs.recoverLine(ctx, line, has, tell)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errUnreadable):
				p.unreadable++
				return nil
			case err != nil:
				return err
			case open:
				p.open++
			case stored:
				p.stored++
			}
			return nil
		})
	}
	err := g.Wait()
	return p, err // as it is by then
}

func (rs *Receipts) recoverLine(ctx context.Context, line intent, has func(portal string) bool, tell func(context.Context, Receipt) error) (stored, open bool, err error) {
	if _, err := streams.ParseKey(string(line.Key)); err != nil || !nameForm.MatchString(line.Portal) {
		return false, false, errUnreadable
	}
	now, _, err := rs.Get(ctx, line.Portal, line.Key)
	switch {
	case err != nil || line.knows(now):
		return false, false, err
	case !has(line.Portal):
		return false, true, nil
	}
	if err := tell(ctx, line.Receipt); err != nil {
		return false, false, err
	}
	return true, false, rs.suppose(ctx, line)
}
