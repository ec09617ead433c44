package main

import (
	"context"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// lookAtClock is how often the clock on the wall is compared with the monotonic one.
	lookAtClock = time.Second
	// setBackLeast is more than clocks are slewed between two looks.
	setBackLeast = time.Second
)

// watchClock does what the embedded server does not when the clock on the wall is set back.
func (a *app) watchClock(ctx context.Context) error {
	ticks := time.NewTicker(lookAtClock)
	defer ticks.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		now := time.Now()
		if back := now.Sub(last) - now.Round(0).Sub(last.Round(0)); back > setBackLeast { // Round strips the monotonic clock
			a.log.Warn().Dur("by", back).Msg("clock was set back")
			if err := streams.GiveOutAgain(ctx, a.backbone.js); err != nil {
				a.log.Warn().Err(err).Msg("what waits by the former clock may do so for as long, will be tried again")
				continue
			}
		}
		last = now
	}
}
