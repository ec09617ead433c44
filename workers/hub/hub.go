// Package hub is Loa's own WebSub hub: it keeps subscribers level with the feeds (W3C
// Recommendation, 23 January 2018). What subscribers say is taken in by internal/websub.
//
//	feeds ──flag (feed)──▶ fan out ──flag (host, subscription)──▶ deliver ──POST──▶ callback
//	Endpoint ──flag (host, request)──▶ verify ──GET──▶ callback
//
// It is the [reconcile.Reconciler] of the kind "subscriber". A target is the host of callbacks, a
// key one subscription: a flag says that the callback may have another state of its topic than
// there is. Whoever takes the flag reads the document as it is now, and posts it unless the
// callback has it, so that a subscriber which was away gets the latest state once. What all that
// are flagged together get is one body in memory.
//
// A callback that refuses is tried again a few times, and then left alone until its topic changes
// or its lease ends; 410 ends the subscription (§7). A host that is down is left to the engine's
// breaker: its flags wait. Requests are verified by asking once.
package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/websub"
)

// Objects is where the feeds are.
type Objects interface {
	Stat(ctx context.Context, key string) (objects.Info, error)
	Get(ctx context.Context, key string, maxBytes int64) (objects.Object, error)
}

// Options of a worker. JS, Objects, Subscriptions and Topics are required.
type Options struct {
	JS      jetstream.JetStream
	Objects Objects
	// Subscriptions is a whole registry.
	Subscriptions *websub.Registry
	Topics        websub.Topics
	Caps          websub.Caps
	// InFlight is how many deliveries to one host are under way at once, Rate how many begin in a
	// second; 8 and 100 when 0.
	InFlight int
	Rate     float64
	// Timeout is for one delivery; 15 s when 0.
	Timeout time.Duration
	// Allow lists private addresses that callbacks may have.
	Allow []netip.Prefix
	// Retries are the pauses after which a callback is tried again that refuses; 1 min, 10 min and
	// 1 h when nil. The engine has to have the same ([reconcile.Pauses]).
	Retries []time.Duration
	// Version of Loa, for the user agent.
	Version string
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

const (
	defaultInFlight = 8
	defaultRate     = 100
	defaultTimeout  = 15 * time.Second
	// queue is how many flags of one host a worker holds: those of all callbacks that one has.
	queue = 1024
	// verifications to one host: how many are under way at once, and the pause between two. Nobody
	// can have a host called more often than that by asking in its name.
	verifyInFlight = 4
	verifyInterval = 50 * time.Millisecond
	// fanOuts is how many feeds' subscribers are flagged at once, and fanOutQueue how many feeds
	// wait for it in memory.
	fanOuts     = 4
	fanOutQueue = 256
	// maxConnsPerHost is more than there are deliveries to one host at once: InFlight limits those.
	maxConnsPerHost = 256
	// maxIdle is how many connections are kept for the next delivery.
	maxIdle = 2048
)

// Workers is how many runs the engine should have room for: each of a thousand hosts that hang
// takes one until it times out.
const Workers = 2048

// Retries are the pauses between attempts at a callback that refuses.
func Retries() []time.Duration { return []time.Duration{time.Minute, 10 * time.Minute, time.Hour} }

// Worker is the reconciler.
type Worker struct {
	o        Options
	client   *http.Client
	contents *contents
	metrics  *metrics

	activating sync.Mutex
}

// New prepares a worker.
func New(o Options) (*Worker, error) {
	o.InFlight = cmp.Or(o.InFlight, defaultInFlight)
	o.Rate = cmp.Or(o.Rate, defaultRate)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Retries == nil {
		o.Retries = Retries()
	}
	m, err := newMetrics(o.Metrics, o.Subscriptions)
	if err != nil {
		return nil, fmt.Errorf("register metrics of the hub: %w", err)
	}
	return &Worker{o: o, metrics: m, contents: newContents(o.Objects), client: outbound.New(outbound.Options{
		Allow: o.Allow, Timeout: o.Timeout, MaxConnsPerHost: maxConnsPerHost, MaxIdleConns: maxIdle,
	})}, nil
}

// Close ends the idle connections. It is called when the engine no longer runs.
func (w *Worker) Close() { w.client.CloseIdleConnections() }

// Limits are those of a target, for [reconcile.Options].
func (w *Worker) Limits(target string) reconcile.Limits {
	switch {
	case target == websub.FanOut:
		return reconcile.Limits{InFlight: fanOuts, Queue: fanOutQueue}
	case websub.Verifies(target):
		return reconcile.Limits{InFlight: verifyInFlight, Interval: verifyInterval}
	}
	return reconcile.Limits{InFlight: w.o.InFlight, Queue: queue, Interval: time.Duration(float64(time.Second) / w.o.Rate)}
}

// Reconcile implements [reconcile.Reconciler].
func (w *Worker) Reconcile(ctx context.Context, target string, flags []reconcile.Flag) error {
	called := false
	for _, f := range flags {
		var err error
		switch {
		case target == websub.FanOut:
			err = w.fanOut(ctx, f.Key)
		case websub.Verifies(target):
			err = w.verify(ctx, websub.ID(f.Key))
		default:
			err = w.deliver(ctx, f)
		}
		if err != nil && !errors.Is(err, reconcile.ErrLevel) {
			return err
		}
		called = called || err == nil
	}
	if !called {
		return reconcile.ErrLevel
	}
	return nil
}

// fanOut flags the subscriptions that have another state of one of a feed's documents than there is.
func (w *Worker) fanOut(ctx context.Context, feed string) error {
	// Whoever confirmed before the feed changed must be among them.
	if err := w.o.Subscriptions.CatchUp(ctx); err != nil {
		return err
	}
	for _, format := range websub.Formats {
		t := websub.Topic{Feed: feed, Format: format}
		if !w.o.Subscriptions.Has(t) {
			continue
		}
		info, err := w.o.Objects.Stat(ctx, t.Object())
		if errors.Is(err, objects.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at feed %s: %w", feed, err)
		}
		behind := w.o.Subscriptions.Behind(t, info.ETag)
		if len(behind) == 0 {
			continue
		}
		revision, err := w.o.Subscriptions.NoteTopic(ctx, t, info.ETag)
		if err != nil {
			return err
		}
		flags := make([]reconcile.Flag, 0, len(behind))
		for id, callback := range behind {
			flags = append(flags, websub.DeliverFlag(callback, id, revision))
		}
		if err := reconcile.Raise(ctx, w.o.JS, flags); err != nil {
			return err
		}
		w.o.Log.Info().Str("target", t.String()).Int("subscribers", len(flags)).Msg("feed is distributed")
	}
	return nil
}

// links are the headers by which a subscriber knows what it gets, and from whom (§7).
func (w *Worker) links(t websub.Topic) string {
	return "<" + w.o.Topics.Hub() + `>; rel="hub", <` + w.o.Topics.Address(t) + `>; rel="self"`
}

func (w *Worker) userAgent() string { return "Loa/" + cmp.Or(w.o.Version, "unknown") + " (WebSub)" }

// maxReason is how much of an error is kept, in characters.
const maxReason = 200

// reason is an error as people are told it, short and on one line.
func reason(err error) string {
	text := []rune(strings.Join(strings.Fields(err.Error()), " "))
	return string(text[:min(len(text), maxReason)])
}
