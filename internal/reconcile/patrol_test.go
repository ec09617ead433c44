package reconcile

import (
	"testing"
	"time"
)

// TestPatrolLeavesABurstAlone: flags on their way to a lane are not abandoned.
func TestPatrolLeavesABurstAlone(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		raised, lastSuccess time.Time
		abandoned           bool
	}{
		"raised just now":           {now, time.Time{}, false},
		"of a target that is moved": {now.Add(-time.Minute), now, false},
		"old, and nothing moves":    {now.Add(-time.Minute), now.Add(-time.Minute), true},
	} {
		// Paused, so that nothing is fetched: what counts is whether the lane would.
		e := &Engine{lanes: map[string]*lane{}, groups: []*group{{state: held}}, opts: Options{Limits: func(string) Limits { return Limits{Paused: true} }}}
		e.lane("portal").lastSuccess = c.lastSuccess
		e.compare(map[string]Waiting{"portal": {Flags: 3, Oldest: c.raised}})
		if got := e.lane("portal").away; got != c.abandoned {
			t.Errorf("flags %s: taken for abandoned: %v, expected %v", name, got, c.abandoned)
		}
	}
}
