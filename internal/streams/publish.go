package streams

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishTimeout bounds the wait for acknowledgements: of what a leader had when it died, none comes.
const publishTimeout = 5 * time.Second

// PublishEach stores messages, each for itself, and all under way at once. It gives the sequence of
// each, or its error. For a few that is quicker than an atomic batch, whose staging takes as long as a
// dozen of them.
func PublishEach(ctx context.Context, js jetstream.JetStream, msgs []*nats.Msg) ([]uint64, []error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	seqs, errs := make([]uint64, len(msgs)), make([]error, len(msgs))
	acks := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		acks[i], errs[i] = js.PublishMsgAsync(m)
	}
	for i, ack := range acks {
		if errs[i] != nil {
			continue
		}
		select {
		case stored := <-ack.Ok():
			seqs[i] = stored.Sequence
		case errs[i] = <-ack.Err():
		case <-ctx.Done():
			errs[i] = ctx.Err()
		}
	}
	return seqs, errs
}
