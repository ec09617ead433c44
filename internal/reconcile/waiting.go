package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// Waiting is how far a target is behind.
type Waiting struct {
	Flags  int
	Oldest time.Time // when the flag that waits longest was raised
}

const (
	// waitingTimeout bounds the counting of the flags of one group.
	waitingTimeout = 20 * time.Second
	// listMost is up to how many flags the server is asked which targets they are of: what it lists in
	// one answer. To list millions takes it so long that workers lose their leases meanwhile.
	listMost = 100_000
)

// CountWaiting counts the flags of each target of a kind that has any. It asks the stream, so
// it sees those of all workers; its cost grows with the number of flags. With very many, only those of
// targets that are named are counted; nil names all there are.
func CountWaiting(ctx context.Context, js jetstream.JetStream, kind string, targets []string) (map[string]Waiting, error) {
	groups, err := streams.FlagGroups(kind)
	if err != nil {
		return nil, err
	}
	all := map[string]Waiting{}
	for group := range groups {
		waiting, err := countWaiting(ctx, js, kind, group, targets)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, waiting)
	}
	for group := range groups {
		shared := streams.SharedTarget(kind, group)
		if w, ok := all[shared]; ok {
			delete(all, shared)
			if err := countShared(ctx, js, kind, shared, w, all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// sharedCounted is of how many shared flags of a group it is looked up whose they are. With more, those
// that share the first wait for the rest as well, as far as is told.
const sharedCounted = 1000

// countShared adds shared flags to what waits for each of the targets that share them.
func countShared(ctx context.Context, js jetstream.JetStream, kind, shared string, w Waiting, all map[string]Waiting) error {
	ctx, cancel := context.WithTimeout(ctx, waitingTimeout)
	defer cancel()
	of := map[string]Waiting{}
	read := 0
	for f, err := range flagsOf(ctx, js, "*", kind, shared, 0, sharedCounted) {
		if err != nil {
			return err
		}
		read++
		for _, target := range f.Targets {
			now := of[target]
			if now.Flags++; now.Oldest.IsZero() {
				now.Oldest = f.Raised
			}
			of[target] = now
		}
	}
	rest := 0
	if read == sharedCounted {
		rest = max(w.Flags-read, 0)
	}
	for target, more := range of {
		now := all[target]
		now.Flags += more.Flags + rest
		if now.Oldest.IsZero() || more.Oldest.Before(now.Oldest) {
			now.Oldest = more.Oldest
		}
		all[target] = now
	}
	return nil
}

// countWaiting counts those of one group.
func countWaiting(ctx context.Context, js jetstream.JetStream, kind string, group int, targets []string) (map[string]Waiting, error) {
	ctx, cancel := context.WithTimeout(ctx, waitingTimeout)
	defer cancel()
	failed := func(err error) (map[string]Waiting, error) {
		return nil, fmt.Errorf("count the flags of kind %s in group %d: %w", kind, group, err)
	}
	stream, err := js.Stream(ctx, streams.Flags)
	if err != nil {
		return failed(err)
	}
	if targets == nil || stream.CachedInfo().State.Msgs <= listMost {
		if targets, err = waitingTargets(ctx, stream, kind, group); err != nil {
			return failed(err)
		}
	}
	targets = slices.DeleteFunc(slices.Clone(targets), func(t string) bool { return streams.FlagGroup(kind, t) != group })
	if streams.SharesFlags(kind) {
		targets = append(targets, streams.SharedTarget(kind, group))
	}
	waiting, err := countOf(ctx, js, kind, targets)
	if err != nil {
		return failed(err)
	}
	return waiting, nil
}

// countOf counts those of some targets.
func countOf(ctx context.Context, js jetstream.JetStream, kind string, targets []string) (map[string]Waiting, error) {
	waiting := map[string]Waiting{}
	for _, target := range targets {
		n, first, err := streams.Count(ctx, js, streams.Flags, streams.FlagsOf("*", kind, target))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		oldest, err := parseFlag(first.Subject, first.Data)
		if err != nil {
			return nil, err
		}
		waiting[target] = Waiting{Flags: n, Oldest: oldest.Raised}
	}
	return waiting, nil
}

// waitingTargets finds the targets of a group that have flags, by listing those, partition by
// partition.
func waitingTargets(ctx context.Context, stream jetstream.Stream, kind string, group int) ([]string, error) {
	found := map[string]bool{}
	for _, filter := range streams.FlagFilters(kind, "*", group) {
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return nil, err
		}
		for subject := range info.State.Subjects {
			p, err := streams.ParseFlag(subject)
			if err != nil {
				return nil, err
			}
			if !streams.IsShared(kind, p.Target) {
				found[p.Target] = true
			}
		}
	}
	return slices.Collect(maps.Keys(found)), nil
}

// storedFlag is a flag with its sequence in the stream.
type storedFlag struct {
	Flag
	seq uint64
}

// flagsOf reads up to n flags of a target from the stream, from the sequence after on, in the
// order in which they were raised.
func flagsOf(ctx context.Context, js jetstream.JetStream, class, kind, target string, after uint64, n int) func(func(storedFlag, error) bool) {
	return func(yield func(storedFlag, error) bool) {
		msgs, err := streams.ReadPage(ctx, js, streams.Flags, streams.Page{From: after + 1, Subject: streams.FlagsOf(class, kind, target), Count: n})
		if err != nil {
			yield(storedFlag{}, fmt.Errorf("read the flags of %s %s: %w", kind, target, err))
			return
		}
		for _, m := range msgs {
			f, err := parseFlag(m.Subject, m.Data)
			if err != nil {
				yield(storedFlag{}, fmt.Errorf("read the flags of %s %s: %w", kind, target, err))
				return
			}
			if !yield(storedFlag{f, m.Sequence}, nil) {
				return
			}
		}
	}
}

// refill is the outcome of one look for flags that the lane does not hold.
type refill struct {
	lane   *lane
	raised int
	known  map[uint64]bool   // messages not to raise again: held, or lowered
	cursor map[string]uint64 // where to go on, by class; 0 after the end was reached
	whole  bool              // the look began at the start and reached the end
	err    error
	// classes are those to look for.
	classes []string
}

const (
	// lowWater is the part of its queue below which a lane fetches more.
	lowWater = 4
	// maxLooks is how many lanes look at once: all of them at once, after a long outage, would
	// only wait for each other at the stream.
	maxLooks = 8
	// refillTimeout bounds one look.
	refillTimeout = 20 * time.Second
	// refillPause is how long to wait after a look that failed, and for the flags of one that
	// did not: their delivery is a matter of milliseconds.
	refillPause = 5 * time.Second
)

// refill fetches flags of the lane's target that wait in the stream: it raises them again, and
// the consumer delivers them at once, however long they had to wait for an answer. Express ones
// come first, then the oldest. A target that is to be probed gets one.
func (e *Engine) refill(l *lane, now time.Time) {
	if l.group.state != held || !l.away || l.refilling || l.limits.Paused || l.breaker.open(now) || l.running > 0 && !l.breaker.closed() {
		return
	}
	held := len(l.items)
	if now.Before(l.expectedBy) {
		held += max(l.expected, 0)
	}
	n := l.limits.Queue - held
	if !l.breaker.closed() {
		n = 1 - held
	} else if held > l.limits.Queue/lowWater {
		return
	}
	if n <= 0 {
		return
	}
	if e.looks >= maxLooks {
		if !l.looker {
			l.looker = true
			e.lookers = append(e.lookers, l)
		}
		return
	}
	e.looks++
	l.refilling = true
	l.away = false // what is left in the stream from here on sets it again, and the look may miss it
	l.expected = 0 // counts down from here, so that what comes before the look ends is not missed
	r := refill{lane: l, known: make(map[uint64]bool, l.notRemoved()+len(l.items)), cursor: map[string]uint64{}, whole: true, classes: l.classes()}
	for _, of := range l.lowered {
		for seq := range of {
			r.known[seq] = true
		}
	}
	for seq := range l.aside {
		r.known[seq] = true
	}
	// What the lane holds goes by message: the same key's flag of the other class may wait.
	for _, it := range l.items {
		for _, h := range slices.Concat(it.held, it.next) {
			if h.of == nil {
				r.known[h.seq] = true
			}
		}
	}
	skip := l.putOff(now)
	for class, after := range l.cursor {
		r.cursor[class] = after
	}
	e.others.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), refillTimeout)
		defer cancel()
		r.err = e.look(ctx, &r, n, held, skip)
		select {
		case e.refilled <- r:
		case <-e.stopped:
		}
	})
}

// putOff gives the keys that the target refused and whose flags JetStream will give out by itself: to
// raise one of them again as its pause ends would make two of it, of which one becomes a dead letter
// and the other goes on.
func (l *lane) putOff(now time.Time) map[string]bool {
	keys := map[string]bool{}
	for key, f := range l.failing {
		if now.Before(f.until.Add(refillPause)) {
			keys[key] = true
		}
	}
	return keys
}

// look finds up to n flags, past those held and the keys to skip, and raises them again.
func (e *Engine) look(ctx context.Context, r *refill, n, held int, skip map[string]bool) error {
	now := time.Now()
	var found []storedFlag
	for _, class := range r.classes {
		r.whole = r.whole && r.cursor[class] == 0
		end := false
		for len(found) < n && !end {
			ask, read := n-len(found)+len(skip)+held, 0
			for f, err := range flagsOf(ctx, e.js, class, e.opts.Kind, r.lane.target, r.cursor[class], ask) {
				if err != nil {
					return err
				}
				read++
				r.cursor[class] = f.seq
				if r.known[f.seq] || skip[f.Key] || e.pauseLeft(f.Flag, now) > 0 {
					continue
				}
				skip[f.Key] = true
				if found = append(found, f); len(found) == n {
					break
				}
			}
			end = read < ask && len(found) < n
		}
		if end {
			r.cursor[class] = 0
		} else {
			r.whole = false
		}
	}
	r.raised = len(found)
	return reraise(ctx, e.js, found)
}

func (e *Engine) finishRefill(r refill) {
	l := r.lane
	l.refilling = false
	e.looks--
	defer e.nextLook()
	if r.err != nil {
		l.away = true
		e.log.Warn().Err(r.err).Str("target", l.target).Msg("waiting flags not fetched, will be retried")
		time.AfterFunc(jitter(refillPause), func() { e.send(wake{l.target, lookAgain}) })
		return
	}
	if l.group.state != held {
		e.forget(l.target, l)
		return
	}
	l.cursor = r.cursor
	if r.raised > 0 && l.group.expectBy.IsZero() {
		l.group.expectBy = time.Now().Add(deliveredWithin)
	}
	e.metrics.refetched.Add(float64(r.raised))
	if !r.whole || r.raised > 0 {
		l.away = true
	}
	l.expected += r.raised
	l.expectedBy = time.Now().Add(refillPause)
	if l.expected > 0 {
		time.AfterFunc(refillPause, func() { e.send(wake{l.target, lookAgain}) })
	}
	e.pump(l)
}

// nextLook lets lanes look that had to wait for others.
func (e *Engine) nextLook() {
	for len(e.lookers) > 0 && e.looks < maxLooks {
		l := e.lookers[0]
		e.lookers = e.lookers[1:]
		l.looker = false
		e.pump(l)
	}
}

const (
	// patrolFirst and patrolEvery are when the engine compares what waits in the stream with
	// what its lanes know of. The pause doubles from the first to the last: most is abandoned
	// when a process is killed, and while a lane is busy a look may miss it.
	patrolFirst = 2 * time.Second
	patrolEvery = 30 * time.Second
	// patrolShare keeps patrols from taking more than a tenth of the time, however many flags there
	// are to count: what an earlier worker left is found late then, but is found.
	patrolShare = 10
	// patrolQuiet is for how long nothing must have succeeded for a target, either, to think a
	// flag of it abandoned.
	patrolQuiet = time.Second
)

// patrol finds flags that nobody works on: those that an earlier worker held or left when it ended,
// and any that a consumer has lost sight of. It goes round the groups that are this worker's, one at
// a time.
func (e *Engine) patrol(ctx context.Context) {
	for pause := patrolFirst; ; pause = min(2*pause, patrolEvery) {
		anew := e.rest(ctx, jitter(pause))
		for _, group := range *e.holds.Load() {
			if anew || ctx.Err() != nil {
				break
			}
			began := time.Now()
			waiting, err := countWaiting(ctx, e.js, e.opts.Kind, group, e.opts.Targets())
			took := time.Since(began)
			if err != nil {
				if ctx.Err() == nil {
					e.log.Warn().Err(err).Msg("patrol failed, will be repeated")
				}
				continue
			}
			select {
			case e.waiting <- waiting:
			case <-ctx.Done():
			}
			anew = e.rest(ctx, min(patrolShare*took, patrolEvery))
		}
		if ctx.Err() != nil {
			return
		}
		if anew {
			pause = patrolFirst / 2
		}
	}
}

// rest waits, and reports whether groups were gained meanwhile, whose former worker may have left
// flags.
func (e *Engine) rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	case <-e.patrolNow:
		return true
	}
	return false
}

// compare makes lanes look for flags that wait although the lane holds fewer.
func (e *Engine) compare(waiting map[string]Waiting) {
	now := time.Now()
	for target, w := range waiting {
		if e.groupOf(target).state != held {
			continue
		}
		l := e.lane(target)
		// A flag of the future was raised before a clock was set back.
		if now.Sub(w.Oldest).Abs() < e.opts.Pauses.Patrol || now.Sub(l.lastSuccess) < patrolQuiet {
			continue // a later look will tell
		}
		if w.Flags > l.messages()+l.notRemoved()+len(l.aside) {
			l.away = true
			e.pump(l) // also if it was set before: the lane may have been another's meanwhile
		}
	}
}
