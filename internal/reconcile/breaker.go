package reconcile

import "time"

// retryAfterMost is the longest pause that a target may ask for.
const retryAfterMost = time.Hour

// breaker keeps a failing target from being called: closed while it works, open for a pause
// after each failure, then half-open for a single probe. Owned by the dispatcher.
type breaker struct {
	failures int // since the last success
	since    time.Time
	until    time.Time // no call before
	reason   string
}

func (b *breaker) closed() bool { return b.failures == 0 }

// open reports whether no call may be made now.
func (b *breaker) open(now time.Time) bool { return b.failures > 0 && now.Before(b.until) }

// halfOpen reports whether one call may be made now, to find out.
func (b *breaker) halfOpen(now time.Time) bool { return b.failures > 0 && !now.Before(b.until) }

// fail opens the breaker; after is the pause that the target asked for, 0 for none.
func (b *breaker) fail(now time.Time, reason string, after time.Duration, p Pauses) {
	if b.failures == 0 {
		b.since = now
	}
	b.failures++
	b.reason = reason
	pause := jitter(min(p.ProbeFirst<<min(b.failures-1, 16), p.ProbeMost))
	if after > 0 {
		pause = max(pause, min(after, retryAfterMost))
	}
	b.until = now.Add(pause)
}

// restored is the breaker of a target as it was last seen. If it was down, its next probe is
// due when it was then, or at once if that has passed; never later than that pause from now, since
// the clock by which it was reckoned may have been set back.
func restored(s State, now time.Time, p Pauses) breaker {
	if !s.Down {
		return breaker{}
	}
	b := breaker{failures: max(s.Failures, 1), since: s.Since, reason: s.Reason, until: s.NextProbe}
	pause := max(p.ProbeMost, retryAfterMost)
	if s.Pause > 0 {
		pause = min(pause, s.Pause)
	}
	if most := now.Add(pause); b.until.After(most) {
		b.until = most
	}
	return b
}
