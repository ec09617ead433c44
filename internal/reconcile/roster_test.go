package reconcile

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
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
