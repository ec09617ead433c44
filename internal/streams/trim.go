package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// trimAbove is the part of its limit, in per cent, above which the inbox forgets what has been
// taken in, rather than refuse what is new.
const trimAbove = 75

// TrimEvents makes room in the inbox: when it is three quarters full, the older half of the
// events that intake has dealt with goes. None that it has not is touched.
func TrimEvents(ctx context.Context, js jetstream.JetStream) error {
	stream, err := js.Stream(ctx, Events)
	if err != nil {
		return fmt.Errorf("look into the inbox: %w", err)
	}
	info := stream.CachedInfo()
	limit, used := info.Config.MaxBytes, info.State.Bytes
	if limit <= 0 || used < uint64(limit)/100*trimAbove {
		return nil
	}
	c, err := stream.Consumer(ctx, "intake")
	if err != nil {
		return fmt.Errorf("look up how far the inbox is read: %w", err)
	}
	done := c.CachedInfo().AckFloor.Stream
	first := info.State.FirstSeq
	if done < first {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first+(done-first)/2+1)); err != nil {
		return fmt.Errorf("trim the inbox: %w", err)
	}
	return nil
}
