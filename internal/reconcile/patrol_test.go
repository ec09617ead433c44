package reconcile

import (
	"testing"
	"time"
)

// TestPatrolLeavesABurstAlone: flags on their way to a lane are not abandoned.
func TestPatrolLeavesABurstAlone(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		raised, lastSuccess time.Time
		abandoned           bool
	}{
		"raised just now":                                {now, time.Time{}, false},
		"of a target that is moved":                      {now.Add(-time.Minute), now, false},
		"old, and nothing moves":                         {now.Add(-time.Minute), now.Add(-time.Minute), true},
		"before a clock was set back, and nothing moves": {now.Add(time.Hour), time.Time{}, true},
	} {
		// Paused, so that nothing is fetched: what counts is whether the lane would.
		e := &Engine{lanes: map[string]*lane{}, groups: []*group{{state: held}},
			opts: Options{Pauses: Pauses{}.withDefaults(), Limits: func(string) Limits { return Limits{Paused: true} }}}
		e.lane("portal").lastSuccess = c.lastSuccess
		e.compare(map[string]Waiting{"portal": {Flags: 3, Oldest: c.raised}})
		if got := e.lane("portal").away; got != c.abandoned {
			t.Errorf("flags %s: taken for abandoned: %v, expected %v", name, got, c.abandoned)
		}
	}
}

// TestAPauseEndsThoughAClockWasSetBack: when a flag that was refused is tried again is stored, and
// so goes by the clock on the wall.
func TestAPauseEndsThoughAClockWasSetBack(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := &Engine{opts: Options{Pauses: Pauses{}.withDefaults()}}
	for name, c := range map[string]struct{ until, left time.Duration }{
		"over":                         {-time.Second, 0},
		"over long ago, by this clock": {-time.Hour, 0},
		"under way":                    {time.Minute, time.Minute},
		"the longest, spread":          {72 * time.Minute, 72 * time.Minute},
		"set back by an hour":          {time.Hour + 13*time.Minute, 0},
		"set back by years":            {50_000 * time.Hour, 0},
	} {
		if left := e.pauseLeft(Flag{Until: now.Add(c.until)}, now); left != c.left {
			t.Errorf("%s: %s left, expected %s", name, left, c.left)
		}
	}
}

// TestAProbeIsDueThoughAClockWasSetBack: so does the next probe of a target that a former worker
// found down.
func TestAProbeIsDueThoughAClockWasSetBack(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Pauses{}.withDefaults()
	for name, c := range map[string]struct{ next, pause, expected time.Duration }{
		"passed":                         {-time.Second, 5 * time.Second, -time.Second},
		"to come":                        {3 * time.Second, 5 * time.Second, 3 * time.Second},
		"when it asked for":              {50 * time.Minute, time.Hour, 50 * time.Minute},
		"set back by an hour":            {time.Hour + 3*time.Second, 5 * time.Second, 5 * time.Second},
		"set forward by an hour":         {-time.Hour, 5 * time.Second, -time.Hour},
		"set back, by an earlier Loa":    {100 * time.Hour, 0, time.Hour},
		"set back, and a pause of a day": {100 * time.Hour, 24 * time.Hour, time.Hour},
	} {
		b := restored(State{Down: true, Failures: 1, NextProbe: now.Add(c.next), Pause: c.pause}, now, p)
		if at := b.until.Sub(now); at != c.expected {
			t.Errorf("%s: the probe is due in %s, expected %s", name, at, c.expected)
		}
	}
}

// TestAFlagThatJetStreamKeepsBackIsNotFetched: it comes by itself when its pause ends, and must not
// meet a copy of itself then.
func TestAFlagThatJetStreamKeepsBackIsNotFetched(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		until time.Time
		left  bool
	}{
		"pause under way":      {now.Add(time.Minute), true},
		"pause ended just now": {now.Add(-time.Second), true},
		"lost by its consumer": {now.Add(-time.Minute), false},
	} {
		l := newLane("p")
		l.failing = map[string]failure{"s.1": {until: c.until, at: now.Add(-time.Minute)}}
		if got := l.putOff(now)["s.1"]; got != c.left {
			t.Errorf("%s: left to JetStream: %v, expected %v", name, got, c.left)
		}
	}
}

// TestASweepThatNobodyAnsweredDoesNotPutOffTheNext: what is acknowledged and not removed looks, to
// everybody who asks the stream, as if it waited.
func TestASweepThatNobodyAnsweredDoesNotPutOffTheNext(t *testing.T) {
	t.Parallel()
	for took, most := range map[time.Duration]time.Duration{
		10 * time.Millisecond: 40 * time.Millisecond,
		sweepTimeout:          sweepRest,
	} {
		e := &Engine{}
		e.finishSweep(swept{took: took})
		if pause := time.Until(e.nextSweep); pause > most {
			t.Errorf("after one that took %s the next sweep is in %s, expected at most %s", took, pause, most)
		}
	}
}
