package reconcile

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/loatest"
)

// nobody reconciles nothing: the tests here play the dispatcher themselves.
type nobody struct{}

func (nobody) Reconcile(context.Context, string, []Flag) error { return nil }

// undispatched is an engine whose dispatcher is the test, with all looks taken, so that a lane that
// wants to look stays seen to.
func undispatched(t *testing.T, o Options) *Engine {
	t.Helper()
	o.Kind, o.Reconciler, o.Log = "portal", nobody{}, zerolog.Nop()
	e, err := New(t.Context(), loatest.NATS(t), o)
	if err != nil {
		t.Fatal(err)
	}
	e.looks = maxLooks
	return e
}

// receive waits for what comes out of a channel.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case it := <-from:
		return it
	case <-time.After(time.Minute):
		t.Fatal("never: " + what)
		panic("not reached")
	}
}

// TestALaneThatOutlastsTheLossOfItsGroupLooksAgain: its messages that were acknowledged and not yet
// removed keep it, while the look that was under way and the timers of that time went by.
func TestALaneThatOutlastsTheLossOfItsGroupLooksAgain(t *testing.T) {
	t.Parallel()
	down := State{Down: true, Failures: 3, Reason: "no answer", NextProbe: time.Now().Add(time.Minute), Pause: time.Minute}
	state := State{}
	e := undispatched(t, Options{Restore: func(string) State { return state }})
	ctx, cancel := context.WithCancel(t.Context())
	defer e.others.Wait()
	defer cancel()
	g := e.groupOf("p")
	gain := func() {
		t.Helper()
		e.take(ctx, share{groups: []int{g.index}, until: time.Now().Add(time.Hour)})
		e.begin(ctx, receive(t, "the group is prepared", e.gains))
	}
	gain()
	l := e.lane("p")
	l.lower(handle{seq: 1}, time.Now())
	e.take(ctx, share{anew: true})
	e.finishRefill(refill{lane: l, err: errors.New("no leader")})
	e.looks = maxLooks
	e.wake(wake{"p", lookAgain}) // comes while the group is nobody's
	if l.looker {
		t.Fatal("a lane looks for flags of another worker")
	}
	gain()
	if e.lanes["p"] != l {
		t.Fatal("the lane was to be kept")
	}
	if !l.looker {
		t.Error("the lane does not look again")
	}
	l.looker, e.lookers = false, nil
	e.take(ctx, share{anew: true})
	state = down
	gain()
	if l.looker || l.breaker.reason != down.Reason {
		t.Errorf("looks: %v, breaker %+v; want that of what the last worker saw", l.looker, l.breaker)
	}
}

// TestThePatrolWakesALaneThatWasToLook: whatever it was that should have made it look.
func TestThePatrolWakesALaneThatWasToLook(t *testing.T) {
	t.Parallel()
	e := undispatched(t, Options{})
	e.groupOf("p").state = held
	l := e.lane("p")
	l.away = true
	e.compare(map[string]Waiting{"p": {Flags: 1, Oldest: time.Now().Add(-time.Minute)}})
	if !slices.Contains(e.lookers, l) {
		t.Error("the lane does not look")
	}
}

// TestALaneGoesOnThoughALaterTimerIsSet: a run that was under way succeeded after another had the
// breaker opened for an hour.
func TestALaneGoesOnThoughALaterTimerIsSet(t *testing.T) {
	t.Parallel()
	e := undispatched(t, Options{Limits: func(string) Limits { return Limits{Interval: 50 * time.Millisecond} }})
	e.groupOf("p").state = held
	l := e.lane("p")
	l.breaker.fail(time.Now(), "429", time.Hour, e.opts.Pauses)
	e.pump(l)
	if left := time.Until(l.wakeAt); left < 50*time.Minute {
		t.Fatalf("woken in %s, want the end of the pause that it asked for", left)
	}
	e.succeed(l)
	l.items["a"] = &item{held: []handle{{flag: Flag{Key: "a"}}}}
	l.enqueue(l.items["a"])
	l.nextRun = time.Now().Add(l.limits.Interval)
	e.pump(l)
	w := receive(t, "the lane is woken when its next run is due", e.wakes)
	if e.wake(w); !l.ready {
		t.Error("the lane cannot run")
	}
}
