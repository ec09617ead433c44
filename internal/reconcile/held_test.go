package reconcile_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestHeldFlagsWaitWhileExpressOnesRun(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var open atomic.Bool
	r := newTargets(nil)
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Limits: func(string) reconcile.Limits {
		return reconcile.Limits{Held: !open.Load()}
	}})
	raise(t, js, "portal", streams.Normal, "p", keys(100)...)
	raise(t, js, "portal", streams.Express, "p", "s.now")
	loatest.Eventually(t, "the express flag is lowered", func() bool { return flagsLeft(t, js) == 100 })
	// A held flag of the same key is no reason to wait, and is lowered with the other or not.
	raise(t, js, "portal", streams.Express, "p", "s.0007")
	loatest.Eventually(t, "that of a held key too", func() bool { return len(slices.Concat(r.of("p")...)) >= 2 && flagsLeft(t, js) <= 100 })
	for _, key := range slices.Concat(r.of("p")...) {
		if key != "s.now" && key != "s.0007" {
			t.Errorf("%s ran while it was held", key)
		}
	}
	open.Store(true)
	e.Wake("p")
	allLowered(t, js)
	if got := slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of("p")...)))); len(got) != 101 {
		t.Errorf("%d keys ran, expected 101", len(got))
	}
}

// What a lane has queued when its target's flags come to be held goes back to the stream, not to
// the target.
func TestQueuedFlagsAreHandedBackWhenTheyAreHeld(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var held atomic.Bool
	began, goOn := make(chan struct{}, 200), make(chan struct{})
	r := newTargets(func(string, []reconcile.Flag) error { began <- struct{}{}; <-goOn; return nil })
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Limits: func(string) reconcile.Limits {
		return reconcile.Limits{Held: held.Load()}
	}})
	raise(t, js, "portal", streams.Normal, "p", keys(50)...)
	<-began
	held.Store(true)
	e.Wake("p")
	raise(t, js, "portal", streams.Express, "p", "s.now")
	close(goOn)
	loatest.Eventually(t, "the express flag ran", func() bool { return slices.ContainsFunc(r.of("p"), func(k []string) bool { return k[0] == "s.now" }) })
	loatest.Eventually(t, "flags lowered", func() bool { return flagsLeft(t, js) == 49 })
	if got := slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of("p")...)))); len(got) != 2 {
		t.Errorf("%v ran, expected the one that was under way, and the express one", got)
	}
	held.Store(false)
	e.Wake("p")
	allLowered(t, js)
}

func TestHeldFlagsAreReadInOrderAndLoweredUpToAPlace(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	raise(t, js, "portal", streams.Normal, "p", keys(30)...)
	raise(t, js, "portal", streams.Normal, "other", keys(3)...)
	raise(t, js, "portal", streams.Express, "p", "s.now")
	first, err := reconcile.Held(t.Context(), js, "portal", "p", 0, 10)
	if err != nil || len(first) != 10 || first[0].Key != "s.0000" || first[9].Key != "s.0009" {
		t.Fatalf("%v, %v", first, err)
	}
	next, err := reconcile.Held(t.Context(), js, "portal", "p", first[9].Place, 100)
	if err != nil || len(next) != 20 || next[0].Key != "s.0010" {
		t.Fatalf("%v, %v", next, err)
	}
	raise(t, js, "portal", streams.Normal, "p", "s.0003") // again, later
	if err := reconcile.Lower(t.Context(), js, "portal", "p", first[9].Place); err != nil {
		t.Fatal(err)
	}
	if n, err := reconcile.CountHeld(t.Context(), js, "portal", "p"); err != nil || n != 21 {
		t.Errorf("%d flags left of p, %v; expected 20 and the one that was raised again", n, err)
	}
	if n := flagsLeft(t, js); n != 25 {
		t.Errorf("%d flags left, expected 21, 3 of another portal, and the express one", n)
	}
}
