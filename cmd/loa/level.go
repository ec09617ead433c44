package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/streams"
)

// backlog is how much of what has been said has not arrived everywhere.
type backlog struct {
	Events   uint64 // not taken in
	Versions uint64 // not routed
	Flags    uint64 // targets that may be behind
	Dead     uint64 // set aside
}

func (b backlog) level() bool { return b.Events+b.Versions+b.Flags == 0 }

// measureBacklog asks JetStream.
func measureBacklog(ctx context.Context, js jetstream.JetStream) (b backlog, err error) {
	for _, q := range []struct {
		stream   string
		consumer func(context.Context, jetstream.JetStream) (jetstream.Consumer, error)
		into     *uint64
	}{{streams.Events, streams.IntakeConsumer, &b.Events}, {streams.Articles, streams.RouterConsumer, &b.Versions}} {
		if *q.into, err = left(ctx, js, q.stream, q.consumer); err != nil {
			return b, err
		}
	}
	for name, into := range map[string]*uint64{streams.Flags: &b.Flags, streams.DeadLetters: &b.Dead} {
		s, err := js.Stream(ctx, name) // asks anew
		if err != nil {
			return b, fmt.Errorf("look up stream %s: %w", name, err)
		}
		*into = s.CachedInfo().State.Msgs
	}
	return b, nil
}

// left is how many messages of a stream its consumer still has to give out or to have
// acknowledged. What a consumer calls pending lags behind what has just been stored, so the last
// message counts as long as it has not been given out.
func left(ctx context.Context, js jetstream.JetStream, stream string, open func(context.Context, jetstream.JetStream) (jetstream.Consumer, error)) (uint64, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	c, err := open(ctx, js)
	if err != nil {
		return 0, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("look up consumer %s: %w", c.CachedInfo().Name, err)
	}
	n := info.NumPending + uint64(info.NumAckPending)
	if n == 0 && info.Delivered.Stream < s.CachedInfo().State.LastSeq {
		n = 1
	}
	return n, nil
}

// levelEvery is how often waitLevel looks.
const levelEvery = 20 * time.Millisecond

// waitLevel waits until everything said has arrived everywhere; progress is told of each look.
// Events count as taken in before their versions are seen waiting, so it takes two looks in a
// row to believe it.
func waitLevel(ctx context.Context, js jetstream.JetStream, progress func(backlog)) error {
	for quiet := 0; ; {
		b, err := measureBacklog(ctx, js)
		if err != nil {
			return err
		}
		progress(b)
		if quiet++; !b.level() {
			quiet = 0
		}
		if quiet == 2 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; still waiting: %d events, %d versions, %d flags", ctx.Err(), b.Events, b.Versions, b.Flags)
		case <-time.After(levelEvery):
		}
	}
}

// scrapeTimeout bounds what one scrape of /metrics asks of JetStream.
const scrapeTimeout = 5 * time.Second

// waitingMetrics collects the backlog, of all processes together.
type waitingMetrics struct {
	js   jetstream.JetStream
	desc *prometheus.Desc
}

func newWaitingMetrics(js jetstream.JetStream) *waitingMetrics {
	return &waitingMetrics{js, prometheus.NewDesc("loa_waiting",
		"What waits: events to be taken in, versions to be routed, flags to be lowered, dead letters for a person.", []string{"what"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *waitingMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc }

// Collect implements prometheus.Collector.
func (m *waitingMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	b, err := measureBacklog(ctx, m.js)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.desc, err)
		return
	}
	for what, n := range map[string]uint64{"events": b.Events, "versions": b.Versions, "flags": b.Flags, "dead_letters": b.Dead} {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(n), what)
	}
}
