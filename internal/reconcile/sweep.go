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

// A removal of many at once costs the server a look at every message of the stream, under its lock:
// all consumers count anew what is pending for them. With millions of flags that is seconds in
// which nobody can raise one, a withdrawal included. So the larger the stream, the more there
// must be to remove; until then, what was lowered stays where it is. But shared flags are removed one
// by one then: they are few, and each that stays looks like many that wait.

const (
	// sweepTimeout bounds one sweep.
	sweepTimeout = 20 * time.Second
	// sweepAge is how long an acknowledged message may wait for others to be removed with, and
	// sweepMost how many may.
	sweepAge  = time.Second
	sweepMost = 4000
	// sweepShare keeps sweeps from taking more than a fifth of the time; one that took long because
	// the server did not answer must not put off the next for longer than sweepRest.
	sweepShare = 4
	sweepRest  = 5 * time.Second
	// purgeShare is the part of the stream that must be there to be removed at once, beyond
	// purgeFree messages: a message removed costs the server a look at as many as that, some 50 us.
	purgeShare = 32
	purgeFree  = 20_000
	// purgeMost is after what time a sweep begins nothing more.
	purgeMost = 100 * time.Millisecond
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

// swept is the outcome of a sweep.
type swept struct {
	gone  []removal
	flags uint64 // messages in the stream before it
	took  time.Duration
}

// part is what a consumer reads.
type part struct {
	class string
	group int
}

// worthPurge reports whether there are enough messages to be removed from a stream of so many.
func worthPurge(n int, flags uint64) bool { return uint64(n)*purgeShare+purgeFree >= flags }

// sweep has acknowledged messages removed, by one goroutine at a time.
func (e *Engine) sweep(now time.Time) {
	if e.sweeping || now.Before(e.nextSweep) {
		return
	}
	parts := e.removals()
	n, aged := 0, false
	for _, rs := range parts {
		n += len(rs)
		aged = aged || slices.ContainsFunc(rs, func(r removal) bool { return now.Sub(r.at) > sweepAge })
	}
	if !aged && n < sweepMost {
		return
	}
	e.sweeping = true
	e.others.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		defer cancel()
		s, err := e.remove(ctx, parts, now, purgeMost)
		if err != nil {
			e.log.Warn().Err(err).Int("flags", n-len(s.gone)).Msg("lowered flags not removed, will be retried")
		}
		e.swept <- s // has room for the one
	})
}

// removals are those of the parts where they are enough, and those of shared flags.
func (e *Engine) removals() map[part][]removal {
	count := map[part]int{}
	for target, l := range e.lanes {
		for class, of := range l.lowered {
			count[e.partOf(class, target)] += len(of)
		}
	}
	parts := make(map[part][]removal, len(count))
	for target, l := range e.lanes {
		for class, of := range l.lowered {
			p := e.partOf(class, target)
			worth := worthPurge(count[p], e.flags)
			if !worth && !l.shared {
				continue
			}
			rs := parts[p]
			if worth && rs == nil {
				rs = make([]removal, 0, count[p])
			}
			for seq, at := range of {
				rs = append(rs, removal{target, class, seq, at})
			}
			parts[p] = rs
		}
	}
	return parts
}

func (e *Engine) partOf(class, target string) part {
	return part{class, streams.FlagGroup(e.opts.Kind, target)}
}

func (e *Engine) finishSweep(s swept) {
	e.sweeping = false
	e.flags = s.flags
	e.nextSweep = time.Now().Add(min(sweepShare*s.took, sweepRest))
	for _, r := range s.gone {
		if l := e.lanes[r.target]; l != nil {
			delete(l.lowered[r.class], r.seq)
			e.forget(r.target, l)
		}
	}
}

// lastSweep removes what was acknowledged last, so that the next worker finds nothing to look at.
func (e *Engine) lastSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	if _, err := e.remove(ctx, e.removals(), time.Now(), leaveFor); err != nil {
		e.log.Debug().Err(err).Msg("lowered flags not removed, the next worker does it")
	}
}

// remove removes what it can of the messages, and gives those that are gone. It begins nothing more
// after a time.
func (e *Engine) remove(ctx context.Context, parts map[part][]removal, now time.Time, most time.Duration) (s swept, err error) {
	began := time.Now()
	defer func() { s.took = time.Since(began) }()
	stream, err := e.js.Stream(ctx, streams.Flags)
	if err != nil {
		return s, fmt.Errorf("remove lowered flags: %w", err)
	}
	s.flags = stream.CachedInfo().State.Msgs
	byTarget := map[string][]removal{}
	for p, rs := range parts {
		var floor uint64
		if worthPurge(len(rs), s.flags) {
			if floor, err = e.removeToFloor(ctx, stream, p, rs); err != nil {
				return s, err
			}
		} else {
			rs = slices.DeleteFunc(rs, func(r removal) bool { return !streams.IsShared(e.opts.Kind, r.target) })
		}
		s.gone = slices.Grow(s.gone, len(rs))
		for _, r := range rs {
			if r.seq <= floor {
				s.gone = append(s.gone, r)
			} else {
				byTarget[r.target+" "+r.class] = append(byTarget[r.target+" "+r.class], r)
			}
		}
		if time.Since(began) > most {
			return s, nil
		}
	}
	single := singlyMost
	for _, rs := range byTarget {
		aged := slices.ContainsFunc(rs, func(r removal) bool { return now.Sub(r.at) > pinnedAge })
		if !aged && len(rs) < pinnedMost {
			continue
		}
		removed, err := e.removeOf(ctx, stream, rs, &single)
		s.gone = append(s.gone, removed...)
		if err != nil || time.Since(began) > most {
			return s, err
		}
	}
	return s, nil
}

// removeToFloor removes all messages up to the first that is not acknowledged, and gives the
// sequence before that one.
func (e *Engine) removeToFloor(ctx context.Context, stream jetstream.Stream, p part, rs []removal) (uint64, error) {
	c, err := stream.Consumer(ctx, streams.FlagConsumerName(e.opts.Kind, p.class, p.group))
	if err != nil {
		return 0, fmt.Errorf("look how far flags are lowered: %w", err)
	}
	floor := c.CachedInfo().AckFloor.Stream
	below := 0
	for _, r := range rs {
		if r.seq <= floor {
			below++
		}
	}
	if below == 0 {
		return floor, nil
	}
	if !worthPurge(below, stream.CachedInfo().State.Msgs) {
		return 0, nil
	}
	for _, filter := range streams.FlagFilters(e.opts.Kind, p.class, p.group) {
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(floor+1)); err != nil {
			return 0, fmt.Errorf("remove lowered flags: %w", err)
		}
	}
	return floor, nil
}

// removeOf removes messages of one target and class, whose older ones may have to stay.
func (e *Engine) removeOf(ctx context.Context, stream jetstream.Stream, rs []removal, single *int) (gone []removal, err error) {
	var to uint64
	if len(rs) > singly && worthPurge(len(rs), stream.CachedInfo().State.Msgs) {
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
	if n <= singly || !worthPurge(n, stream.CachedInfo().State.Msgs) {
		return 0, nil
	}
	filter := streams.FlagsOf(class, e.opts.Kind, target)
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(last+1)); err != nil {
		return 0, fmt.Errorf("remove lowered flags: %w", err)
	}
	return last, nil
}
