package feeds

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// dueKey stands for an article's key in the flag by which a feed is looked at again.
	dueKey = "withdrawn"
	// clocksDiffer is by how much the clocks of servers and workers may differ: a feed that is
	// looked at so long before something is over schedules that once more.
	clocksDiffer = time.Minute
	// dueTimeout bounds the raising of a flag, and duePause is the time to the next attempt.
	dueTimeout = 10 * time.Second
	duePause   = 5 * time.Second
)

// schedule has the feed looked at again when the next stub or tombstone of it is over, unless that
// is scheduled. It comes before the index is written, which says for when it is: a time too many
// does no harm.
func (f *Feeds) schedule(ctx context.Context, feed Feed, h *held) error {
	if h.next.Equal(h.Due) && (h.next.IsZero() || h.next.Sub(h.now) > clocksDiffer) {
		return nil
	}
	h.Due = h.next.UTC()
	if h.next.IsZero() {
		return nil // what is scheduled finds nothing to do
	}
	return f.times.Set(ctx, streams.Withdrawn, streams.Key(feed.ID), h.next, nil)
}

// Times flags the feeds in which the time of a stub or of a tombstone is over, until ctx ends. It
// runs beside the engine, in every process that renders feeds.
func (f *Feeds) Times(ctx context.Context) error {
	c, err := streams.WithdrawnConsumer(ctx, f.js)
	if err != nil {
		return err
	}
	return streams.TakeDue(ctx, c, func(m jetstream.Msg) { f.due(ctx, m) }, func(err error) {
		f.events.Warn().Err(err).Str("stream", streams.Schedules).Msg("reading disturbed")
	})
}

// due raises the flag of a feed that is due. A message whose answer gets lost raises it again.
func (f *Feeds) due(ctx context.Context, m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(ctx, dueTimeout)
	defer cancel()
	id, err := streams.DueFeed(m.Subject())
	if err == nil {
		err = reconcile.Raise(ctx, f.js, []reconcile.Flag{{Class: streams.Normal, Kind: FlagKind, Target: id, Key: dueKey}})
	}
	if err != nil {
		f.events.Warn().Err(err).Str("target", id).Msg("feed is due but not flagged, will be tried again")
		_ = m.NakWithDelay(duePause)
		return
	}
	_ = m.Ack()
}
