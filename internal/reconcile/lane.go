package reconcile

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// lane is one target's flags inside this worker. It is owned by the dispatcher goroutine;
// nothing else touches it.
type lane struct {
	target string
	group  *group
	limits Limits
	// items are the keys held, each queued or running, by key. express and normal are the
	// queued ones, in order of arrival.
	items           map[string]*item
	express, normal []*item
	running         int
	breaker         breaker
	// allowed grows from 1 to limits.InFlight, one with every success, so that a target that
	// comes back is not met by everything at once.
	allowed int
	nextRun time.Time // by limits.Interval
	wakeAt  time.Time // when a timer will pump this lane; zero if none is set
	ready   bool      // in the dispatcher's list of lanes that can run
	urgent  bool      // in that of those with express flags
	// failing are keys that this target refused, until they are tried again.
	failing map[string]failure
	// lowered are the messages, by class and sequence in the stream, that were acknowledged but not
	// yet removed, with the time of that: they are in the stream, but do not wait. To raise their
	// flags again would supersede them, and a lane of many flags would never be empty.
	lowered map[string]map[uint64]time.Time
	// aside are those of which dead letters are being made, which may take a while: their flags
	// must not be raised again either, or each would make another dead letter.
	aside map[uint64]bool
	// lastSuccess tells a target that fails from a key that fails: see blamesKey.
	lastSuccess time.Time
	used        time.Time // when the dispatcher last needed it
	// shared says that its flags are those of many targets. A target that others had to wait for gets
	// no shares until slowUntil.
	shared    bool
	slowUntil time.Time

	// away is set while flags of this target may wait in the stream that the lane does not
	// hold; cursor is the sequence, by class, after which to look for them; refilling, while a
	// look is on its way; expected is how many flags of the last look have not been delivered
	// yet, which is not waited for beyond expectedBy.
	away       bool
	refilling  bool
	looker     bool // among the dispatcher's lookers
	cursor     map[string]uint64
	expected   int
	expectedBy time.Time
}

// failure says when this target refused a key last, and until when JetStream keeps its flag back; zero
// if the lane has to fetch it. How often it was refused is written into the flag.
type failure struct {
	until time.Time
	at    time.Time
}

// item is one key's flags: at most one of each class, and one share of each. A shared flag is an item
// by itself, so that a later one of its key need not wait until all targets are done with it.
type item struct {
	key     string // in the lane's items
	flag    Flag
	held    []handle // what the next, or the current, run will settle
	next    []handle // arrived during the run: it needs another
	running bool
}

// handle is a message that this worker has to settle, or a share in one.
type handle struct {
	msg   jetstream.Msg
	of    *spreading // of a share, which has no message
	seq   uint64     // in the stream
	flag  Flag
	lease time.Time // the server gives the message to somebody else after this
}

func newLane(target string) *lane {
	return &lane{target: target, items: map[string]*item{}, aside: map[uint64]bool{}, allowed: 1, cursor: map[string]uint64{}}
}

// add puts h among handles. A message of the same class is superseded by it, and needs no answer: the
// stream no longer has it, or this is the same one again. So is a share by a later one.
func (e *Engine) add(handles []handle, h handle) []handle {
	for i, old := range handles {
		if old.flag.Class != h.flag.Class || (old.of == nil) != (h.of == nil) {
			continue
		}
		h.flag.Seq = max(h.flag.Seq, old.flag.Seq)
		e.settled(old)
		handles[i] = h
		return handles
	}
	return append(handles, h)
}

// merge gives the flag that stands for all of an item's handles: the most urgent class, the
// latest sequence with its failures, the earliest time.
func merge(handles []handle) Flag {
	f := handles[0].flag
	for _, h := range handles[1:] {
		if h.flag.Class == streams.Express {
			f.Class = streams.Express
		}
		if h.flag.Seq > f.Seq || h.flag.Seq == f.Seq && h.flag.Failures > f.Failures {
			f.Seq, f.Failures, f.Until = h.flag.Seq, h.flag.Failures, h.flag.Until
		}
		if h.flag.Raised.Before(f.Raised) {
			f.Raised = h.flag.Raised
		}
	}
	return f
}

// enqueue queues an item that is in items and not running.
func (l *lane) enqueue(it *item) {
	it.flag = merge(it.held)
	if it.flag.Class == streams.Express {
		l.express = append(l.express, it)
	} else {
		l.normal = append(l.normal, it)
	}
}

// promote moves a queued item whose flags changed to the queue of its class.
func (l *lane) promote(it *item) {
	was := it.flag.Class
	it.flag = merge(it.held)
	if was == it.flag.Class || it.flag.Class != streams.Express {
		return
	}
	for i := range l.normal {
		if l.normal[i] == it {
			l.normal = append(l.normal[:i], l.normal[i+1:]...)
			break
		}
	}
	l.express = append(l.express, it)
}

func (l *lane) queued() int { return len(l.express) + len(l.normal) }

// room reports whether another key of this class can be held.
func (l *lane) room(class string) bool {
	n := l.limits.Queue
	if class == streams.Express {
		n *= expressQueue
	}
	return len(l.items) < n
}

// take removes up to n items from the queues to run them: express ones first.
func (l *lane) take(n int) []*item {
	var batch []*item
	for _, q := range []*[]*item{&l.express, &l.normal} {
		k := min(n-len(batch), len(*q))
		batch = append(batch, (*q)[:k]...)
		clear((*q)[:k])
		*q = (*q)[k:]
		if len(*q) == 0 {
			*q = nil // let the array go
		}
	}
	return batch
}

// runnable reports whether a run may start now, and, if only time is missing, when.
func (l *lane) runnable(now time.Time) (bool, time.Time) {
	if l.queued() == 0 || l.limits.Paused {
		return false, time.Time{}
	}
	if l.shared && len(l.express) > 0 {
		return true, time.Time{} // whatever the normal ones wait for
	}
	if !l.breaker.closed() {
		return !l.breaker.open(now) && l.running == 0, l.breaker.until
	}
	if l.running >= min(l.allowed, l.limits.InFlight) {
		return false, time.Time{}
	}
	if now.Before(l.nextRun) {
		return false, l.nextRun
	}
	return true, time.Time{}
}

// idle reports whether the lane holds nothing, and knows nothing that has to be remembered.
func (l *lane) idle() bool {
	return len(l.items)+l.notRemoved()+len(l.aside)+len(l.failing)+l.running == 0 && l.breaker.closed() &&
		l.wakeAt.IsZero() && !l.ready && !l.urgent && !l.away && !l.refilling && !l.looker
}

// messages counts the items that have messages, and not only shares.
func (l *lane) messages() (n int) {
	for _, it := range l.items {
		if slices.ContainsFunc(it.held, isMessage) || slices.ContainsFunc(it.next, isMessage) {
			n++
		}
	}
	return n
}

func isMessage(h handle) bool { return h.of == nil }

// lower notes that a message was acknowledged.
func (l *lane) lower(h handle, now time.Time) {
	if l.lowered == nil {
		l.lowered = map[string]map[uint64]time.Time{}
	}
	of := l.lowered[h.flag.Class]
	if of == nil {
		of = map[uint64]time.Time{}
		l.lowered[h.flag.Class] = of
	}
	of[h.seq] = now
}

// notRemoved counts the messages that were acknowledged but are still in the stream.
func (l *lane) notRemoved() (n int) {
	for _, of := range l.lowered {
		n += len(of)
	}
	return n
}
