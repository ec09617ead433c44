package reconcile

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// TestAnyWorkersEndUpWithEvenShares lets workers come, go and die in any order; each looks after
// itself alone, and gives a group only once it is drained.
func TestAnyWorkersEndUpWithEvenShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.IntRange(1, 24).Draw(t, "groups")
		all, _ := parseTable(nil, groups)
		giving := map[string]map[int]bool{}
		step := func(id string) (changed bool) {
			for g := range giving[id] { // what was to be given up is drained by now
				if all.Owners[g] == id {
					all.Owners[g] = ""
					changed = true
				}
			}
			clear(giving[id])
			take, give := all.share(id, giving[id])
			for _, g := range give {
				if all.Owners[g] != id {
					t.Fatalf("%s gives group %d, which is %q's", id, g, all.Owners[g])
				}
				giving[id][g] = true
			}
			return changed || len(take)+len(give) > 0
		}
		next := 0
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			ids := make([]string, 0, len(all.Workers))
			for id := range all.Workers {
				ids = append(ids, id)
			}
			if len(ids) > 1 && rapid.Bool().Draw(t, "ends") {
				id := rapid.SampledFrom(ids).Draw(t, "who")
				all.bury(id)
				delete(giving, id)
			} else {
				id := fmt.Sprint("w", next)
				next++
				all.Workers[id] = member{}
				giving[id] = map[int]bool{}
			}
			for range rapid.IntRange(0, 3).Draw(t, "steps") {
				for id := range giving {
					step(id)
				}
			}
		}
		for round := 0; ; round++ {
			changed := false
			for id := range giving {
				changed = step(id) || changed
			}
			if !changed {
				break
			}
			if round > 100 {
				t.Fatalf("no end to it: %v", all)
			}
		}
		least, most := groups, 0
		owned := all.owned("", nil)
		total := 0
		for _, n := range owned {
			least, most, total = min(least, n), max(most, n), total+n
		}
		if total != groups || most-least > 1 {
			t.Fatalf("%d groups are shared as %v", groups, owned)
		}
	})
}

// A dispatcher that stalled may be told to give a group up that it was never told to take.
func TestAGroupThatWasNeverTakenIsGivenUpOnce(t *testing.T) {
	t.Parallel()
	e := &Engine{roster: newRoster(nil, "portal", "w", "", 2, zerolog.Nop(), time.Now), groups: []*group{{index: 0}, {index: 1}}, lanes: map[string]*lane{}}
	told := func() (all []handover) {
		for len(e.roster.gave) > 0 {
			all = append(all, <-e.roster.gave)
		}
		return all
	}
	first, second := handover{1, 1}, handover{1, 2}
	for i, step := range []struct {
		giving []handover
		want   []handover
	}{
		{[]handover{first}, []handover{first}},
		{[]handover{first}, nil}, // the roster has yet to hear of it
		{nil, nil},
		{[]handover{second}, []handover{second}},
	} {
		e.take(t.Context(), share{giving: step.giving})
		if got := told(); !slices.Equal(got, step.want) {
			t.Errorf("step %d: told %v, want %v", i, got, step.want)
		}
	}
	// While a run is under way, it is not given up; a handover that was begun anew counts.
	e.groups[1].state, e.groups[1].running = giving, 1
	third := handover{1, 3}
	e.take(t.Context(), share{giving: []handover{third}})
	if got := told(); got != nil {
		t.Errorf("told %v although something runs", got)
	}
	e.groups[1].running = 0
	e.given(e.groups[1])
	if got := told(); !slices.Equal(got, []handover{third}) {
		t.Errorf("told %v, want %v", got, third)
	}
}

// What is told of an earlier handover does not free a group that was taken again meanwhile.
func TestAnEarlierHandoverFreesNothing(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	r := newRoster(js, "portal", "w", "", 2, zerolog.Nop(), time.Now)
	if err := r.round(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.giving[1] = 7
	for _, step := range []struct {
		drained handover
		free    bool
	}{{handover{1, 6}, false}, {handover{1, 7}, true}} {
		// Another worker is there, so that what is free stays so.
		data, revision, err := streams.LatestValue(t.Context(), js, streams.WorkersBucket, "portal")
		if err != nil {
			t.Fatal(err)
		}
		all, err := parseTable(data, 2)
		if err != nil {
			t.Fatal(err)
		}
		all.Workers["other"] = member{Beat: 1}
		if err := r.write(t.Context(), all, revision); err != nil {
			t.Fatal(err)
		}
		r.drained = []handover{step.drained}
		if err := r.round(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		data, _, err = streams.LatestValue(t.Context(), js, streams.WorkersBucket, "portal")
		if err != nil {
			t.Fatal(err)
		}
		if all, _ = parseTable(data, 2); (all.Owners[1] == "") != step.free {
			t.Errorf("after %v: group 1 is %q's", step.drained, all.Owners[1])
		}
	}
}

// What the dispatcher told before the process stood still for a while counts afterwards.
func TestAHandoverOutlivesAHangingDispatcher(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	alive := time.Now().Add(-2 * hungAfter)
	r := newRoster(js, "portal", "w", "", 2, zerolog.Nop(), func() time.Time { return alive })
	run := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r.run(ctx)
	}
	if err := r.round(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.giving[1] = 1
	r.gave <- handover{1, 1}
	if run(); len(r.giving) != 1 {
		t.Fatal("a round was held although the dispatcher hangs")
	}
	alive = time.Now()
	loatest.Eventually(t, "the handover is over", func() bool { run(); return len(r.giving) == 0 })
}
