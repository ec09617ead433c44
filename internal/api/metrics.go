package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/listing"
)

// metrics are what the API tells of itself, beside what the gateway counts of every request.
type metrics struct {
	waiting   prometheus.Gauge
	refusedBy *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, x *listing.Index) (*metrics, error) {
	m := &metrics{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "loa_api_waiting",
			Help: "Partners that wait for changes now, by long polling or a stream."}),
		refusedBy: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_api_refused_total",
			Help: "Requests that were refused, by why: rate (too many), key (none that is valid), waiting (too many at once)."}, []string{"why"}),
	}
	if r == nil {
		return m, nil
	}
	articles := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "loa_api_articles",
		Help: "Articles that the API knows, withdrawn ones included."}, func() float64 { return float64(x.Count()) })
	for _, c := range []prometheus.Collector{m.waiting, m.refusedBy, articles} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the API: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) refused(why string) { m.refusedBy.WithLabelValues(why).Inc() }
