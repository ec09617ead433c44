package reconcile_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// once waits until each of the targets was called for each of the keys, and sees that it was once.
func (r *targets) once(t *testing.T, targets, keys []string) {
	t.Helper()
	r.level(t, targets, keys)
	for _, target := range targets {
		if n := r.calls(target); n != len(keys) {
			t.Errorf("%s was called %d times for %d keys", target, n, len(keys))
		}
	}
}

// level waits until each of the targets was called for each of the keys.
func (r *targets) level(t *testing.T, targets, keys []string) {
	t.Helper()
	for _, target := range targets {
		loatest.Eventually(t, target+" is level", func() bool {
			return slices.Equal(slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of(target)...)))), keys)
		})
	}
}

func TestTheTargetsOfAGroupHaveOneFlagOfAnArticle(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles := names(200), keys(5)
	raiseFor(t, js, targets, articles...)
	if n, most := flagsLeft(t, js), uint64(streams.Partitions*len(articles)); n > most {
		t.Errorf("%d flags, want at most %d", n, most)
	}
	waiting, err := reconcile.CountWaiting(t.Context(), js, "portal", targets)
	if err != nil {
		t.Fatal(err)
	}
	var pairs []reconcile.Pair
	for _, target := range targets {
		if w := waiting[target]; w.Flags != len(articles) || time.Since(w.Oldest).Abs() > time.Minute {
			t.Errorf("%d articles wait for %s, the oldest since %s, want %d", w.Flags, target, w.Oldest, len(articles))
		}
		pairs = append(pairs, reconcile.Pair{Target: target, Key: articles[1]})
	}
	if len(waiting) != len(targets) {
		t.Errorf("articles wait for %d targets, want %d", len(waiting), len(targets))
	}
	up, err := reconcile.Up(t.Context(), js, "portal", append(pairs, reconcile.Pair{Target: "another", Key: articles[1]}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if f, ok := up[p]; !ok || f.Target != p.Target || f.Key != p.Key || f.Seq != 2 || f.Targets != nil {
			t.Errorf("the flag of %v is %+v, %t", p, f, ok)
		}
	}
	if len(up) != len(pairs) {
		t.Errorf("%d flags are up, want %d", len(up), len(pairs))
	}
	r := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: r})
	allLowered(t, js)
	r.once(t, targets, articles)
}

// TestATargetThatIsNotWellHoldsNoOtherUp: it gets flags of its own.
func TestATargetThatIsNotWellHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets := loatest.Together("portal", "t", 8)
	paused, hung, down, refuses, held := targets[0], targets[1], targets[2], targets[3], targets[4]
	well, articles := targets[5:], keys(200)
	var unwell atomic.Bool
	unwell.Store(true)
	goOn := make(chan struct{})
	r := newTargets(func(target string, flags []reconcile.Flag) error {
		if !unwell.Load() {
			return nil
		}
		switch target {
		case hung:
			<-goOn
		case down:
			return reconcile.Down(errors.New("no answer"), time.Minute)
		case refuses:
			if flags[0].Key == articles[7] {
				return reconcile.Failed(errors.New("does not like it"))
			}
		}
		return nil
	})
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Limits: func(target string) reconcile.Limits {
		return reconcile.Limits{Paused: target == paused && unwell.Load(), Held: target == held && unwell.Load()}
	}, Pauses: reconcile.Pauses{Key: []time.Duration{time.Hour}, Patrol: time.Second}})
	raiseFor(t, js, targets, articles...)
	r.once(t, well, articles)
	loatest.Eventually(t, "the shared flags are lowered", func() bool {
		n, _, err := streams.Count(t.Context(), js, streams.Flags, streams.FlagsOf("*", "portal", streams.SharedTarget("portal", streams.FlagGroup("portal", paused))))
		return err == nil && n == 0
	})
	waiting, err := reconcile.CountWaiting(t.Context(), js, "portal", targets)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{paused, hung, down, held} {
		if n := waiting[target].Flags; n != len(articles) {
			t.Errorf("%d articles wait for %s, want %d", n, target, len(articles))
		}
	}
	if n, err := reconcile.CountHeld(t.Context(), js, "portal", held); err != nil || n != len(articles) {
		t.Errorf("%d flags are held, want %d: %v", n, len(articles), err)
	}
	up, err := reconcile.Up(t.Context(), js, "portal", []reconcile.Pair{{Target: refuses, Key: articles[7]}})
	if err != nil {
		t.Fatal(err)
	}
	if f := up[reconcile.Pair{Target: refuses, Key: articles[7]}]; f.Failures != 1 || time.Until(f.Until) < 30*time.Minute {
		t.Errorf("what was refused has the flag %+v", f)
	}
	unwell.Store(false)
	close(goOn)
	for _, target := range []string{paused, held} {
		e.Wake(target)
	}
	r.level(t, []string{paused, held}, articles) // a look may take one twice
	loatest.Eventually(t, hung+" is level", func() bool {
		w, err := reconcile.CountWaiting(t.Context(), js, "portal", []string{hung})
		return err == nil && w[hung].Flags == 0
	})
	if n := r.calls(down); n != 1 {
		t.Errorf("a target that is down was called %d times", n)
	}
	if r.overlaps > 0 {
		t.Errorf("two runs at once for one key, %d times", r.overlaps)
	}
}

// TestAWithdrawalOvertakesTheSharesOfAnEarlierVersion: also where that is under way.
func TestAWithdrawalOvertakesTheSharesOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles := loatest.Together("portal", "t", 4), keys(40)
	goOn := make(chan struct{})
	var began atomic.Int64
	r := newTargets(func(_ string, flags []reconcile.Flag) error {
		if began.Add(1) <= int64(len(targets)) {
			<-goOn
		}
		return nil
	})
	run(t, js, reconcile.Options{Reconciler: r})
	raiseFor(t, js, targets, articles...)
	loatest.Eventually(t, "all targets are busy", func() bool { return began.Load() == int64(len(targets)) })
	withdrawn := articles[len(articles)-1]
	raiseVersions(t, js, targets, 1000, article.Article{Status: events.StatusWithdrawn, Urgency: 5}, withdrawn)
	loatest.Eventually(t, "the withdrawal is given out", func() bool { return pending(t, js, streams.Express) == 0 })
	close(goOn)
	allLowered(t, js)
	for _, target := range targets {
		order := slices.Concat(r.of(target)...)
		if i := slices.Index(order, withdrawn); i > 2 {
			t.Errorf("%s: the withdrawal came after %d others", target, i)
		}
	}
	if r.overlaps > 0 {
		t.Errorf("two runs at once for one key, %d times", r.overlaps)
	}
}

// TestWhatAnEngineGaveOutIsTakenUpByTheNext: of shared flags, what was not settled when it ended.
func TestWhatAnEngineGaveOutIsTakenUpByTheNext(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles := names(60), keys(50)
	raiseFor(t, js, targets, articles...)
	r := newTargets(func(string, []reconcile.Flag) error { time.Sleep(time.Millisecond); return nil })
	total := func() (n int) {
		for _, target := range targets {
			n += r.calls(target)
		}
		return n
	}
	const rounds = 4
	for i := range rounds {
		_, stop := run(t, js, reconcile.Options{Reconciler: r, Grace: time.Millisecond})
		loatest.Eventually(t, "some are level", func() bool { return total() > (i+1)*len(targets)*len(articles)/rounds/2 })
		stop()
	}
	run(t, js, reconcile.Options{Reconciler: r})
	allLowered(t, js)
	r.level(t, targets, articles)
	if most := len(targets) * len(articles) * 3; total() > most {
		t.Errorf("%d calls, want at most %d", total(), most)
	}
}

// TestAnEngineEndsThoughManyFlagsAreBeingRaised: for targets that do not take their shares.
func TestAnEngineEndsThoughManyFlagsAreBeingRaised(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles := names(400), keys(100)
	raiseFor(t, js, targets, articles...)
	asked := make(chan struct{})
	_, stop := run(t, js, reconcile.Options{Reconciler: newTargets(nil), Limits: func(target string) reconcile.Limits {
		if target == targets[0] {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
		return reconcile.Limits{Paused: true}
	}})
	<-asked // they are being given out
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	r := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: r})
	allLowered(t, js)
	r.level(t, targets, articles)
}

// TestSharedFlagsThatAreLoweredGoThoughABacklogStays: each would look like many that wait.
func TestSharedFlagsThatAreLoweredGoThoughABacklogStays(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles, behind := names(60), keys(10), keys(25_000)
	raise(t, js, "portal", streams.Normal, "paused", behind...)
	run(t, js, reconcile.Options{Reconciler: newTargets(nil), Limits: func(target string) reconcile.Limits {
		return reconcile.Limits{Paused: target == "paused"}
	}})
	raiseFor(t, js, targets, articles...)
	var waiting map[string]reconcile.Waiting
	loatest.Eventually(t, "nothing waits but for the target that is paused", func() bool {
		var err error
		waiting, err = reconcile.CountWaiting(t.Context(), js, "portal", append(targets, "paused"))
		return err == nil && len(waiting) == 1
	})
	if n := waiting["paused"].Flags; n != len(behind) {
		t.Errorf("%d wait for that, want %d", n, len(behind))
	}
}

// TestFewWorkersSettleManyShares: one after the other.
func TestFewWorkersSettleManyShares(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets, articles := names(64), keys(20)
	r := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: r, Workers: 2})
	raiseFor(t, js, targets, articles...)
	allLowered(t, js)
	r.once(t, targets, articles)
}
