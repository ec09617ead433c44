package main

import (
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
)

func TestStatesOfPortalsAreNamed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := now.Add(-time.Hour)
	slow := portal.Slowness{Since: before, Answer: 3100 * time.Millisecond}
	down := portal.State{Down: true, Since: before, Reason: "connection refused", NextProbe: now, Slow: slow}
	for _, c := range []struct {
		p      portal.Portal
		st     portal.State
		oldest time.Time
		state  string
		reason string
	}{
		{state: "up"},
		{oldest: now, state: "up"},
		{st: portal.State{Since: before}, oldest: now, state: "up"},
		{st: portal.State{Since: now}, oldest: before, state: "catching up"},
		{p: portal.Portal{Digest: &portal.Digest{}}, st: portal.State{Since: now}, oldest: before, state: "up"},
		{st: portal.State{Since: now, Slow: slow}, oldest: before, state: "slow", reason: "3.1s"},
		{st: down, oldest: before, state: "down", reason: "connection refused"},
		{p: portal.Portal{Paused: &portal.Pause{By: "Lan", Why: "bảo trì", Since: before}}, st: down, state: "paused", reason: "bảo trì (Lan)"},
	} {
		v := portalView{State: "up", Oldest: optional(c.oldest)}
		v.fares(c.p, c.st)
		if v.State != c.state || !strings.Contains(v.Reason, c.reason) || (v.State == "down") != (v.Probe != nil) || (v.State == "up") != (v.Since == nil) {
			t.Errorf("%+v %+v: %+v", c.p, c.st, v)
		}
	}
}
