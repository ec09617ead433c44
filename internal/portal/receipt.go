package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// Receipt is what is known of one article at one portal.
//
// Before the portal is sent an article for the first time, that is noted in a journal (see
// [Receipts.Intend]). So whatever becomes of that attempt, of its answer and of this process, a
// receipt will say that the portal may hold the article, and a later withdrawal finds its way.
type Receipt struct {
	Portal string      `json:"portal"`
	Key    streams.Key `json:"key"`
	GUID   string      `json:"guid"`

	// Holds is the latest version that the portal acknowledged, At when it did, and Status the
	// article's status in that version; zero if it acknowledged none.
	Holds  article.Version `json:"holds,omitzero"`
	Status string          `json:"status,omitempty"`
	At     time.Time       `json:"at,omitzero"`
	// MayHold is the latest version that was sent and may have arrived; zero once
	// it is known that the portal holds no other than Holds.
	MayHold article.Version `json:"may_hold,omitzero"`
	// Again counts how often the article was to be sent again because what the portal holds was
	// found to differ: each time under a webhook-id of its own, since the portal knows the former.
	Again int `json:"again,omitempty"`

	// Of the last attempt: its webhook-id, how many there were with that id, and what came of
	// it: an HTTP status (0: no answer) and the error.
	WebhookID   string    `json:"webhook_id,omitempty"`
	Attempts    int       `json:"attempts,omitempty"`
	LastStatus  int       `json:"last_status,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	// Outcome is one of the constants below, or empty where nothing was heard of the attempt, or the
	// receipt was stored for another reason than one. Tried is the version that was sent, and Took how
	// long it took.
	Outcome string          `json:"outcome,omitempty"`
	Tried   article.Version `json:"tried,omitzero"`
	Took    time.Duration   `json:"took,omitempty"`

	// Seq is the receipt's place in the stream: 0 for one that is not stored. [Receipts.Put]
	// writes over that one and no other.
	Seq uint64 `json:"-"`
}

// Outcomes of an attempt.
const (
	OutcomeDelivered = "delivered"
	OutcomeDown      = "down"    // the portal failed
	OutcomeRefused   = "refused" // the portal did not want this bulletin
	OutcomeGone      = "gone"    // the portal answered that it is no more
)

// Touched reports whether the portal holds, or may hold, some version of the article.
func (r Receipt) Touched() bool {
	return r.Holds != (article.Version{}) || r.MayHold != (article.Version{})
}

const (
	// receiptBatch is how many receipts share one atomic batch, the most that JetStream takes: it
	// costs some 6 fsyncs, however many there are in it.
	receiptBatch = 1000
	// atomicFrom is from how many receipts on an atomic batch is quicker than as many messages
	// with an fsync each: staging one costs 4 to 6 ms, a message 0.2.
	atomicFrom = 24
	// writesAtOnce is one, as JetStream writes a stream's batches one after the other, and each
	// costs the same few milliseconds: fewer that are larger serve more.
	writesAtOnce = 1
	readsAtOnce  = 2
	// receiptRoom bounds the receipts, and the intents, that wait to be stored or read. It is more than the
	// bulletins that are sent at once.
	receiptRoom = 4 * receiptBatch
	// receiptFor is how long storing is tried while the server has no leader (an election takes
	// 4 to 7 s) or no room. A receipt lost is a bulletin sent twice.
	receiptFor = 15 * time.Second
	// receiptTimeout bounds one exchange with the server.
	receiptTimeout = 5 * time.Second
	// maxLastError is in bytes; it keeps receipts small.
	maxLastError = 300
)

// Receipts is the stream of receipts. It gathers what is read and stored concurrently, so that
// one fsync serves many.
type Receipts struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	reads   *group[Receipt, Receipt]
	writes  *group[Receipt, uint64]
	journal *journal
	// closing is closed by Close: from then on nothing is tried a second time.
	closing chan struct{}
}

// OpenReceipts opens the stream that streams.Setup made.
func OpenReceipts(ctx context.Context, js jetstream.JetStream) (*Receipts, error) {
	stream, err := js.Stream(ctx, streams.Receipts)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", streams.Receipts, err)
	}
	rs := &Receipts{js: js, stream: stream, closing: make(chan struct{})}
	rs.reads = newGroup(receiptBatch, readsAtOnce, receiptRoom, rs.read)
	rs.writes = newGroup(receiptBatch, writesAtOnce, receiptRoom, rs.write)
	rs.journal = newJournal(rs)
	return rs, nil
}

// Close stores what [Receipts.Put] was given so far, and what is in doubt, and refuses more. It is
// called once.
func (rs *Receipts) Close() {
	close(rs.closing)
	rs.journal.close()
	rs.reads.close()
	rs.writes.close()
}

// Get gives the newest receipt of the portal for the article. With false there is none; the
// receipt then names the pair and can be filled in. A replica that lags may answer an older one,
// which [Receipts.Put] would find out: before it is decided to leave a portal alone, ask
// [Receipts.Latest].
func (rs *Receipts) Get(ctx context.Context, portal string, key streams.Key) (Receipt, bool, error) {
	return rs.get(ctx, portal, key, rs.reads.ask)
}

// Latest is Get, answered by the stream's leader, which is never behind.
func (rs *Receipts) Latest(ctx context.Context, portal string, key streams.Key) (Receipt, bool, error) {
	return rs.get(ctx, portal, key, rs.latest)
}

// get reads a pair's receipt, once what is in doubt of it is settled.
func (rs *Receipts) get(ctx context.Context, portal string, key streams.Key, read func(context.Context, Receipt) (Receipt, error)) (Receipt, bool, error) {
	r := Receipt{Portal: portal, Key: key}
	err := rs.journal.settle(ctx, r)
	if err == nil {
		r, err = read(ctx, r)
	}
	if err != nil {
		return Receipt{}, false, fmt.Errorf("read receipt of portal %q for %s: %w", portal, key, err)
	}
	return r, r.Seq > 0, nil
}

// latest reads the receipt of r's pair from the stream's leader.
func (rs *Receipts) latest(ctx context.Context, r Receipt) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	m, err := streams.Leader(ctx, rs.js, streams.Receipts, r.subject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Receipt{Portal: r.Portal, Key: r.Key}, nil
	}
	if err != nil {
		return Receipt{}, err
	}
	return parseReceipt(m)
}

// Put stores r over the receipt that it was read from, and returns it with its new Seq once it
// is on disk. [ErrConflict] says that there is another by now. After any other error r may or
// may not be stored.
func (rs *Receipts) Put(ctx context.Context, r Receipt) (Receipt, error) {
	if len(r.LastError) > maxLastError {
		r.LastError = strings.ToValidUTF8(r.LastError[:maxLastError], "") + "…"
	}
	seq, err := rs.writes.ask(ctx, r)
	if err != nil {
		return Receipt{}, fmt.Errorf("store receipt of portal %q for %s: %w", r.Portal, r.Key, err)
	}
	r.Seq = seq
	return r, nil
}

func (r Receipt) subject() string { return streams.ReceiptSubject(r.Portal, r.Key) }

// errUnreadable says that what is stored is not what is expected there.
var errUnreadable = errors.New("cannot be read")

func parseReceipt(m *jetstream.RawStreamMsg) (Receipt, error) {
	portal, key, err := streams.ReceiptParts(m.Subject)
	if err != nil {
		return Receipt{}, err
	}
	var r Receipt
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return Receipt{}, fmt.Errorf("receipt %d: %w: %w", m.Sequence, errUnreadable, err)
	}
	r.Portal, r.Key, r.Seq = portal, key, m.Sequence
	return r, nil
}

// read answers a batch of reads.
func (rs *Receipts) read(batch []*call[Receipt, Receipt]) {
	ctx, cancel := context.WithTimeout(context.Background(), receiptTimeout)
	defer cancel()
	if len(batch) == 1 {
		c := batch[0]
		c.out = c.in
		m, err := rs.stream.GetLastMsgForSubject(ctx, c.in.subject())
		if err == nil {
			c.out, c.err = parseReceipt(m)
		} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
			c.err = err
		}
		return
	}
	subjects := make([]string, len(batch))
	found := make(map[string]*jetstream.RawStreamMsg, len(batch))
	for i, c := range batch {
		subjects[i] = c.in.subject()
	}
	err := rs.readMany(ctx, subjects, found)
	for i, c := range batch {
		c.out, c.err = c.in, err
		if m := found[subjects[i]]; m != nil && err == nil {
			c.out, c.err = parseReceipt(m)
		}
	}
}

// readMany puts the last messages of the subjects into found.
func (rs *Receipts) readMany(ctx context.Context, subjects []string, found map[string]*jetstream.RawStreamMsg) error {
	msgs, err := streams.ReadLast(ctx, rs.js, streams.Receipts, subjects)
	for _, m := range msgs {
		found[m.Subject] = m
	}
	return err
}

// write stores a batch of receipts.
func (rs *Receipts) write(batch []*call[Receipt, uint64]) {
	rs.patiently(func(ctx context.Context) bool {
		batch = rs.attempt(ctx, batch)
		return len(batch) == 0
	})
}

// patiently tries for a while, until it is done.
func (rs *Receipts) patiently(try func(context.Context) (done bool)) {
	deadline := time.Now().Add(receiptFor)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), receiptTimeout)
		done := try(ctx)
		cancel()
		if done || time.Now().After(deadline) {
			return
		}
		select {
		case <-time.After(pause):
		case <-rs.closing:
			return
		}
	}
}

// attempt answers every call, and gives back those whose error time may cure.
func (rs *Receipts) attempt(ctx context.Context, batch []*call[Receipt, uint64]) (again []*call[Receipt, uint64]) {
	if len(batch) >= atomicFrom && distinct(batch) {
		err := rs.publishAtomic(ctx, batch)
		if err == nil {
			return nil
		}
		if !streams.IsConflict(err) {
			for _, c := range batch {
				c.err = err
			}
			if passing(err) {
				return batch
			}
			return nil
		}
		// One of them spoils it for all.
	}
	msgs := make([]*nats.Msg, 0, len(batch))
	sent := make([]*call[Receipt, uint64], 0, len(batch))
	for _, c := range batch {
		var m *nats.Msg
		if m, c.err = c.in.message(); c.err == nil {
			msgs, sent = append(msgs, m), append(sent, c)
		}
	}
	seqs, errs := streams.PublishEach(ctx, rs.js, msgs)
	for i, c := range sent {
		c.out, c.err = seqs[i], errs[i]
		switch {
		case streams.IsConflict(c.err):
			c.err = ErrConflict
		case c.err != nil && passing(c.err):
			again = append(again, c)
		}
	}
	return again
}

// distinct reports whether no two receipts are for one pair, which JetStream does not take in one
// batch when it is to check sequences.
func distinct(batch []*call[Receipt, uint64]) bool {
	seen := make(map[string]bool, len(batch))
	for _, c := range batch {
		seen[c.in.subject()] = true
	}
	return len(seen) == len(batch)
}

// publishAtomic stores all receipts or none.
func (rs *Receipts) publishAtomic(ctx context.Context, batch []*call[Receipt, uint64]) error {
	msgs := make([]*nats.Msg, len(batch))
	for i, c := range batch {
		var err error
		if msgs[i], err = c.in.message(); err != nil {
			return err
		}
	}
	// An answer to the first message would tell early that the server is not there, at the
	// price of a round trip each time.
	ack, err := jetstreamext.PublishMsgBatch(ctx, rs.js, msgs, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	// The messages of an atomic batch have consecutive sequences.
	for i, c := range batch {
		c.out, c.err = ack.Sequence-uint64(len(batch)-1-i), nil
	}
	return nil
}

func (r Receipt) message() (*nats.Msg, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: r.subject(), Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(r.Seq, 10)},
	}}, nil
}

// passing tells the errors of JetStream that time cures.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == 503 || api.ErrorCode == jetstreamext.JSErrCodeAtomicPublishTooManyInflight ||
			api.ErrorCode == jetstreamext.JSErrCodeBatchPublishIncomplete
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
