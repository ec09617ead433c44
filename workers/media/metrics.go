package media

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	fetched, rendered, stored, reused, refused, failed prometheus.Counter
	seconds                                            prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		fetched:  counter("loa_media_fetched_total", "Picture files read from their source."),
		rendered: counter("loa_media_rendered_total", "Times that a picture was decoded and its renditions encoded."),
		stored:   counter("loa_media_stored_total", "Pictures stored with their renditions."),
		reused:   counter("loa_media_reused_total", "Pictures that were stored already."),
		refused:  counter("loa_media_refused_total", "Requests for pictures that cannot be had: format, size, address, not found."),
		failed:   counter("loa_media_failed_total", "Requests for pictures that failed and may succeed later."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{Name: "loa_media_seconds",
			Help: "Duration of a request for a picture, fetching included.", Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10)}),
	}
}

// done counts a request's end.
func (m *metrics) done(start time.Time, err error) {
	m.seconds.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
	case permanent(err):
		m.refused.Inc()
	default:
		m.failed.Inc()
	}
}
