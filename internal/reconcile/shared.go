package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// An article concerns hundreds of portals, and nearly all of them are well: a flag for each would be
// most of what a push costs. A shared flag is that of many targets of a group. The worker whose group
// it is gives each of them its share, which is worked on as a flag is, and lowers the shared flag when
// all are settled. A target that cannot take its share at once, or is not done with it soon, is given a
// flag of its own first, which waits for it as long as need be. So no target waits for another, and
// what is known of a target's failures is in flags of its own.

var sharedLimits = Limits{
	// InFlight is how many shared flags of a group are given out at once, at most, beside express ones
	// and those that only a few targets have yet to settle: as many keys may each of its lanes get, half
	// of what they hold.
	InFlight: defaultQueue / 2,
}.withDefaults()

const (
	// firstSpreads is how many are given out at once at first. It is one more after each that is soon
	// taken up, and half as many after one that is not: the worker has enough to do.
	firstSpreads = 4
	takenUpSoon  = 250 * time.Millisecond
	// takenUpPart is the part of the targets that have to have settled their shares to take a flag for taken
	// up: those that hang must not count.
	takenUpPart = 4
	// spreadFor is how long a shared flag waits for its targets, to the next tick: longer than one
	// that is well takes for a few.
	spreadFor = 2 * time.Second
	// spreadMost is how long it waits for more than half of them: it is rather the worker that is slow
	// then, or its network.
	spreadMost = 10 * time.Second
	// slowFor is how long a target gets no more shares after others had to wait for it so long.
	slowFor = time.Minute
	// aloneTimeout bounds the raising of the flags of targets that did not take, or settle, their shares.
	aloneTimeout = 20 * time.Second
	// aloneAtOnce is for how many shared flags that goes on at once: JetStream has room for 50 batches,
	// and the router is to find some.
	aloneAtOnce = 8
)

// spreading is a shared flag whose targets have their shares. Owned by the dispatcher.
type spreading struct {
	lane  *lane
	item  *item
	since time.Time
	// pending are the targets that have not settled their shares; refused, flags of their own, for
	// those that did not; aside counts those of which dead letters are being made. busy is set while more
	// are found that do not settle theirs, or flags are being stored.
	pending map[string]bool
	refused []Flag
	aside   int
	busy    bool
	// taken is set when it does not count any more among those that are given out.
	taken bool
	err   error // of their storing
	over  bool  // the shared flag is answered
}

// spread gives the targets of a shared flag their shares.
func (e *Engine) spread(l *lane, it *item) {
	s := &spreading{lane: l, item: it, since: time.Now(), pending: make(map[string]bool, len(it.flag.Targets)), busy: true}
	it.running = true
	l.running++
	e.spreads[s] = true
	for _, target := range it.flag.Targets {
		s.pending[target] = true
	}
	for target := range s.pending {
		e.offer(s.share(target))
	}
	s.busy = false
	e.proceed(s)
}

// share is a target's.
func (s *spreading) share(target string) handle {
	f := s.item.flag
	f.Target, f.Targets = target, nil
	return handle{of: s, flag: f, lease: s.item.held[0].lease}
}

// offer puts a share into its target's lane, if that can take it at once.
func (e *Engine) offer(h handle) {
	if e.groupOf(h.flag.Target) != h.of.lane.group {
		e.refuse(h) // flags were divided otherwise when it was raised
		return
	}
	l := e.lane(h.flag.Target)
	switch {
	case e.join(l, h.flag.Key, h):
	case l.limits.Held && h.flag.Class == streams.Normal, l.limits.Paused, h.of.since.Before(l.slowUntil),
		!l.breaker.closed(), !l.room(h.flag.Class):
		e.refuse(h)
	default:
		e.enter(l, h.flag.Key, h)
	}
}

// settled notes that a share needs no flag any more. Of a message it is none.
func (e *Engine) settled(h handle) {
	if s := h.of; s != nil && e.answered(h) {
		e.proceed(s)
	}
}

// refuse has a flag raised in a share's place.
func (e *Engine) refuse(h handle) {
	if s := h.of; e.answered(h) {
		s.refused = append(s.refused, h.flag)
		e.proceed(s)
	}
}

// answered takes a share off those that are out, unless it has been.
func (e *Engine) answered(h handle) bool {
	s := h.of
	if !s.pending[h.flag.Target] {
		return false
	}
	delete(s.pending, h.flag.Target)
	if total := len(s.item.flag.Targets); !s.taken && (total-len(s.pending))*takenUpPart >= total {
		e.takenUp(s)
	}
	return true
}

// takenUp has the next shared flag given out.
func (e *Engine) takenUp(s *spreading) {
	l := s.lane
	s.taken = true
	l.running--
	if time.Since(s.since) < takenUpSoon {
		l.allowed = min(l.allowed+1, l.limits.InFlight)
	} else {
		l.allowed = max(l.allowed/2, 1)
	}
	e.pump(l)
}

// cut has flags raised for the targets that others have waited for long enough. Those that wait for a
// run to be free are not slow, the worker is.
func (e *Engine) cut(now time.Time) {
	for s := range e.spreads {
		age := now.Sub(s.since)
		if s.busy || age < spreadFor || age < spreadMost && 2*len(s.pending) > len(s.item.flag.Targets) {
			continue
		}
		s.busy = true
		for target := range s.pending {
			if l := e.lanes[target]; l != nil {
				if l.ready || l.urgent {
					continue
				}
				l.slowUntil = now.Add(slowFor)
			}
			e.refuse(s.share(target))
		}
		s.busy = false
		e.proceed(s)
	}
}

// alone is the outcome of raising flags instead of shares.
type alone struct {
	of  *spreading
	err error
}

func (e *Engine) raisedAlone(a alone) {
	a.of.busy = false
	if a.err != nil {
		a.of.err = a.err
	}
	e.proceed(a.of)
}

// proceed raises what was refused, and lowers the shared flag when nothing is left of it.
func (e *Engine) proceed(s *spreading) {
	switch {
	case s.over || s.busy:
	case len(s.refused) > 0:
		s.busy = true
		flags := s.refused
		s.refused = nil
		e.others.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), aloneTimeout)
			defer cancel()
			a := alone{of: s}
			select {
			case e.raising <- struct{}{}:
				a.err = raiseBeside(ctx, e.js, flags)
				<-e.raising
			case <-ctx.Done():
				a.err = fmt.Errorf("raise %d flags for targets of a shared one: %w", len(flags), ctx.Err())
			}
			select {
			case e.alone <- a:
			case <-e.stopped:
			}
		})
	case len(s.pending) == 0 && s.aside == 0:
		l, it := s.lane, e.end(s)
		if s.err != nil {
			e.log.Error().Err(s.err).Str("target", l.target).Str("key", it.flag.Key).Msg("shared flag not divided, will be retried")
			e.nakAll(it.held, e.ownPause(it))
		} else {
			e.lower(run{lane: l, items: []*item{it}})
			l.lastSuccess = time.Now()
		}
		e.pump(l)
	}
}

// end takes a shared flag out of its lane.
func (e *Engine) end(s *spreading) *item {
	it := s.item
	if !s.taken {
		s.lane.running--
	}
	delete(s.lane.items, it.key)
	delete(e.spreads, s)
	it.held = append(it.held, it.next...)      // the same flag, that came once more
	s.over, s.pending, s.item = true, nil, nil // shares may be in lanes for long
	return it
}

// abandon leaves a shared flag to the group's next worker. What has been settled of it is found to be.
func (e *Engine) abandon(s *spreading) { e.nakAll(e.end(s).held, 0) }

// setAsideShare notes that a dead letter is being made of a share, and reports whether one is to be.
func (e *Engine) setAsideShare(h handle) bool {
	if !e.answered(h) {
		return false
	}
	h.of.aside++
	return true
}

// shareAside is the outcome.
func (e *Engine) shareAside(h handle, stored bool) {
	s := h.of
	if s.aside--; !stored {
		s.refused = append(s.refused, h.flag)
	}
	e.proceed(s)
}

// raiseBeside raises flags of single targets unless such are up that are as new: whoever works, or has
// worked, on one of those brings its target level with the same version, or a later one.
func raiseBeside(ctx context.Context, js jetstream.JetStream, flags []Flag) error {
	for part := range slices.Chunk(flags, maxBatch) {
		batch := make([]storedFlag, len(part))
		for i, f := range part {
			batch[i].Flag = f
		}
		err := store(ctx, js, batch, func(f *Flag, up Flag) bool { return up.Seq < f.Seq })
		if err != nil {
			return fmt.Errorf("raise %d flags for targets of a shared one: %w", len(batch), err)
		}
	}
	return nil
}
