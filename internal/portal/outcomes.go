package portal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// Outcomes gives what came of attempts, of one portal or of all (""), whichever worker made
// them: those that ended since then, in that order, and, with follow, those that end until ctx
// does. Of each article at each portal the newest few are kept.
func (rs *Receipts) Outcomes(ctx context.Context, portal string, since time.Time, follow bool) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		err := rs.outcomes(ctx, portal, since, follow, yield)
		if err != nil && ctx.Err() == nil {
			yield(Receipt{}, fmt.Errorf("read the outcomes of deliveries: %w", err))
		}
	}
}

func (rs *Receipts) outcomes(ctx context.Context, portal string, since time.Time, follow bool, yield func(Receipt, error) bool) error {
	if portal == "" {
		portal = "*"
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{streams.ReceiptsOf(portal)}, DeliverPolicy: jetstream.DeliverAllPolicy}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	c, err := rs.js.OrderedConsumer(ctx, streams.Receipts, cfg)
	if err != nil {
		return err
	}
	left := c.CachedInfo().NumPending
	if left == 0 && !follow {
		return nil
	}
	msgs, err := c.Messages()
	if err != nil {
		return err
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	for {
		m, err := msgs.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		r, err := parseReceipt(&jetstream.RawStreamMsg{Subject: m.Subject(), Data: m.Data(), Sequence: meta.Sequence.Stream})
		if err != nil {
			return err
		}
		if r.Outcome != "" && !yield(r, nil) || meta.NumPending == 0 && !follow {
			return nil
		}
	}
}
