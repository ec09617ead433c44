package reconcile

import (
	"testing"
	"time"

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
