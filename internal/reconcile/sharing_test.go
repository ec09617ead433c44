package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// crew is several workers on one kind of flags, which sees when two of them are at one key.
type crew struct {
	mu       sync.Mutex
	now      map[string]string // target and key → who is at it
	overlaps []string
	level    map[string]int          // target and key → how often
	by       map[string]map[int]bool // worker → the groups it was seen at
	stop     map[string]func()
	js       jetstream.JetStream
}

func newCrew(js jetstream.JetStream) *crew {
	return &crew{js: js, now: map[string]string{}, level: map[string]int{}, by: map[string]map[int]bool{}, stop: map[string]func(){}}
}

type crewMember struct {
	*crew
	name string
}

func (m crewMember) Reconcile(_ context.Context, target string, flags []reconcile.Flag) error {
	at := target + " " + flags[0].Key
	m.mu.Lock()
	if other, busy := m.now[at]; busy {
		m.overlaps = append(m.overlaps, fmt.Sprintf("%s and %s at %s", other, m.name, at))
	}
	m.now[at] = m.name
	m.by[m.name][streams.FlagGroup("portal", target)] = true
	m.mu.Unlock()
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.now, at)
	m.level[at]++
	return nil
}

func (c *crew) join(t *testing.T, name string) {
	t.Helper()
	c.mu.Lock()
	c.by[name] = map[int]bool{}
	c.mu.Unlock()
	_, c.stop[name] = run(t, c.js, reconcile.Options{Reconciler: crewMember{c, name}})
}

// seen gives how many groups each worker is at, of flags raised from now on.
func (c *crew) seen(t *testing.T, round string) map[string]int {
	t.Helper()
	c.mu.Lock()
	for _, groups := range c.by {
		clear(groups)
	}
	c.mu.Unlock()
	raiseFor(t, c.js, names(120), "s."+round) // enough to be in every group
	loatest.Eventually(t, "all of "+round+" are level", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range 120 {
			if c.level[fmt.Sprintf("p%d s.%s", i, round)] == 0 {
				return false
			}
		}
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for name, groups := range c.by {
		if len(groups) > 0 {
			n[name] = len(groups)
		}
	}
	return n
}

// shared waits until that many workers have even shares.
func (c *crew) shared(t *testing.T, workers int) {
	t.Helper()
	round := 0
	loatest.Eventually(t, fmt.Sprint("the groups are shared evenly by ", workers), func() bool {
		round++
		c.mu.Lock()
		sofar := len(c.level)
		c.mu.Unlock()
		n := c.seen(t, fmt.Sprintf("%d-%d", sofar, round))
		least, most, total := streams.Partitions, 0, 0
		for _, groups := range n {
			least, most, total = min(least, groups), max(most, groups), total+groups
		}
		return len(n) == workers && total == streams.Partitions && most-least <= 1
	})
}

func TestWorkersShareTheGroupsEvenlyAsTheyComeAndGo(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	c := newCrew(js)
	c.join(t, "a")
	c.shared(t, 1)
	c.join(t, "b")
	c.shared(t, 2)
	c.join(t, "c")
	c.shared(t, 3)
	began := time.Now()
	c.stop["b"]()
	c.shared(t, 2)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("what a worker had that left was taken over after %s", took)
	}
	c.stop["a"]()
	c.shared(t, 1)
	allLowered(t, js)
	if len(c.overlaps) > 0 {
		t.Errorf("two workers at one key: %v", c.overlaps)
	}
}

// TestABacklogSurvivesWorkersThatComeAndGo: the flags that one worker handed back, for a long
// time as a rule, are found by the next.
func TestABacklogSurvivesWorkersThatComeAndGo(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	c := newCrew(js)
	const targets, keysEach = 24, 40
	for i := range targets / 2 {
		raise(t, js, "portal", streams.Normal, fmt.Sprint("p", i), keys(keysEach)...)
	}
	raiseFor(t, js, names(targets)[targets/2:], keys(keysEach)...)
	c.join(t, "a")
	for i := range 3 {
		name := fmt.Sprint("w", i)
		c.join(t, name)
		time.Sleep(150 * time.Millisecond) // whenever: what is checked holds at any moment
		if i > 0 {
			c.stop[fmt.Sprint("w", i-1)]()
		}
	}
	allLowered(t, js)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.level) != targets*keysEach {
		t.Errorf("%d of %d are level", len(c.level), targets*keysEach)
	}
	if len(c.overlaps) > 0 {
		t.Errorf("two workers at one key: %v", slices.Compact(c.overlaps))
	}
}

// TestFlagsThatNobodyRemembersAreFound: a crash leaves flags that were acknowledged, but not yet
// removed, and that no consumer gives out again.
func TestFlagsThatNobodyRemembersAreFound(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	raise(t, js, "portal", streams.Normal, "p", keys(20)...)
	c, err := streams.FlagConsumer(t.Context(), js, "portal", streams.Normal, streams.FlagGroup("portal", "p"))
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := c.Fetch(20, jetstream.FetchPriorityGroup(streams.PriorityGroup))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range msgs.Messages() {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 20 {
		t.Fatalf("%d flags were given out: %v", n, msgs.Error())
	}
	r := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: r})
	allLowered(t, js)
	if got := len(slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of("p")...))))); got != 20 {
		t.Errorf("%d of 20 stuck flags were looked at", got)
	}
}

// TestAFailureIsRememberedOverARestart: the count of refusals is in the flag.
func TestAFailureIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	refuse := newTargets(func(string, []reconcile.Flag) error { return reconcile.Failed(fmt.Errorf("422")) })
	pauses := reconcile.Pauses{Key: []time.Duration{time.Millisecond, time.Hour}}
	_, stop := run(t, js, reconcile.Options{Reconciler: refuse, Pauses: pauses})
	raise(t, js, "portal", streams.Normal, "p", "s.a")
	loatest.Eventually(t, "the flag was refused twice", func() bool {
		up, err := reconcile.Up(t.Context(), js, "portal", []reconcile.Pair{{Target: "p", Key: "s.a"}})
		return err == nil && up[reconcile.Pair{Target: "p", Key: "s.a"}].Failures == 2
	})
	stop()
	next := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: next, Pauses: pauses})
	raise(t, js, "portal", streams.Normal, "p", "s.b")
	loatest.Eventually(t, "another key is reconciled", func() bool { return next.calls("p") > 0 })
	if got := next.of("p"); len(got) != 1 || got[0][0] != "s.b" {
		t.Errorf("after a restart %v were tried, expected s.b alone", got)
	}
	// Another version is tried at once.
	raise(t, js, "portal", streams.Normal, "p", "s.a")
	allLowered(t, js)
}

func TestATargetThatWasDownIsProbedByTheNextWorker(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	r := newTargets(nil)
	since := time.Now().Add(-time.Hour)
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Restore: func(target string) reconcile.State {
		if target != "down" {
			return reconcile.State{}
		}
		return reconcile.State{Down: true, Since: since, Failures: 9, Reason: "connection refused", NextProbe: time.Now().Add(time.Hour)}
	}})
	raise(t, js, "portal", streams.Normal, "down", keys(30)...)
	raise(t, js, "portal", streams.Normal, "well", keys(30)...)
	loatest.Eventually(t, "the other target is served", func() bool { return r.calls("well") == 30 })
	e.Wake("down")
	if n := r.calls("down"); n > 0 {
		t.Errorf("called %d times before its probe is due", n)
	}
}

func TestNothingIsWorkedOnBeforeWhatTheLastWorkerLeftIsKnown(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var known sync.Map // targets
	tries := map[string]int{}
	early := make(chan string, 1)
	r := newTargets(func(target string, _ []reconcile.Flag) error {
		if _, ok := known.Load(target); !ok {
			select {
			case early <- target:
			default:
			}
		}
		return nil
	})
	names := []string{"quan-1", "quan-2", "quan-3"}
	for _, name := range names {
		raise(t, js, "portal", streams.Normal, name, keys(5)...)
	}
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Pauses: reconcile.Pauses{Own: 10 * time.Millisecond},
		Gained: func(ctx context.Context, has func(string) bool) error {
			for _, name := range names {
				if !has(name) {
					return fmt.Errorf("%s is not among the targets of the only worker", name)
				}
				if tries[name]++; tries[name] < 3 {
					return fmt.Errorf("%s cannot be looked into yet", name)
				}
			}
			for _, name := range names {
				known.Store(name, true)
			}
			return nil
		}})
	for _, name := range names {
		e.Wake(name)
	}
	allLowered(t, js)
	select {
	case name := <-early:
		t.Errorf("%s was worked on before", name)
	default:
	}
	if tries[names[0]] < 3 {
		t.Errorf("looked into %d times", tries[names[0]])
	}
}
