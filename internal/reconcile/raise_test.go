package reconcile

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// TestAFlagRaisedForAShareNeverReplacesANewerOne: nor one as new, which may know of failures.
func TestAFlagRaisedForAShareNeverReplacesANewerOne(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	now := time.Now()
	flag := func(target string, seq uint64, failures int) Flag {
		return Flag{Class: streams.Normal, Kind: "portal", Target: target, Key: "s.a", Seq: seq, Failures: failures, Raised: now}
	}
	before := []Flag{flag("older", 4, 2), flag("as-new", 5, 2), flag("newer", 6, 2)}
	if err := Raise(t.Context(), js, before); err != nil {
		t.Fatal(err)
	}
	beside := func(targets ...string) {
		t.Helper()
		var flags []Flag
		for _, target := range targets {
			flags = append(flags, flag(target, 5, 0))
		}
		if err := raiseBeside(t.Context(), js, flags); err != nil {
			t.Fatal(err)
		}
	}
	beside("none")
	beside("older", "as-new", "newer", "none", "another")
	beside("newer")
	want := map[string]Flag{"none": flag("none", 5, 0), "older": flag("older", 5, 0), "as-new": flag("as-new", 5, 2),
		"newer": flag("newer", 6, 2), "another": flag("another", 5, 0)}
	var pairs []Pair
	for target := range want {
		pairs = append(pairs, Pair{target, "s.a"})
	}
	up, err := Up(t.Context(), js, "portal", pairs)
	if err != nil {
		t.Fatal(err)
	}
	for target, w := range want {
		f := up[Pair{target, "s.a"}]
		if f.Seq != w.Seq || f.Failures != w.Failures {
			t.Errorf("%s has the flag of version %d with %d failures, want %d with %d", target, f.Seq, f.Failures, w.Seq, w.Failures)
		}
	}
	if len(up) != len(want) {
		t.Errorf("%d flags are up, want %d", len(up), len(want))
	}
}

// raiseShared raises a shared flag as the router does.
func raiseShared(t *testing.T, js jetstream.JetStream, class string, seq uint64, targets ...string) {
	t.Helper()
	a := &article.Article{Urgency: 5}
	flags := FlagsFor("portal", targets, nil, streams.Entry{Article: a, Key: "s.a", Seq: seq})
	for i := range flags {
		flags[i].Class = class
	}
	if err := Raise(t.Context(), js, flags); err != nil {
		t.Fatal(err)
	}
}

func upFor(t *testing.T, js jetstream.JetStream, targets ...string) map[Pair]Flag {
	t.Helper()
	var pairs []Pair
	for _, target := range targets {
		pairs = append(pairs, Pair{target, "s.a"})
	}
	up, err := Up(t.Context(), js, "portal", pairs)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// TestAVersionThatIsRoutedLateTakesNoTargetAway: of two routers, one may be late.
func TestAVersionThatIsRoutedLateTakesNoTargetAway(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets := loatest.Together("portal", "t", 4)
	raiseShared(t, js, streams.Normal, 2, targets[:3]...)
	raiseShared(t, js, streams.Normal, 1, targets[:2]...)
	raiseShared(t, js, streams.Normal, 1, targets[2:]...)
	up := upFor(t, js, targets...)
	for _, target := range targets {
		if f := up[Pair{target, "s.a"}]; f.Seq != 2 {
			t.Errorf("%s has the flag %+v, want one of version 2", target, f)
		}
	}
}

// TestTargetsShareFlagsOfBothClasses: and what is up is told of each.
func TestTargetsShareFlagsOfBothClasses(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	targets := loatest.Together("portal", "t", 3)
	raiseShared(t, js, streams.Express, 1, targets[1:]...)
	raiseShared(t, js, streams.Normal, 2, targets...)
	if up := upFor(t, js, targets...); len(up) != 3 {
		t.Errorf("flags are up for %v, want all three", up)
	}
}

// TestAFlagThatWasReplacedSpoilsNoOther: they are raised again in one batch.
func TestAFlagThatWasReplacedSpoilsNoOther(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	keys := []string{"s.a", "s.b", "s.c"}
	var flags []Flag
	for _, key := range keys {
		flags = append(flags, Flag{Class: streams.Normal, Kind: "portal", Target: "p", Key: key, Seq: 1})
	}
	if err := Raise(t.Context(), js, flags); err != nil {
		t.Fatal(err)
	}
	read := func() (all []storedFlag) {
		for f, err := range flagsOf(t.Context(), js, streams.Normal, "portal", "p", 0, len(keys)) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		return all
	}
	before := read()
	if err := Raise(t.Context(), js, flags[1:2]); err != nil {
		t.Fatal(err)
	}
	if err := reraise(t.Context(), js, before); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range read() {
		order = append(order, f.Key)
	}
	if want := []string{"s.b", "s.a", "s.c"}; !slices.Equal(order, want) {
		t.Errorf("the flags are in the order %v, want %v", order, want)
	}
}
