package intake

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events  *prometheus.CounterVec // by outcome
	seconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
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
	for _, c := range []prometheus.Collector{m.events, m.seconds} {
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
