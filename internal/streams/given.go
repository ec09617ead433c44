package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// GiveOutAgain has events, versions and what is due given out again that were given out and not
// acknowledged: at the start of a server, since whoever had them is gone, and when the clock on
// its wall was set back. By that clock it reckons when AckWait is over, and so it would not be for
// as long as the clock was set back. What somebody still works on is given out twice, which does
// no harm. Flags are not among it: the engine finds them itself.
func GiveOutAgain(ctx context.Context, js jetstream.JetStream) error {
	for _, name := range []string{Events, Articles, Schedules} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("have what %s gave out given out again: %w", name, err)
		}
		list := stream.ListConsumers(ctx)
		for info := range list.Info() {
			if info.NumAckPending == 0 {
				continue
			}
			if _, err := js.ResetConsumer(ctx, name, info.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return fmt.Errorf("have what consumer %s of %s gave out given out again: %w", info.Name, name, err)
			}
		}
		if err := list.Err(); err != nil {
			return fmt.Errorf("have what %s gave out given out again: %w", name, err)
		}
	}
	return nil
}
