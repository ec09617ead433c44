package intake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
)

// outcome of one message.
type outcome struct {
	kind  outcomeKind
	event events.Event
	err   error
	// again is when the message is wanted again; 0: never.
	again time.Duration
}

type outcomeKind string

const (
	applied    outcomeKind = "applied"     // a new version is in the log
	duplicate  outcomeKind = "duplicate"   // it was there already
	older      outcomeKind = "older"       // a newer version is in the log: dropped
	scheduled  outcomeKind = "scheduled"   // under embargo
	noChange   outcomeKind = "no change"   // due, but nothing was to be done
	handedBack outcomeKind = "handed back" // too early by a little
	setAside   outcomeKind = "dead"
	retried    outcomeKind = "retried"
)

// refusal is an error that no repetition cures: it ends as a dead letter.
type refusal struct {
	reason string
	faults []string
	stack  []byte // of a panic
}

func (r *refusal) Error() string {
	if len(r.faults) == 0 {
		return r.reason
	}
	return r.reason + ": " + strings.Join(r.faults, "; ")
}

// crashed is what a panic becomes: the fault of the message that met it, which must not take the
// others down.
func crashed(p any) *refusal {
	return &refusal{reason: fmt.Sprintf("an error in Loa itself, panic: %v", p), stack: debug.Stack()}
}

// early says that a message has come before its time, by the time given.
type early struct{ by time.Duration }

func (e *early) Error() string { return fmt.Sprintf("%s too early", e.by) }

// handle deals with one message and answers it.
func (in *Intake) handle(ctx context.Context, m jetstream.Msg) {
	began := time.Now()
	o := in.outcome(ctx, m)
	in.metrics.observe(o, time.Since(began))
	line := in.opts.Log.Info()
	var bad *refusal
	switch {
	case o.kind == setAside || o.kind == retried:
		line = in.opts.Log.Error().Err(o.err)
		if errors.As(o.err, &bad) && bad.stack != nil {
			line.Bytes("stack", bad.stack)
		}
	case o.kind == older:
		line = in.opts.Log.Warn()
	}
	line.Str("outcome", string(o.kind)).Str("event", o.event.ID).Str("article", string(safeKey(m.Subject()))).
		Int64("version", o.event.Version()).Dur("took", time.Since(began)).Msg("event")

	if o.again > 0 {
		_ = m.NakWithDelay(o.again)
		return
	}
	_ = m.Ack() // should it get lost, the event comes again and is a duplicate
}

// outcome finds out what a message means, does it, and writes the dead letter if it cannot be
// done.
func (in *Intake) outcome(ctx context.Context, m jetstream.Msg) (o outcome) {
	func() {
		defer func() {
			if p := recover(); p != nil {
				o.err = crashed(p)
			}
		}()
		o.kind, o.event, o.err = in.process(ctx, m)
	}()
	var soon *early
	var bad *refusal
	switch {
	case o.err == nil:
		return o
	case errors.As(o.err, &soon):
		o.kind, o.err, o.again = handedBack, nil, max(soon.by, time.Millisecond)
		return o
	case errors.As(o.err, &bad):
	case tooLarge(o.err):
		bad = &refusal{reason: o.err.Error()}
	default:
		o.kind, o.again = retried, in.pause(m)
		return o
	}
	o.kind = setAside
	if err := in.dead.Put(ctx, letter(m, o.event, bad)); err != nil {
		o.kind, o.err, o.again = retried, errors.Join(o.err, err), in.pause(m)
	}
	return o
}

// tooLarge reports whether NATS will never take what it was to store.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// pause is how long a message waits after a fault that is not its own.
func (in *Intake) pause(m jetstream.Msg) time.Duration {
	n := uint64(1)
	if meta, err := m.Metadata(); err == nil {
		n = meta.NumDelivered
	}
	pause := in.opts.Retry * time.Duration(min(1<<min(n-1, 16), retryMost))
	return pause + time.Duration(rand.Int64N(int64(pause/4)+1))
}

// letter describes a message that is set aside.
func letter(m jetstream.Msg, ev events.Event, bad *refusal) streams.DeadLetter {
	l := streams.DeadLetter{
		Stage: "intake", Key: string(safeKey(m.Subject())), Reason: bad.reason, Faults: bad.faults,
		Event: ev.ID, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
	}
	if what, _, err := streams.DueParts(m.Subject()); err == nil && what == streams.Pictures {
		l.Stage = "pictures"
	}
	if l.Event == "" {
		l.Event = m.Headers().Get(jetstream.MsgIDHeader)
	}
	if v := ev.Version(); v != 0 {
		l.Version = fmt.Sprint(v)
	}
	if meta, err := m.Metadata(); err == nil && meta.Stream == streams.Events {
		l.Origin = meta.Sequence.Stream
	}
	return l
}

// safeKey is [keyOf] fit for another subject and for a log line: anybody who may publish events
// can make up tokens of any length, with any bytes.
func safeKey(subject string) streams.Key {
	site, id, _ := strings.Cut(string(keyOf(subject)), ".")
	return streams.Key(safeToken(site) + "." + safeToken(id))
}

// hashed is a token that [events.Token] made of an id.
var hashed = regexp.MustCompile(`^h--[0-9a-f]{32}$`)

func safeToken(s string) string {
	if hashed.MatchString(s) {
		return s
	}
	return events.Token(s)
}

// process deals with an event, or with what is due.
func (in *Intake) process(ctx context.Context, m jetstream.Msg) (outcomeKind, events.Event, error) {
	if strings.HasPrefix(m.Subject(), events.SubjectPrefix) {
		return in.event(ctx, m, false)
	}
	what, key, err := streams.DueParts(m.Subject())
	if err != nil {
		return "", events.Event{}, &refusal{reason: err.Error()}
	}
	switch what {
	case streams.Embargo:
		return in.event(ctx, m, true)
	case streams.Expiry:
		kind, err := in.expire(ctx, key, m.Headers())
		return kind, events.Event{}, err
	case streams.Pictures:
		kind, err := in.retryPictures(ctx, key, m.Headers())
		return kind, events.Event{}, err
	}
	return "", events.Event{}, &refusal{reason: fmt.Sprintf("subject %q: nothing is known to become due there", m.Subject())}
}

// event parses an event and applies or schedules it.
func (in *Intake) event(ctx context.Context, m jetstream.Msg, due bool) (outcomeKind, events.Event, error) {
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
	if a := ev.Article; a == nil || a.EmbargoUntil == nil || !a.EmbargoUntil.After(in.opts.Now()) {
		kind, err := in.apply(ctx, key, ev, m)
		return kind, ev, err
	}
	if due {
		// The scheduler's clock is ahead of this one. Scheduled again, it would be due at once.
		return "", ev, &early{ev.Article.EmbargoUntil.Sub(in.opts.Now())}
	}
	kind, err := in.embargo(ctx, key, ev, m)
	return kind, ev, err
}
