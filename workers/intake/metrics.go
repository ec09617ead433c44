package intake

import (
	"context"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/streams"
)

type metrics struct {
	events  *prometheus.CounterVec // by outcome
	seconds prometheus.Histogram
}

// waitingTimeout bounds the question how many events wait: a scrape must not hang on it.
const waitingTimeout = 2 * time.Second

func newMetrics(js jetstream.JetStream, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_intake_events_total",
			Help: "Events dealt with, by outcome: applied, duplicate, older, scheduled, no change, handed back, dead, retried."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "loa_intake_seconds",
			Help: "Time from taking an event up to its outcome, pictures included.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
	}
	for _, o := range []outcomeKind{applied, duplicate, older, scheduled, noChange, handedBack, setAside, retried} {
		m.events.WithLabelValues(string(o)) // there from the start, for rates
	}
	if reg == nil {
		return m, nil
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "loa_intake_waiting",
		Help: "Events of the inbox that no process has dealt with yet; NaN when NATS does not tell."}, func() float64 { return waiting(js) })
	for _, c := range []prometheus.Collector{m.events, m.seconds, waiting} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(o outcome, took time.Duration) {
	m.events.WithLabelValues(string(o.kind)).Inc()
	m.seconds.Observe(took.Seconds())
}

func waiting(js jetstream.JetStream) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), waitingTimeout)
	defer cancel()
	c, err := streams.IntakeConsumer(ctx, js)
	if err != nil {
		return math.NaN()
	}
	info := c.CachedInfo()
	return float64(info.NumPending) + float64(info.NumAckPending)
}
