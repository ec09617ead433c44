package reconcile

import (
	"context"
	"testing"
	"time"
)

// A worker that comes back has a lease again, but not for what it began before others took over.
func TestWhatWasBegunBeforeOthersTookOverStaysLapsed(t *testing.T) {
	t.Parallel()
	e := &Engine{}
	begin := func() context.Context {
		return context.WithValue(t.Context(), leaseKey{}, lease{e, e.tenure.Load()})
	}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Second)
	e.extend(share{until: soon, anew: true})
	first := begin()
	for i, step := range []struct {
		share
		first, now bool
	}{
		{share{until: soon}, false, false},
		{share{until: past}, true, true},
		{share{until: soon}, false, false}, // nobody had noticed
		{share{until: past}, true, true},
		{share{until: soon, anew: true}, true, false},
	} {
		e.extend(step.share)
		if got := Lapsed(first); got != step.first {
			t.Errorf("step %d: the first run is lapsed: %t", i, got)
		}
		if got := Lapsed(begin()); got != step.now {
			t.Errorf("step %d: a run that is begun now is lapsed: %t", i, got)
		}
	}
	if Lapsed(t.Context()) {
		t.Error("lapsed outside of a run")
	}
}
