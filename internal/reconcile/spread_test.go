package reconcile

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// spreader is an engine whose dispatcher is the test, with a group of its own.
type spreader struct {
	*Engine
	t       *testing.T
	targets []string
	shared  *lane
}

func newSpreader(t *testing.T, targets int) *spreader {
	t.Helper()
	e := undispatched(t, Options{})
	t.Cleanup(e.others.Wait)
	s := &spreader{Engine: e, t: t, targets: loatest.Together("portal", "t", targets)}
	g := e.groupOf(s.targets[0])
	g.state = held
	s.shared = e.lane(streams.SharedTarget("portal", g.index))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel) // before the others are waited for
	for _, class := range classes {
		e.others.Go(func() { e.read(ctx, class, g.index) })
	}
	return s
}

// deliver raises a flag, and has the engine accept it.
func (s *spreader) deliver(f Flag) {
	s.t.Helper()
	f.Kind, f.Key = "portal", "s.a"
	if err := Raise(s.t.Context(), s.js, []Flag{f}); err != nil {
		s.t.Fatal(err)
	}
	s.accept(receive(s.t, "the flag is delivered", s.deliveries))
}

// share delivers a shared flag, and gives it out.
func (s *spreader) share(class string, version uint64) *spreading {
	s.t.Helper()
	s.deliver(Flag{Class: class, Target: s.shared.target, Seq: version, Targets: s.targets})
	before := len(s.spreads)
	s.spread(s.shared, s.shared.take(1)[0])
	if len(s.spreads) != before+1 {
		s.t.Fatalf("%d shared flags are given out, want %d", len(s.spreads), before+1)
	}
	for sp := range s.spreads {
		if sp.item.flag.Seq == version {
			return sp
		}
	}
	s.t.Fatal("the flag is not given out")
	return nil
}

// fail ends a run of all that a target has with an error.
func (s *spreader) fail(target string, err error) {
	l := s.lanes[target]
	items := l.take(1)
	items[0].running = true
	l.running++
	l.group.running++
	s.running++
	s.finish(run{lane: l, items: items, err: err})
}

// TestANewVersionHasNoFailures: an earlier one's are not counted against it.
func TestANewVersionHasNoFailures(t *testing.T) {
	t.Parallel()
	s := newSpreader(t, 2)
	s.deliver(Flag{Class: streams.Normal, Target: s.targets[0], Seq: 5, Failures: 3})
	s.share(streams.Normal, 6)
	if f := s.lanes[s.targets[0]].items["s.a"].flag; f.Seq != 6 || f.Failures != 0 {
		t.Errorf("version %d has %d failures", f.Seq, f.Failures)
	}
	s.deliver(Flag{Class: streams.Normal, Target: s.targets[1], Seq: 6, Failures: 2})
	if f := s.lanes[s.targets[1]].items["s.a"].flag; f.Failures != 2 {
		t.Errorf("the same version has %d failures, want 2", f.Failures)
	}
}

// TestAShareThatIsSetAsideGetsNoFlag: however long the writing of its dead letter takes.
func TestAShareThatIsSetAsideGetsNoFlag(t *testing.T) {
	t.Parallel()
	s := newSpreader(t, 2)
	sp := s.share(streams.Normal, 5)
	refused, other := s.targets[0], s.targets[1]
	s.fail(refused, Permanent(errors.New("no")))
	s.cut(time.Now().Add(spreadMost))
	if sp.over || sp.pending[refused] || s.lanes[refused].slowUntil.After(time.Now()) {
		t.Fatalf("over: %t, %v left", sp.over, sp.pending)
	}
	s.finishSetAside(receive(t, "the dead letter is stored", s.setasides))
	s.lanes[other].normal, s.lanes[other].ready = nil, false // as if it were running
	s.cut(time.Now().Add(spreadMost))
	s.raisedAlone(receive(t, "the other's flag is raised", s.alone))
	if !sp.over {
		t.Error("the shared flag stays")
	}
	var own []storedFlag
	for _, target := range s.targets {
		own = append(own, storedFlag{Flag: Flag{Class: streams.Normal, Kind: "portal", Target: target, Key: "s.a"}})
	}
	up, err := readUp(t.Context(), s.js, own)
	if err != nil || len(up) != 1 || up[0].Target != other {
		t.Errorf("flags of targets: %v, %v; want one of the other", up, err)
	}
}

// TestMostOfTheTargetsAreNotSlow: it is the worker that is.
func TestMostOfTheTargetsAreNotSlow(t *testing.T) {
	t.Parallel()
	s := newSpreader(t, 4)
	sp := s.share(streams.Normal, 5)
	for _, target := range s.targets {
		s.lanes[target].normal, s.lanes[target].ready = nil, false // as if all were running
	}
	s.cut(time.Now().Add(spreadFor))
	if len(sp.pending) != 4 {
		t.Fatalf("%d shares are left of all", len(sp.pending))
	}
	s.settled(sp.share(s.targets[0]))
	s.settled(sp.share(s.targets[1]))
	s.cut(time.Now().Add(spreadFor))
	if len(sp.pending) != 0 || s.lanes[s.targets[3]].slowUntil.Before(time.Now()) {
		t.Errorf("%d shares are left of those that others wait for", len(sp.pending))
	}
	s.raisedAlone(receive(t, "their flags are raised", s.alone))
	if !sp.over || len(s.spreads) != 0 || s.shared.running != 0 || len(s.shared.items) != 0 {
		t.Errorf("over: %t; the lane has %d under way and holds %d", sp.over, s.shared.running, len(s.shared.items))
	}
}

// TestAnExpressFlagLeavesTheLineOfTheOthers: though its lane has long been in it.
func TestAnExpressFlagLeavesTheLineOfTheOthers(t *testing.T) {
	t.Parallel()
	s := newSpreader(t, 2)
	s.deliver(Flag{Class: streams.Normal, Target: s.shared.target, Seq: 1, Targets: s.targets})
	s.deliver(Flag{Class: streams.Express, Target: s.shared.target, Seq: 2, Targets: s.targets})
	if len(s.express) != 1 || s.express[0] != s.shared {
		t.Errorf("%d lanes in the line of express ones, %d in the other", len(s.express), len(s.normal))
	}
}
