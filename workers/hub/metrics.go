package hub

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/websub"
)

type metrics struct {
	verifications *prometheus.CounterVec
	deliveries    *prometheus.CounterVec
	seconds       prometheus.Histogram
	inFlight      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, subscriptions *websub.Registry) (*metrics, error) {
	m := &metrics{
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_hub_verifications_total",
			Help: "Requests to the hub that were settled, by mode and outcome: confirmed or rejected by the callback, denied by the hub."},
			[]string{"mode", "outcome"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_hub_deliveries_total",
			Help: "Deliveries to subscribers by outcome: delivered, down (the host failed), refused (the callback did), given up (after the retries), gone (410); level counts flags for which there was nothing to deliver."},
			[]string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "loa_hub_delivery_seconds",
			Help: "Duration of one attempt to deliver a feed to a subscriber.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "loa_hub_deliveries_in_flight", Help: "Deliveries to subscribers under way."}),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, of func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(of()) })
	}
	for _, c := range []prometheus.Collector{m.verifications, m.deliveries, m.seconds, m.inFlight,
		gauge("loa_hub_subscriptions", "Subscriptions to feeds.", func() int { n, _ := subscriptions.Counts(); return n }),
		gauge("loa_hub_requests_waiting", "Requests to the hub that wait to be verified.", func() int { _, n := subscriptions.Counts(); return n }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
