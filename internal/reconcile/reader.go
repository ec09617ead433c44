package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// readerPause is how long a reader waits before it opens a consumer again that it lost.
const readerPause = time.Second

// read passes the flags of one consumer to the dispatcher until ctx ends.
func (e *Engine) read(ctx context.Context, c jetstream.Consumer, class string, index int) {
	for {
		err := e.consume(ctx, c)
		if ctx.Err() != nil {
			return
		}
		e.log.Warn().Err(err).Str("consumer", c.CachedInfo().Name).Msg("reader lost its consumer, opening it again")
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(readerPause)):
		}
		if all, err := streams.FlagConsumers(ctx, e.js, e.opts.Kind, class); err == nil {
			c = all[index]
		}
	}
}

// consume returns when ctx ends or the consumer is gone.
func (e *Engine) consume(ctx context.Context, c jetstream.Consumer) error {
	var last error
	cc, err := c.Consume(func(m jetstream.Msg) {
		f, _, err := parseFlag(m.Subject(), m.Data())
		if err != nil {
			// Cannot be: the stream's transform makes the subject. Keep it, and say so.
			e.log.Error().Err(err).Str("subject", m.Subject()).Msg("not a flag")
			_ = m.NakWithDelay(handBack)
			return
		}
		h := handle{msg: m, flag: f, lease: time.Now().Add(streams.FlagAckWait - leaseMargin)}
		select {
		case e.deliveries <- h:
		case <-ctx.Done():
			_ = m.Nak()
		}
	},
		jetstream.PullMaxMessages(pullMessages),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullPriorityGroup(streams.PriorityGroup),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			last = err
			if !errors.Is(err, jetstream.ErrNoHeartbeat) {
				e.log.Debug().Err(err).Str("consumer", c.CachedInfo().Name).Msg("reader")
			}
		}))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		cc.Stop()
		<-cc.Closed()
		e.unpin(c)
		return ctx.Err()
	case <-cc.Closed():
		return last
	}
}

// unpinTimeout bounds what a reader does to make place for the next one.
const unpinTimeout = 2 * time.Second

// unpin lets another reader have the consumer at once; without it, it would wait until the
// server misses this one.
func (e *Engine) unpin(c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), unpinTimeout)
	defer cancel()
	stream, err := e.js.Stream(ctx, streams.Flags)
	if err == nil {
		err = stream.UnpinConsumer(ctx, c.CachedInfo().Name, streams.PriorityGroup)
	}
	if err != nil {
		e.log.Debug().Err(err).Str("consumer", c.CachedInfo().Name).Msg("reader not unpinned, the next one waits for its time to pass")
	}
}
