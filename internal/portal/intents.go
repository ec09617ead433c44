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
	writes   *group[Receipt, *page]

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
	open int // of its attempts
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
	page    *page
	intent  Receipt
	ended   atomic.Bool
}

const (
	// tidyAfter is how long settled pages stay in the journal at least: so many more go at once.
	tidyAfter = time.Second
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
	// Once it is asked for it is waited for, as somebody has to end it.
	p, err := rs.journal.writes.ask(context.WithoutCancel(ctx), r)
	if err != nil {
		return nil, fmt.Errorf("note that portal %q is about to be sent %s: %w", r.Portal, r.Key, err)
	}
	return &Intent{journal: rs.journal, page: p, intent: r}, nil
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
		i.page.open--
	} else {
		j.doubtful[i.intent.subject()] = i
	}
	if !j.tidying && !j.closed {
		j.tidying = true
		j.work.Go(j.tidyLater)
	}
}

// write writes one page.
func (j *journal) write(batch []*call[Receipt, *page]) {
	lines := make([]intent, len(batch))
	for i, c := range batch {
		lines[i] = intent{c.in, c.in.Seq}
	}
	data, err := json.Marshal(lines)
	p := &page{open: len(batch)}
	if err == nil {
		j.receipts.patiently(func(ctx context.Context) bool {
			var ack *jetstream.PubAck
			if ack, err = j.receipts.js.Publish(ctx, j.subject, data); err == nil {
				p.seq = ack.Sequence
			}
			return err == nil || !passing(err)
		})
	}
	if err == nil {
		j.mu.Lock()
		j.pages = append(j.pages, p)
		j.mu.Unlock()
	}
	for _, c := range batch {
		c.out, c.err = p, err
	}
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
		done := len(j.doubtful) == 0 && (len(j.pages) == 0 || j.pages[0].open > 0) || j.closed
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
	for n < len(j.pages) && j.pages[n].open == 0 {
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
	if err := j.receipts.suppose(ctx, i.intent, func(Receipt) bool { return false }); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if subject := i.intent.subject(); j.doubtful[subject] == i {
		delete(j.doubtful, subject)
		i.page.open--
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
	j.writes.close()
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), receiptTimeout)
	defer cancel()
	j.tidy(ctx)
}

// suppose stores r, which says what a portal may hold, over whatever receipt there is: unless that
// says so much itself, or known finds that it says what became of the attempt.
func (rs *Receipts) suppose(ctx context.Context, r Receipt, known func(now Receipt) bool) error {
	for {
		now, err := rs.latest(ctx, r)
		if err != nil || now.Touched() || known(now) {
			return err
		}
		r.Seq, r.Again = now.Seq, now.Again
		if _, err = rs.Put(ctx, r); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// knows reports whether a receipt says what became of the attempt: if it is newer than that, which
// is so when the attempt has ended, since there is one at a time.
func (i intent) knows(now Receipt) bool {
	return now.Touched() || now.Seq > i.Over && now.Outcome != ""
}

// Recovered is what [Receipts.Recover] found.
type Recovered struct {
	Attempts   int // of which it is not known what became
	Unreadable int // pages of the journal, which are left there
}

// Recover finds the attempts of other processes that did not end, at the portals that has names, and
// stores for each that the portal may hold what it was being sent. It is called when these portals
// are taken over, before anything is decided about them.
func (rs *Receipts) Recover(ctx context.Context, has func(portal string) bool) (found Recovered, err error) {
	last, err := streams.Leader(ctx, rs.js, streams.Intents, streams.AllIntents)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read the journal of intents: %w", err)
	}
	stream, err := rs.js.Stream(ctx, streams.Intents)
	if err != nil {
		return found, fmt.Errorf("read the journal of intents: %w", err)
	}
	for next := uint64(1); next <= last.Sequence; {
		m, err := streams.LeaderNext(ctx, rs.js, streams.Intents, streams.AllIntents, next)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("read the journal of intents: %w", err)
		}
		next = m.Sequence + 1
		if m.Subject == rs.journal.subject {
			continue // this process ends them itself
		}
		var lines []intent
		if err := json.Unmarshal(m.Data, &lines); err != nil {
			found.Unreadable++
			continue
		}
		n, settled, err := rs.recover(ctx, lines, has)
		found.Attempts += n
		if err == nil && settled {
			err = streams.Remove(ctx, stream, m.Sequence)
		}
		if err != nil {
			return found, fmt.Errorf("recover intent %d: %w", m.Sequence, err)
		}
	}
	return found, nil
}

// recover is Recover for one page. It counts what it stored, and says whether all of the page is
// settled now.
func (rs *Receipts) recover(ctx context.Context, lines []intent, has func(portal string) bool) (int, bool, error) {
	var stored, open atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(recoverAtOnce)
	for _, line := range lines {
		g.Go(func() error {
			now, _, err := rs.Get(ctx, line.Portal, line.Key)
			if err != nil || line.knows(now) {
				return err
			}
			if !has(line.Portal) {
				open.Add(1)
				return nil
			}
			stored.Add(1)
			return rs.suppose(ctx, line.Receipt, line.knows)
		})
	}
	err := g.Wait()
	return int(stored.Load()), open.Load() == 0, err
}
