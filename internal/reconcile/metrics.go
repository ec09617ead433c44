package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one engine.
type metrics struct {
	flags      *prometheus.CounterVec // by outcome
	seconds    prometheus.Histogram
	dead       prometheus.Counter
	handedBack prometheus.Counter
	refetched  prometheus.Counter
	lost       prometheus.Counter
}

func newMetrics(js jetstream.JetStream, o Options) (*metrics, error) {
	labels := prometheus.Labels{"kind": o.Kind}
	m := &metrics{
		flags: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_flags_total", ConstLabels: labels,
			Help: "Flags worked on, by outcome: lowered, target_down, key_failed, permanent, retried."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "loa_reconcile_seconds", ConstLabels: labels,
			Help: "Duration of one run of the reconciler.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
		dead: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_flags_dead_total", ConstLabels: labels,
			Help: "Flags set aside as dead letters."}),
		handedBack: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_flags_handed_back_total", ConstLabels: labels,
			Help: "Flags left in the stream because their target was down, paused or busy."}),
		refetched: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_flags_refetched_total", ConstLabels: labels,
			Help: "Flags fetched again after they were left in the stream."}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_flags_lease_lost_total", ConstLabels: labels,
			Help: "Flags dropped because this process was stopped for too long to hold them."}),
	}
	if o.Metrics == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.flags, m.seconds, m.dead, m.handedBack, m.refetched, m.lost, newBacklog(js, o)} {
		if err := o.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(r run, kind verdictKind) {
	outcome := map[verdictKind]string{targetDown: "target_down", keyFailed: "key_failed", permanent: "permanent", 0: "retried"}[kind]
	if r.err == nil || errors.Is(r.err, ErrLevel) {
		outcome = "lowered"
	}
	m.flags.WithLabelValues(outcome).Add(float64(len(r.items)))
	m.seconds.Observe(r.took.Seconds())
}

// backlogFor is how long a count of the waiting flags is good for: counting costs time in
// proportion to them.
const backlogFor = 15 * time.Second

// backlog collects, per target, the flags waiting and the oldest one's age.
type backlog struct {
	js        jetstream.JetStream
	kind      string
	targets   func() []string
	flags     *prometheus.Desc
	oldest    *prometheus.Desc
	mu        sync.Mutex // serialises scrapes, so that one count serves all
	counted   time.Time
	took      time.Duration // to count
	byTarget  map[string]Waiting
	lastError error
}

func newBacklog(js jetstream.JetStream, o Options) *backlog {
	labels := prometheus.Labels{"kind": o.Kind}
	return &backlog{js: js, kind: o.Kind, targets: o.Targets,
		flags:  prometheus.NewDesc("loa_target_flags_waiting", "Flags waiting for the target.", []string{"target"}, labels),
		oldest: prometheus.NewDesc("loa_target_oldest_flag_seconds", "Age of the flag that waits longest for the target.", []string{"target"}, labels),
	}
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(ch chan<- *prometheus.Desc) { ch <- b.flags; ch <- b.oldest }

// Collect implements prometheus.Collector.
func (b *backlog) Collect(ch chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.counted) > max(backlogFor, patrolShare*b.took) {
		began := time.Now()
		b.byTarget, b.lastError = CountWaiting(context.Background(), b.js, b.kind, b.targets())
		b.counted = time.Now()
		b.took = b.counted.Sub(began)
	}
	if b.lastError != nil {
		ch <- prometheus.NewInvalidMetric(b.flags, b.lastError)
		return
	}
	for target, w := range b.byTarget {
		ch <- prometheus.MustNewConstMetric(b.flags, prometheus.GaugeValue, float64(w.Flags), target)
		if !w.Oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, time.Since(w.Oldest).Seconds(), target)
		}
	}
}
