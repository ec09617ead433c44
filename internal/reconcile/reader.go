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
func (e *Engine) read(ctx context.Context, class string, group int) {
	for {
		c, err := streams.FlagConsumer(ctx, e.js, e.opts.Kind, class, group)
		if err == nil {
			e.unpinOther(ctx, c)
			err = e.consume(ctx, c)
		}
		if ctx.Err() != nil {
			return
		}
		e.log.Warn().Err(err).Str("class", class).Int("group", group).Msg("reader lost its consumer, opening it again")
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(readerPause)):
		}
	}
}

// consume returns when ctx ends or the consumer is gone.
func (e *Engine) consume(ctx context.Context, c jetstream.Consumer) error {
	var last error
	cc, err := c.Consume(func(m jetstream.Msg) {
		f, err := parseFlag(m.Subject(), m.Data())
		var meta *jetstream.MsgMetadata
		if err == nil {
			meta, err = m.Metadata()
		}
		if err != nil {
			// Cannot be: the stream's transform makes the subject. Keep it, and say so.
			e.log.Error().Err(err).Str("subject", m.Subject()).Msg("not a flag")
			_ = m.NakWithDelay(notAFlag)
			return
		}
		h := handle{msg: m, seq: meta.Sequence.Stream, flag: f, lease: time.Now().Add(streams.FlagAckWait - leaseMargin)}
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

// unpinOther makes a former reader of the group give way, which has ended without a word, or drained
// the group: the roster says that it is this worker's.
func (e *Engine) unpinOther(ctx context.Context, c jetstream.Consumer) {
	for _, g := range c.CachedInfo().PriorityGroups {
		if g.PinnedClientID != "" {
			e.unpin(c)
			return
		}
	}
}

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
