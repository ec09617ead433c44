package feeds

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	renders   *prometheus.CounterVec // by format
	unchanged prometheus.Counter
	refills   prometheus.Counter
	seconds   prometheus.Histogram
	bytes     *prometheus.HistogramVec // by format
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		renders: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_feed_renders_total",
			Help: "Renderings of feeds, by format."}, []string{"format"}),
		unchanged: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_feed_unchanged_total",
			Help: "Runs that found a feed level already, and wrote nothing."}),
		refills: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_feed_refills_total",
			Help: "Walks of the log for older entries, after withdrawals had used up the reserve."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "loa_feed_seconds",
			Help: "Duration from reading a changed feed's index to storing its last format.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
		bytes: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "loa_feed_bytes",
			Help: "Size of rendered feeds, by format.", Buckets: prometheus.ExponentialBuckets(1<<10, 4, 7)}, []string{"format"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.renders, m.unchanged, m.refills, m.seconds, m.bytes} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
