package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// HeldFlag is a flag that waits in the stream.
type HeldFlag struct {
	Flag
	Place uint64 // in the stream, for Lower
}

const (
	// heldBack is after how long JetStream gives out again a flag that is held: it is handed back
	// once more then, so the less often the better.
	heldBack = 6 * time.Hour
	// heldTimeout bounds one exchange about held flags.
	heldTimeout = 20 * time.Second
)

// Held reads up to n normal flags of a target from the stream, those after a place (0: from the
// first), in the order in which they were raised. With [Limits.Held], nobody else works on them.
func Held(ctx context.Context, js jetstream.JetStream, kind, target string, after uint64, n int) ([]HeldFlag, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	var all []HeldFlag
	for f, err := range flagsOf(ctx, js, streams.Normal, kind, target, after, n) {
		if err != nil {
			return nil, err
		}
		all = append(all, HeldFlag{f.Flag, f.seq})
	}
	return all, nil
}

// CountHeld counts a target's normal flags.
func CountHeld(ctx context.Context, js jetstream.JetStream, kind, target string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	n, _, err := streams.Count(ctx, js, streams.Flags, streams.FlagsOf(streams.Normal, kind, target))
	if err != nil {
		return 0, fmt.Errorf("count the flags of %s %s: %w", kind, target, err)
	}
	return n, nil
}

// Lower lowers all normal flags of a target up to a place, and returns once that is on disk. A
// flag that was raised again since it was read has a later place, and stays up.
func Lower(ctx context.Context, js jetstream.JetStream, kind, target string, place uint64) error {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, streams.Flags)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(streams.StoredFlags("*", streams.Normal, kind, target)),
			jetstream.WithPurgeSequence(place+1))
	}
	if err != nil {
		return fmt.Errorf("lower the flags of %s %s: %w", kind, target, err)
	}
	return nil
}

// holdBack leaves to the stream what a lane held when its target's flags came to be held.
func (e *Engine) holdBack(l *lane) {
	for _, it := range l.normal {
		delete(l.items, it.key)
		e.nakAll(it.held, jitter(heldBack))
	}
	l.normal = nil
}

// classes are those that the lane takes flags of.
func (l *lane) classes() []string {
	if l.limits.Held {
		return []string{streams.Express}
	}
	return []string{streams.Express, streams.Normal}
}
