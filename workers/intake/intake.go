// Package intake takes in what the CMSs say: it turns events into articles, and writes them to
// the log.
//
//	EVENTS ──▶ parse, validate ──▶ clean, store pictures ──▶ ARTICLES ──▶ articles/*.json in S3
//	             │ what cannot be valid ──▶ DEAD
//	             └ embargoed ──▶ SCHEDULE ──at its time──▶ (same way again)
//
// A message is acknowledged when all that follows from it is durable, so every step must bear
// being done twice. Versions see to that: an event older than the article is dropped, the same
// again is a duplicate, and a duplicate completes what a crash interrupted.
//
// One article's messages are dealt with in turn, different articles' at the same time. Across
// processes the log's optimistic concurrency decides.
package intake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Pictures stores an article's pictures.
type Pictures interface {
	// Store fetches (or takes) the picture and stores it with its renditions. An error that is
	// [objects.ErrUnavailable] is the store's; any other is the picture's, and permanent if
	// Permanent says so.
	Store(ctx context.Context, img events.Image) (article.Image, error)
	Permanent(err error) bool
}

// Objects is where the articles' canonical JSON is kept.
type Objects interface {
	Put(ctx context.Context, key string, body []byte, m objects.Meta) (etag string, err error)
}

// Options of an intake.
type Options struct {
	JS       jetstream.JetStream
	Sites    *site.Tree
	Pictures Pictures
	Objects  Objects
	// PicturesDeadline is how long an article waits for its pictures; 20 s if 0.
	PicturesDeadline time.Duration
	// PicturePauses are those between later attempts at pictures that did not come; after the
	// last they become a dead letter. Nil: 1 min to 24 h.
	PicturePauses []time.Duration
	Log           zerolog.Logger
	Metrics       prometheus.Registerer // nil: none
}

const (
	defaultPicturesDeadline = 20 * time.Second
	// atOnce is how many articles are dealt with at the same time. Most of them wait: for the
	// disk, or for a picture.
	atOnce = 128
	// pullMessages bounds what each of the two readers has asked for.
	pullMessages = 256
	// heartbeat is how often the server is told that the messages held are still worked on.
	heartbeat = streams.AckWait / 3
	// retryFirst and retryMost bound the pauses after a fault of NATS or S3.
	retryFirst = time.Second
	retryMost  = time.Minute
)

// Intake turns events into articles.
type Intake struct {
	opts     Options
	log      *streams.Log
	schedule *streams.Schedule
	dead     *streams.Dead
	metrics  *metrics

	slots chan struct{} // one for each message being dealt with
	work  sync.WaitGroup

	mu     sync.Mutex
	queues map[streams.Key][]jetstream.Msg // waiting behind the article's current message
	held   map[jetstream.Msg]struct{}      // to be renewed
}

// New prepares an intake; [Intake.Run] runs it.
func New(ctx context.Context, o Options) (*Intake, error) {
	if o.PicturesDeadline <= 0 {
		o.PicturesDeadline = defaultPicturesDeadline
	}
	if o.PicturePauses == nil {
		o.PicturePauses = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour}
	}
	log, err := streams.OpenLog(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	dead, err := streams.OpenDead(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the intake's metrics: %w", err)
	}
	return &Intake{
		opts: o, log: log, dead: dead, schedule: streams.NewSchedule(o.JS), metrics: m,
		slots: make(chan struct{}, atOnce), queues: map[streams.Key][]jetstream.Msg{}, held: map[jetstream.Msg]struct{}{},
	}, nil
}

// Run takes events in until ctx ends. What it has begun then, it finishes; the caller bounds
// that by ending the process.
func (in *Intake) Run(ctx context.Context) error {
	inbox, err := streams.IntakeConsumer(ctx, in.opts.JS)
	if err != nil {
		return err
	}
	due, err := streams.DueConsumer(ctx, in.opts.JS)
	if err != nil {
		return err
	}
	work := context.WithoutCancel(ctx)
	var readers []jetstream.ConsumeContext
	for _, c := range []jetstream.Consumer{inbox, due} {
		cc, err := c.Consume(func(m jetstream.Msg) { in.accept(ctx, work, m) }, jetstream.PullMaxMessages(pullMessages))
		if err != nil {
			return fmt.Errorf("read %s: %w", c.CachedInfo().Stream, err)
		}
		readers = append(readers, cc)
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			in.renew()
			if err := streams.TrimEvents(ctx, in.opts.JS); err != nil {
				in.opts.Log.Warn().Err(err).Msg("inbox not trimmed, will be tried again")
			}
		case <-ctx.Done():
			for _, cc := range readers {
				cc.Stop()
				<-cc.Closed()
			}
			in.work.Wait()
			return nil
		}
	}
}

// accept queues a message behind others of its article. It blocks while all slots are taken, and
// with it the reader.
func (in *Intake) accept(ctx, work context.Context, m jetstream.Msg) {
	key := keyOf(m.Subject())
	in.mu.Lock()
	if q, busy := in.queues[key]; busy {
		in.queues[key] = append(q, m)
		in.held[m] = struct{}{}
		in.mu.Unlock()
		return
	}
	in.queues[key] = nil
	in.held[m] = struct{}{}
	in.mu.Unlock()
	select {
	case in.slots <- struct{}{}:
	case <-ctx.Done():
		in.mu.Lock()
		waiting := append(in.queues[key], m)
		delete(in.queues, key)
		in.mu.Unlock()
		for _, m := range waiting {
			_ = m.Nak()
		}
		return
	}
	in.work.Go(func() {
		defer func() { <-in.slots }()
		for ok := true; ok; m, ok = in.next(key) {
			if ctx.Err() != nil {
				_ = m.Nak()
			} else {
				in.handle(work, m)
			}
			in.mu.Lock()
			delete(in.held, m)
			in.mu.Unlock()
		}
	})
}

// next takes the next message of the article, or ends its turn.
func (in *Intake) next(key streams.Key) (jetstream.Msg, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.queues[key]
	if len(q) == 0 {
		delete(in.queues, key)
		return nil, false
	}
	in.queues[key] = q[1:]
	return q[0], true
}

// keyOf gives what a subject is about: its last two tokens, of events and of what is due alike.
func keyOf(subject string) streams.Key {
	t := strings.Split(subject, ".")
	return streams.Key(strings.Join(t[max(len(t)-2, 0):], "."))
}

func (in *Intake) renew() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for m := range in.held {
		_ = m.InProgress() // without it the message comes again, and is a duplicate
	}
}

// handle deals with one message and answers it.
func (in *Intake) handle(ctx context.Context, m jetstream.Msg) {
	began := time.Now()
	o := in.outcome(ctx, m)
	in.metrics.observe(o, time.Since(began))
	ev := in.opts.Log.Info()
	switch o.kind {
	case setAside, retried:
		ev = in.opts.Log.Error().Err(o.err)
	case older:
		ev = in.opts.Log.Warn()
	}
	ev.Str("outcome", string(o.kind)).Str("event", o.event.ID).Str("article", string(keyOf(m.Subject()))).
		Int64("version", o.event.Version()).Dur("took", time.Since(began)).Msg("event")

	switch o.kind {
	case retried:
		_ = m.NakWithDelay(pauseAfter(m))
	default:
		_ = m.Ack() // should it get lost, the event comes again and is a duplicate
	}
}

func pauseAfter(m jetstream.Msg) time.Duration {
	n := uint64(1)
	if meta, err := m.Metadata(); err == nil {
		n = meta.NumDelivered
	}
	pause := min(retryFirst<<min(n-1, 16), retryMost)
	return pause + time.Duration(rand.Int64N(int64(pause/4)))
}

// outcome of one message.
type outcome struct {
	kind  outcomeKind
	event events.Event
	err   error
}

type outcomeKind string

const (
	applied   outcomeKind = "applied"   // a new version is in the log
	duplicate outcomeKind = "duplicate" // it was there already
	older     outcomeKind = "older"     // a newer version is in the log: dropped
	scheduled outcomeKind = "scheduled" // under embargo
	noChange  outcomeKind = "no change" // due, but nothing was to be done
	setAside  outcomeKind = "dead"
	retried   outcomeKind = "retried"
)

// outcome finds out what a message means, does it, and writes the dead letter if it cannot be
// done. A panic is the message's fault: it must not take the others down.
func (in *Intake) outcome(ctx context.Context, m jetstream.Msg) (o outcome) {
	func() {
		defer func() {
			if p := recover(); p != nil {
				o.err = &refusal{fmt.Sprintf("panic: %v", p), nil}
			}
		}()
		o.kind, o.event, o.err = in.process(ctx, m)
	}()
	if o.err == nil {
		return o
	}
	var bad *refusal
	if !errors.As(o.err, &bad) {
		o.kind = retried
		return o
	}
	o.kind = setAside
	letter := streams.DeadLetter{
		Stage: "intake", Key: string(keyOf(m.Subject())), Reason: bad.reason, Faults: bad.faults,
		Event: o.event.ID, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
	}
	if v := o.event.Version(); v != 0 {
		letter.Version = fmt.Sprint(v)
	}
	if meta, err := m.Metadata(); err == nil && meta.Stream == streams.Events {
		letter.Origin = meta.Sequence.Stream
	}
	if err := in.dead.Put(ctx, letter); err != nil {
		o.kind, o.err = retried, errors.Join(o.err, err)
	}
	return o
}

// refusal is an error that no repetition cures: it ends as a dead letter.
type refusal struct {
	reason string
	faults []string
}

func (r *refusal) Error() string {
	if len(r.faults) == 0 {
		return r.reason
	}
	return r.reason + ": " + strings.Join(r.faults, "; ")
}

// process deals with an event, or with what is due.
func (in *Intake) process(ctx context.Context, m jetstream.Msg) (outcomeKind, events.Event, error) {
	if strings.HasPrefix(m.Subject(), events.SubjectPrefix) {
		return in.event(ctx, m)
	}
	what, key, err := streams.DueParts(m.Subject())
	if err != nil {
		return "", events.Event{}, &refusal{reason: err.Error()}
	}
	switch what {
	case streams.Embargo:
		return in.event(ctx, m)
	case streams.Expiry:
		kind, err := in.expire(ctx, key)
		return kind, events.Event{}, err
	case streams.Pictures:
		kind, err := in.retryPictures(ctx, key, m.Headers())
		return kind, events.Event{}, err
	}
	return "", events.Event{}, &refusal{reason: fmt.Sprintf("subject %q: nothing is known to become due there", m.Subject())}
}

// event parses an event and applies or schedules it.
func (in *Intake) event(ctx context.Context, m jetstream.Msg) (outcomeKind, events.Event, error) {
	ev, err := events.Parse(m.Headers(), m.Data())
	var invalid *events.InvalidError
	if errors.As(err, &invalid) {
		bad := &refusal{reason: "the event breaks the contract"}
		for _, f := range invalid.Faults {
			bad.faults = append(bad.faults, f.String())
		}
		return "", ev, bad
	}
	if err != nil {
		return "", ev, fmt.Errorf("parse event: %w", err)
	}
	key := streams.KeyOf(ev.Site(), ev.ArticleID())
	if keyOf(m.Subject()) != key {
		return "", ev, &refusal{reason: fmt.Sprintf("subject %q: expected %q, by the event's site and article", m.Subject(), events.Subject(ev.Site(), ev.ArticleID()))}
	}
	if _, known := in.opts.Sites.Get(ev.Site()); !known {
		return "", ev, &refusal{reason: fmt.Sprintf("/data/site: got %q, expected one of the configured sites", ev.Site())}
	}
	if a := ev.Article; a != nil && a.EmbargoUntil != nil && a.EmbargoUntil.After(time.Now()) {
		kind, err := in.embargo(ctx, key, ev, m)
		return kind, ev, err
	}
	kind, err := in.apply(ctx, key, ev)
	return kind, ev, err
}
