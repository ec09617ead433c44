package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// A flag is lowered in two steps: its message is acknowledged, and later removed from the stream
// together with many others. The first tells the consumer that nothing is to be done; it is not
// synced to disk, and need not be: a flag that comes again after a crash costs one look. The
// second is synced, which takes as long for one message as for a thousand.

// removal is a message that was acknowledged, and has to be removed.
type removal struct {
	target, class string
	seq           uint64
	at            time.Time // of the acknowledgement
}

const (
	// sweepTimeout bounds one sweep.
	sweepTimeout = 20 * time.Second
	// sweepAge is how long an acknowledged message may wait for others to be removed with, and
	// sweepMost how many may.
	sweepAge  = time.Second
	sweepMost = 4000
	// pinnedAge is how long an acknowledged message may stay in the stream because an older one
	// of its group, of a target that is down, does; pinnedMost is how many of one target may.
	pinnedAge  = 4 * time.Second
	pinnedMost = 64
	// singly is up to how many messages are removed one by one: fewer than that are cheaper so
	// than to look what lies between them.
	singly = 4
	// singlyMost bounds those of one sweep; each costs an fsync.
	singlyMost = 256
)

// sweep has acknowledged messages removed, by one goroutine at a time.
func (e *Engine) sweep(now time.Time) {
	if e.sweeping {
		return
	}
	all := e.removals()
	aged := slices.ContainsFunc(all, func(r removal) bool { return now.Sub(r.at) > sweepAge })
	if !aged && len(all) < sweepMost {
		return
	}
	e.sweeping = true
	e.others.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		defer cancel()
		removed, err := e.remove(ctx, all, now)
		if err != nil {
			e.log.Warn().Err(err).Int("flags", len(all)-len(removed)).Msg("lowered flags not removed, will be retried")
		}
		e.swept <- removed // has room for the one
	})
}

func (e *Engine) removals() []removal {
	var all []removal
	for target, l := range e.lanes {
		for seq, r := range l.lowered {
			r.target, r.seq = target, seq
			all = append(all, r)
		}
	}
	return all
}

func (e *Engine) finishSweep(removed []removal) {
	e.sweeping = false
	for _, r := range removed {
		if l := e.lanes[r.target]; l != nil {
			delete(l.lowered, r.seq)
			e.forget(r.target, l)
		}
	}
}

// lastSweep removes what was acknowledged last, so that the next worker finds nothing to look at.
func (e *Engine) lastSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	if _, err := e.remove(ctx, e.removals(), time.Now()); err != nil {
		e.log.Debug().Err(err).Msg("lowered flags not removed, the next worker does it")
	}
}

// remove removes what it can of the messages, and gives those that are gone.
func (e *Engine) remove(ctx context.Context, all []removal, now time.Time) (gone []removal, err error) {
	type part struct {
		class string
		group int
	}
	parts := map[part][]removal{}
	for _, r := range all {
		p := part{r.class, streams.FlagGroup(e.opts.Kind, r.target)}
		parts[p] = append(parts[p], r)
	}
	stream, err := e.js.Stream(ctx, streams.Flags)
	if err != nil {
		return nil, fmt.Errorf("remove lowered flags: %w", err)
	}
	byTarget := map[string][]removal{}
	for p, rs := range parts {
		floor, err := e.removeToFloor(ctx, stream, p.class, p.group, rs)
		if err != nil {
			return gone, err
		}
		for _, r := range rs {
			if r.seq <= floor {
				gone = append(gone, r)
			} else {
				byTarget[r.target+" "+r.class] = append(byTarget[r.target+" "+r.class], r)
			}
		}
	}
	single := singlyMost
	for _, rs := range byTarget {
		aged := slices.ContainsFunc(rs, func(r removal) bool { return now.Sub(r.at) > pinnedAge })
		if !aged && len(rs) < pinnedMost {
			continue
		}
		removed, err := e.removeOf(ctx, stream, rs, &single)
		gone = append(gone, removed...)
		if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// removeToFloor removes all messages up to the first that is not acknowledged, and gives the
// sequence before that one.
func (e *Engine) removeToFloor(ctx context.Context, stream jetstream.Stream, class string, group int, rs []removal) (uint64, error) {
	c, err := stream.Consumer(ctx, streams.FlagConsumerName(e.opts.Kind, class, group))
	if err != nil {
		return 0, fmt.Errorf("look how far flags are lowered: %w", err)
	}
	floor := c.CachedInfo().AckFloor.Stream
	if !slices.ContainsFunc(rs, func(r removal) bool { return r.seq <= floor }) {
		return floor, nil
	}
	for _, filter := range streams.FlagFilters(e.opts.Kind, class, group) {
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(floor+1)); err != nil {
			return 0, fmt.Errorf("remove lowered flags: %w", err)
		}
	}
	return floor, nil
}

// removeOf removes messages of one target and class, whose older ones may have to stay.
func (e *Engine) removeOf(ctx context.Context, stream jetstream.Stream, rs []removal, single *int) (gone []removal, err error) {
	var to uint64
	if len(rs) > singly {
		if to, err = e.removePrefix(ctx, stream, rs); err != nil {
			return nil, err
		}
	}
	for _, r := range rs {
		if r.seq <= to {
			gone = append(gone, r)
			continue
		}
		if *single--; *single < 0 {
			return gone, nil
		}
		if err := streams.Remove(ctx, stream, r.seq); err != nil {
			return gone, fmt.Errorf("remove lowered flag: %w", err)
		}
		gone = append(gone, r)
	}
	return gone, nil
}

// removePrefix removes a target's messages up to the first that is not among rs, if they are
// enough to be worth it, and gives the sequence of the last.
func (e *Engine) removePrefix(ctx context.Context, stream jetstream.Stream, rs []removal) (uint64, error) {
	lowered := make(map[uint64]bool, len(rs))
	for _, r := range rs {
		lowered[r.seq] = true
	}
	target, class := rs[0].target, rs[0].class
	var last uint64
	n := 0
	for f, err := range flagsOf(ctx, e.js, class, e.opts.Kind, target, 0, len(rs)+1) {
		if err != nil {
			return 0, err
		}
		if !lowered[f.seq] {
			break
		}
		last = f.seq
		n++
	}
	if n <= singly {
		return 0, nil
	}
	filter := streams.FlagsOf(class, e.opts.Kind, target)
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(last+1)); err != nil {
		return 0, fmt.Errorf("remove lowered flags: %w", err)
	}
	return last, nil
}
