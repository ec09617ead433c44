package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

// group is a part of the targets, whose flags one worker at a time works on. Owned by the
// dispatcher.
type group struct {
	index int
	state groupState
	// stop ends the readers, which are there as long as reading is set.
	stop    context.CancelFunc
	reading bool
	// gaining is set while the group is being taken.
	gaining *gaining
	// gives is the handover that is asked for, and gave the number of the last that was told to be done.
	gives handover
	gave  uint64
	// running counts the runs under way; a group changes hands when there are none.
	running int
	// expectBy is when a flag that was raised again must have been delivered, if any is awaited:
	// a reader that gets nothing by then has been forgotten by its consumer.
	expectBy time.Time
}

type groupState int

const (
	away   groupState = iota // another's, or nobody's
	taking                   // this worker's, as soon as [Options.Gained] has returned
	held                     // this worker's
	giving                   // being drained for another
)

func (g *group) stopReading() {
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
}

func (e *Engine) groupOf(target string) *group {
	return e.groups[streams.FlagGroup(e.opts.Kind, target)]
}

func (e *Engine) reading() bool {
	return slices.ContainsFunc(e.groups, func(g *group) bool { return g.reading })
}

// take brings the groups in line with what the roster says.
func (e *Engine) take(ctx context.Context, s share) {
	e.extend(s)
	for _, g := range e.groups {
		if s.anew {
			e.drop(g, away)
		}
		i := slices.IndexFunc(s.giving, func(h handover) bool { return h.group == g.index })
		switch {
		case slices.Contains(s.groups, g.index):
			if g.state != held {
				g.state = taking
			}
		case i >= 0:
			e.give(g, s.giving[i])
		default:
			e.drop(g, away)
		}
	}
	e.noteHolds()
	e.gain(ctx)
}

// gaining is the preparation for groups that were taken together.
type gaining struct {
	cancel context.CancelFunc // when one of them is lost meanwhile
	over   bool
}

// gain prepares for the groups that were taken, and tries until it can.
func (e *Engine) gain(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	it := &gaining{cancel: cancel}
	groups := map[*group]bool{}
	for _, g := range e.groups {
		if g.state == taking && (g.gaining == nil || g.gaining.over) {
			g.gaining = it
			groups[g] = true
		}
	}
	if len(groups) == 0 {
		cancel()
		return
	}
	has := func(target string) bool { return groups[e.groupOf(target)] }
	e.others.Go(func() {
		defer cancel()
		for pause := e.opts.Pauses.Own; ; pause = min(2*pause, ownMost) {
			err := e.opts.Gained(ctx, has)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				e.log.Error().Err(err).Int("groups", len(groups)).Msg("flags that were taken over cannot be worked on yet, will be retried")
			}
			select {
			case <-time.After(jitter(pause)):
			case <-ctx.Done():
				return
			}
		}
		select {
		case e.gains <- it:
		case <-ctx.Done():
		}
	})
}

// begin begins the work on groups that were taken.
func (e *Engine) begin(ctx context.Context, it *gaining) {
	for _, g := range e.groups {
		if g.state == taking && g.gaining == it {
			g.state, g.gaining = held, nil
			e.openReaders(ctx, g)
			e.resume(g)
		}
	}
	e.noteHolds()
	select {
	case e.patrolNow <- struct{}{}:
	default:
	}
}

// resume makes the lanes that outlasted the loss of a group look again: what they were waiting for when
// it was lost does not come any more.
func (e *Engine) resume(g *group) {
	for target, l := range e.lanes {
		if l.group != g {
			continue
		}
		e.restore(l)
		e.wake(wake{target, flagsAway})
	}
}

// noteHolds tells the patrol which groups are this worker's.
func (e *Engine) noteHolds() {
	var holds []int
	for _, g := range e.groups {
		if g.state == held {
			holds = append(holds, g.index)
		}
	}
	e.holds.Store(&holds)
}

// drop ends all work on a group but the runs under way. What its lanes hold goes back.
func (e *Engine) drop(g *group, to groupState) {
	if g.state == away {
		return
	}
	if g.gaining != nil {
		g.gaining.cancel()
		g.gaining.over = true // the others of it begin anew
		g.gaining = nil
	}
	g.state = to
	g.stopReading()
	for s := range e.spreads {
		if s.lane.group == g {
			e.abandon(s)
		}
	}
	for target, l := range e.lanes {
		if l.group != g {
			continue
		}
		for key, it := range l.items {
			if !it.running {
				e.nakAll(it.held, 0)
				delete(l.items, key)
			}
		}
		l.express, l.normal = nil, nil
		e.forget(target, l)
	}
}

// forget lets go of a lane of a group that is not this worker's any more, once nothing is going on
// in it.
func (e *Engine) forget(target string, l *lane) {
	if l.group.state != held && l.running == 0 && !l.refilling && l.notRemoved() == 0 && len(l.aside) == 0 {
		delete(e.lanes, target)
	}
}

// give begins to give a group up. It may never have been taken: the share that said so was replaced by
// this one.
func (e *Engine) give(g *group, h handover) {
	if g.state == away && g.gave == h.number {
		return // and the roster has yet to hear of it
	}
	e.drop(g, giving)
	g.state, g.gives = giving, h
	e.given(g)
}

// given tells the roster when a group is drained.
func (e *Engine) given(g *group) {
	if g.state == giving && g.running == 0 && !g.reading {
		g.state, g.gave = away, g.gives.number
		e.roster.gave <- g.gives // has room for every group
	}
}

// openReaders reads a group's flags, unless its former readers have yet to end.
func (e *Engine) openReaders(ctx context.Context, g *group) {
	if g.reading {
		return // readersClosed does it
	}
	readers, stop := context.WithCancel(ctx)
	g.stop, g.reading, g.expectBy = stop, true, time.Time{}
	var both sync.WaitGroup
	for _, class := range classes {
		both.Go(func() { e.read(readers, class, g.index) })
	}
	e.others.Go(func() {
		both.Wait()
		stop()
		e.closed <- g // has room for every group
	})
}

func (e *Engine) readersClosed(ctx context.Context, g *group) {
	g.reading = false
	switch g.state {
	case held: // it was lost and gained, or its readers were stalled
		e.openReaders(ctx, g)
	case giving:
		e.given(g)
	}
}

// deliveredWithin is how long the delivery of a flag that was just raised again may take, which is
// a matter of milliseconds, before its reader is opened anew: consumers have been known to
// stall (nats-server issues 7680 and 8500).
const deliveredWithin = 30 * time.Second

func (e *Engine) watchReaders(now time.Time) {
	for _, g := range e.groups {
		if g.state == held && g.stop != nil && !g.expectBy.IsZero() && now.After(g.expectBy) {
			e.log.Warn().Int("group", g.index).Msg("reader gets nothing although flags wait, opening it again")
			g.expectBy = time.Time{}
			g.stopReading()
		}
	}
}

type leaseKey struct{}

// lease is that under which a run was begun.
type lease struct {
	engine *Engine
	tenure uint64
}

// extend takes over until when a share lasts.
func (e *Engine) extend(s share) {
	if s.anew {
		e.tenure.Add(1) // before there is a lease again
	}
	e.lease.Store(&s.until)
}

// Lapsed reports whether the run of this context may have been begun by another worker as well:
// this process was stopped for a while, or has lost NATS. A reconciler asks it last thing
// before an effect that it cannot take back. Outside a run the answer is no.
func Lapsed(ctx context.Context) bool {
	l, ok := ctx.Value(leaseKey{}).(lease)
	return ok && (l.tenure != l.engine.tenure.Load() || !time.Now().Before(*l.engine.lease.Load()))
}
