package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// metrics of the gateway.
type metrics struct {
	requests *prometheus.CounterVec   // by route and code
	seconds  *prometheus.HistogramVec // by route
	feeds    cacheMetrics
	media    cacheMetrics
	// usual has those of routes that are asked for often: finding them by their labels takes longer
	// than finding a feed.
	usual map[string]usualMetrics
}

type usualMetrics struct {
	ok, notModified prometheus.Counter
	seconds         prometheus.Observer
}

// cacheMetrics are those of one cache.
type cacheMetrics struct {
	outcomes *prometheus.CounterVec // by outcome
	hit      prometheus.Counter     // of outcomes
	bytes    prometheus.Gauge
}

func newCacheMetrics(name, what string) cacheMetrics {
	m := cacheMetrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_http_" + name + "_cache_total",
			Help: what + " looked for in the gateway's cache: hit, confirmed (asked whether it changed), loaded, missing, stale, failed."}, []string{"outcome"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "loa_http_" + name + "_cache_bytes",
			Help: "Bytes of " + name + " in the gateway's cache."}),
	}
	m.hit = m.outcomes.WithLabelValues(outcomeHit)
	return m
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_http_requests_total",
			Help: "Requests answered, by route and status code."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "loa_http_seconds",
			Help:    "Time from a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"route"}), // to 33 s
		feeds: newCacheMetrics("feed", "Feeds"),
		media: newCacheMetrics("media", "Pictures"),
	}
	m.usual = make(map[string]usualMetrics)
	for _, route := range []string{routeFeed, routeMedia, routeArticle} {
		m.usual[route] = usualMetrics{m.requests.WithLabelValues(route, "200"), m.requests.WithLabelValues(route, "304"), m.seconds.WithLabelValues(route)}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.feeds.outcomes, m.feeds.bytes, m.media.outcomes, m.media.bytes} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	if status == 0 { // net/http sends this when a handler sends nothing
		status = http.StatusOK
	}
	usual, ok := m.usual[route]
	switch {
	case ok && status == http.StatusOK:
		usual.ok.Inc()
	case ok && status == http.StatusNotModified:
		usual.notModified.Inc()
	default:
		m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	}
	if ok {
		usual.seconds.Observe(took.Seconds())
		return
	}
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

const (
	// maxScrapes bounds how many scrapes run at once: one is some milliseconds of work.
	maxScrapes = 4
	// scrapeTimeout is Prometheus's own default.
	scrapeTimeout = 10 * time.Second
)

// scraper serves /metrics.
func scraper(from prometheus.Gatherer, log zerolog.Logger) http.Handler {
	if from == nil {
		return nil
	}
	return promhttp.HandlerFor(from, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}

func (g *Gateway) serveMetrics(w http.ResponseWriter, r *http.Request) { g.scrape.ServeHTTP(w, r) }

type scrapeLog struct{ log zerolog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Warn().Interface("text", v).Msg("metrics incomplete") }
