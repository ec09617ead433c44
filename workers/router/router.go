// Package router raises flags: it reads the log's new versions, asks which targets each
// concerns, and marks them as possibly behind.
//
//	ARTICLES ──▶ router ──▶ FLAGS
//
// It decides nothing about what a target shows; that is found out when the flag is taken, from
// the article as it is then. So routing a version twice, or one that has been replaced since, is
// harmless.
package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Concerned names the targets of one kind that a version of an article concerns: those that
// are to show it, and those that may hold a former version.
type Concerned func(ctx context.Context, e streams.Entry) ([]string, error)

// Options of a router.
type Options struct {
	JS jetstream.JetStream
	// Kinds are the kinds of target there are, each with its way to find those concerned.
	Kinds map[string]Concerned
	// Own reports whether a target is to have flags of its own, and not to share any; nil: none is.
	Own func(kind, target string) bool
	// Retry is the first pause before a version that could not be routed is tried again; it
	// doubles, up to 64 times as much, with every further one. 1 s if 0.
	Retry   time.Duration
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Router raises flags for the log's new versions.
type Router struct {
	opts Options

	routed  prometheus.Counter
	raised  *prometheus.CounterVec
	failed  prometheus.Counter
	seconds prometheus.Histogram
}

const (
	// batchArticles is how many versions are routed together: their flags share atomic
	// batches, which are cheap only when they are large.
	batchArticles = 200
	// enoughFlags is from how many flags on they are raised without waiting for those of more
	// versions: they fill some atomic batches, and take 2 MB of memory or so.
	enoughFlags  = 4000
	defaultRetry = time.Second
	// retryMost bounds the pause before another attempt, in first pauses: about a minute.
	retryMost = 64
	// routeTimeout bounds the routing of one batch. One that takes longer than [streams.AckWait]
	// is given out again meanwhile and routed twice, which is harmless.
	routeTimeout = 45 * time.Second
)

// New prepares a router; [Router.Run] runs it.
func New(o Options) (*Router, error) {
	if o.Retry <= 0 {
		o.Retry = defaultRetry
	}
	r := &Router{
		opts: o,
		routed: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_router_versions_total",
			Help: "Versions of articles whose targets were flagged."}),
		raised: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_router_flags_total",
			Help: "Flags raised, by kind of target; one that targets share counts for each of them."}, []string{"kind"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "loa_router_failed_total",
			Help: "Versions that could not be routed, and are tried again."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "loa_router_seconds",
			Help: "Duration of the routing of one batch of versions.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10)}),
	}
	if o.Metrics != nil {
		for _, c := range []prometheus.Collector{r.routed, r.raised, r.failed, r.seconds} {
			if err := o.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register the router's metrics: %w", err)
			}
		}
	}
	return r, nil
}

// Run routes until ctx ends, or until NATS ends the reading for good. The batch that it has
// begun then, it finishes; the rest is handed back.
func (r *Router) Run(ctx context.Context) error {
	consumer, err := streams.RouterConsumer(ctx, r.opts.JS)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	msgs := make(chan jetstream.Msg, batchArticles)
	reader, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case msgs <- m:
		case <-ctx.Done():
			handBack(m)
		}
	}, jetstream.PullMaxMessages(2*batchArticles), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		r.opts.Log.Warn().Err(err).Str("stream", streams.Articles).Msg("reading disturbed")
	}))
	if err != nil {
		cancel()
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() {
		cancel()
		reader.Drain() // what had been sent already is handed back, too
		<-reader.Closed()
		for len(msgs) > 0 {
			handBack(<-msgs)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reader.Closed():
			return fmt.Errorf("reading of %s was ended", streams.Articles)
		case m := <-msgs:
			r.route(context.WithoutCancel(ctx), gather(m, msgs))
		}
	}
}

// handBackDelay is when a version that was handed back is given out again. Without a delay it
// would come back at once, as long as this reader is known; and an embedded server, which ends as
// well, forgets what it is to give out at once, and would hold it back for [streams.AckWait].
const handBackDelay = time.Second

func handBack(m jetstream.Msg) { _ = m.NakWithDelay(handBackDelay) }

// gather takes what has arrived beside m; it waits for nothing.
func gather(m jetstream.Msg, msgs <-chan jetstream.Msg) []jetstream.Msg {
	batch := []jetstream.Msg{m}
	for len(batch) < batchArticles {
		select {
		case m := <-msgs:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// route flags the targets of a batch of versions, and acknowledges those whose flags are stored.
func (r *Router) route(ctx context.Context, batch []jetstream.Msg) {
	ctx, cancel := context.WithTimeout(ctx, routeTimeout)
	defer cancel()
	began := time.Now()
	var flags []reconcile.Flag
	var whose []jetstream.Msg
	for i, m := range batch {
		raised, err := r.flags(ctx, m)
		if err != nil {
			r.retry(m, err)
		} else {
			flags, whose = append(flags, raised...), append(whose, m)
		}
		if len(flags) >= enoughFlags || i == len(batch)-1 {
			r.raise(ctx, flags, whose)
			clear(flags)
			flags, whose = flags[:0], whose[:0]
		}
	}
	r.seconds.Observe(time.Since(began).Seconds())
}

// raise stores flags, and acknowledges the versions that they are of.
func (r *Router) raise(ctx context.Context, flags []reconcile.Flag, whose []jetstream.Msg) {
	if err := reconcile.Raise(ctx, r.opts.JS, flags); err != nil {
		for _, m := range whose {
			r.retry(m, err)
		}
		return
	}
	for _, f := range flags {
		r.raised.WithLabelValues(f.Kind).Add(float64(f.Pairs()))
	}
	for _, m := range whose {
		_ = m.Ack() // if it is lost the version is routed again
	}
	r.routed.Add(float64(len(whose)))
}

// flags are those that one version raises.
func (r *Router) flags(ctx context.Context, m jetstream.Msg) ([]reconcile.Flag, error) {
	e, err := streams.ReadEntry(m)
	if err != nil {
		return nil, err
	}
	var flags []reconcile.Flag
	for kind, concerned := range r.opts.Kinds {
		targets, err := ask(ctx, concerned, e)
		if err != nil {
			return nil, fmt.Errorf("find the targets of kind %s for article %s: %w", kind, e.Key, err)
		}
		flags = append(flags, reconcile.FlagsFor(kind, targets, func(target string) bool { return r.opts.Own != nil && r.opts.Own(kind, target) }, e)...)
	}
	return flags, nil
}

// ask makes a panic an error, which is one version's fault and must not take the others down.
func ask(ctx context.Context, concerned Concerned, e streams.Entry) (targets []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return concerned(ctx, e)
}

// retry hands a version back. Nothing is ever given up here: a log entry that cannot be read
// stays unacknowledged, and is said again and again.
func (r *Router) retry(m jetstream.Msg, cause error) {
	n := uint64(1)
	if meta, err := m.Metadata(); err == nil {
		n = meta.NumDelivered
	}
	pause := r.opts.Retry * time.Duration(min(1<<min(n-1, 16), retryMost))
	pause += time.Duration(rand.Int64N(int64(pause/4) + 1))
	r.failed.Inc()
	r.opts.Log.Error().Err(cause).Str("subject", m.Subject()).Dur("next", pause).Msg("version not routed, will be retried")
	_ = m.NakWithDelay(pause)
}
