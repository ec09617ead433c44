package reconcile

import (
	"fmt"
	"testing"
	"time"
)

func TestOfVeryManyLanesIdleOnesAreLetGo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := &Engine{lanes: map[string]*lane{}}
	add := func(target string, change func(*lane)) {
		l := newLane(target)
		l.used = now.Add(-2 * idleFor)
		change(l)
		e.lanes[target] = l
	}
	kept := map[string]func(*lane){
		"young":   func(l *lane) { l.used = now },
		"holds":   func(l *lane) { l.items["a"] = &item{} },
		"runs":    func(l *lane) { l.running = 1 },
		"lowered": func(l *lane) { l.lower(handle{seq: 1}, now) },
		"aside":   func(l *lane) { l.aside[1] = true },
		"failing": func(l *lane) { l.remember("a", failure{}) },
		"down":    func(l *lane) { l.breaker.fail(now, "down", 0, Pauses{}.withDefaults()) },
		"behind":  func(l *lane) { l.away = true },
		"looks":   func(l *lane) { l.refilling = true },
		"waits":   func(l *lane) { l.wakeAt = now },
	}
	for target, change := range kept {
		add(target, change)
	}
	for i := range manyLanes - len(kept) {
		add(fmt.Sprint(i), func(*lane) {})
	}
	if e.forgetIdle(now); len(e.lanes) != manyLanes {
		t.Errorf("%d lanes are left although there were not too many", len(e.lanes))
	}
	add("one more", func(*lane) {})
	e.forgetIdle(now)
	for target := range kept {
		if e.lanes[target] == nil {
			t.Errorf("%s was let go", target)
		}
	}
	if len(e.lanes) != len(kept) {
		t.Errorf("%d lanes are left, want %d", len(e.lanes), len(kept))
	}
}
