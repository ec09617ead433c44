// Package bulletins pushes bulletins to portals: it is the [reconcile.Reconciler] of the kind
// "portal".
//
//	flag ──▶ article as it is now ┐
//	         receipt              ├─▶ level? ──▶ nothing
//	         portal               ┘   behind ──▶ intent, if it is the first ──▶ signed POST ──▶ receipt
//
// What is sent is decided when the flag is taken, by what the portal holds: the newest version
// once, however many flags and former versions there were; a withdrawal only where the article
// is or may be. The receipt is on disk before the flag is lowered, so a crash at any point
// leaves either a flag, and the bulletin is sent (again), or a receipt.
//
// A portal that asked for a digest has its normal flags held until it is due. That is a flag of its
// own, of which the time's coming is one more raising; the digest takes what is held (see digest).
//
// How an answer is read is in classify. The engine adds what a failure means beyond the
// attempt: breaker, pauses, dead letters.
package bulletins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Kind of the targets that this package reconciles.
const Kind = "portal"

// by is how this worker signs what it changes in the registry.
const by = "loa"

// Options of a worker. All but Log and Metrics are required.
type Options struct {
	JS       jetstream.JetStream
	Articles *streams.Log
	Portals  *portal.Registry
	Receipts *portal.Receipts
	Tree     *site.Tree
	// MediaBase is the address under which pictures are served, such as https://loa.example.vn/.
	MediaBase string
	// Version of Loa, for the user agent.
	Version string
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Worker pushes bulletins. It implements [reconcile.Reconciler].
type Worker struct {
	opts     Options
	articles *articles
	times    *times // of digests
	clients  *clients
	paces    *paces
	agent    string // as which it presents itself to portals
	metrics  *metrics
	log      zerolog.Logger
}

// New prepares a worker, which follows the registry's changes from then on.
func New(o Options) (*Worker, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of bulletins: %w", err)
	}
	w := &Worker{
		opts: o, metrics: m, log: o.Log, clients: newClients(), agent: "Loa/" + o.Version,
		articles: newArticles(o.Articles, o.Tree, o.MediaBase),
		times:    newTimes(o), paces: &paces{of: map[string]*pace{}},
	}
	o.Portals.OnChange(w.clients.forget)
	o.Portals.OnChange(w.paces.forget)
	o.Portals.OnChange(w.times.changed)
	return w, nil
}

// Close ends the idle connections. It is called when the engine no longer runs.
func (w *Worker) Close() {
	w.articles.close()
	w.clients.close()
}

// queue is how many flags of one portal a worker holds.
const queue = 64

// Limits are those of the portal, for [reconcile.Options].
func (w *Worker) Limits(name string) reconcile.Limits {
	p, ok := w.opts.Portals.Get(name)
	if !ok {
		// One whose entry is malformed waits; one that is gone is done with.
		return reconcile.Limits{Queue: queue, Paused: w.opts.Portals.Known(name)}
	}
	l := reconcile.Limits{InFlight: p.InFlight, Queue: queue, Interval: p.Interval(), Paused: p.Paused != nil}
	if p.Digest != nil {
		// A digest may hold any article: beside it, no other is to be under way.
		l.Held, l.InFlight = true, 1
	}
	return l
}

// State is how the portal fared when it was last seen, for [reconcile.Options].
func (w *Worker) State(name string) reconcile.State {
	s := w.opts.Portals.State(name)
	return reconcile.State{Down: s.Down, Since: s.Since, Failures: s.Failures, Reason: s.Reason, NextProbe: s.NextProbe, Pause: s.Pause}
}

// Gained is told that portals are this worker's from now on, for [reconcile.Options]: it finds what
// those who had them were sending when they ended.
func (w *Worker) Gained(ctx context.Context, has func(name string) bool) error {
	found, err := w.opts.Receipts.Recover(ctx, has, w.followUp)
	if len(found.Unreadable) > 0 {
		w.log.Error().Uints64("seq", found.Unreadable).Str("stream", streams.Intents).Msg("intents that cannot be read, what they name is not known to be at its portals")
	}
	if found.Attempts > 0 {
		w.log.Info().Int("attempts", found.Attempts).Msg("attempts of another worker did not end, their portals may hold the articles")
	}
	return err
}

// followUp raises the flag of an attempt that is recovered after a later version: somebody who did not
// know of the attempt may have found that this does not concern the portal.
func (w *Worker) followUp(ctx context.Context, r portal.Receipt) error {
	e, err := w.opts.Articles.Latest(ctx, r.Key)
	if errors.Is(err, streams.ErrNotFound) {
		return nil
	}
	if err != nil || e.Version == r.MayHold {
		return err
	}
	return reconcile.Raise(ctx, w.opts.JS, reconcile.FlagsFor(Kind, []string{r.Portal}, nil, e))
}

// Reconcile makes the portal hold the articles as they are now, if they concern it.
func (w *Worker) Reconcile(ctx context.Context, name string, flags []reconcile.Flag) error {
	p, ok := w.opts.Portals.Get(name)
	if !ok {
		if w.opts.Portals.Known(name) {
			return fmt.Errorf("portal %q: its configuration cannot be used", name)
		}
		return w.newest(ctx, name, 0)
	}
	called := false
	for _, f := range flags {
		var err error
		if f.Key == digestKey {
			err = w.digest(ctx, p)
		} else {
			err = w.level(ctx, p, f)
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

// level brings the portal level with one article; [reconcile.ErrLevel] says that it was not called.
func (w *Worker) level(ctx context.Context, p portal.Portal, f reconcile.Flag) error {
	s, err := w.standing(ctx, p, f)
	if err != nil {
		return err
	}
	if !s.due {
		return reconcile.ErrLevel
	}
	if f.Class == streams.Express && p.Digest != nil && !p.Digest.Express && !refusedBefore(s.receipt) {
		f.Class = streams.Normal // it waits with the others
		if err := reconcile.Raise(ctx, w.opts.JS, []reconcile.Flag{f}); err != nil {
			return err
		}
		return reconcile.ErrLevel
	}
	return w.send(ctx, p, s.article, s.receipt)
}

// standing is how a portal stands with an article.
type standing struct {
	article *prepared
	receipt portal.Receipt
	// due says that the portal has to be sent the article as it is now. Without it, the others
	// may be missing.
	due bool
}

func (w *Worker) standing(ctx context.Context, p portal.Portal, f reconcile.Flag) (standing, error) {
	key, err := streams.ParseKey(f.Key)
	if err != nil {
		return standing{}, reconcile.Permanent(err)
	}
	of := wanted{key, FormOf(p)}
	r, _, err := w.opts.Receipts.Get(ctx, p.Name, key)
	if err != nil {
		return standing{}, err
	}
	if !r.Touched() {
		// Before a first attempt the log is read again anyway.
		if a := w.articles.recent(of, f.Seq); a != nil && a.fault == nil && p.Due(a.Article, r, w.opts.Tree) {
			return standing{a, r, true}, nil
		}
	}
	a, err := w.articles.get(ctx, of, f.Seq)
	if errors.Is(err, streams.ErrNotFound) {
		w.log.Warn().Str("portal", p.Name).Str("article", string(key)).Msg("flagged article is not in the log")
		return standing{}, nil
	}
	if err != nil {
		return standing{}, err
	}
	return w.compare(ctx, p, a, r)
}

// compare finds out whether the portal has to be sent the article, by its receipt.
func (w *Worker) compare(ctx context.Context, p portal.Portal, a *prepared, r portal.Receipt) (standing, error) {
	due := p.Due(a.Article, r, w.opts.Tree)
	if !due && !r.Touched() {
		// Nothing is to be sent because nothing was: that must be certain.
		var err error
		if r, _, err = w.opts.Receipts.Latest(ctx, p.Name, a.key); err != nil {
			return standing{}, err
		}
		if due = p.Due(a.Article, r, w.opts.Tree); !due && !r.Touched() {
			if err := w.newest(ctx, p.Name, p.Revision); err != nil {
				return standing{}, err
			}
		}
	}
	if !due {
		w.metrics.outcomes.WithLabelValues(outcomeLevel).Inc()
	}
	return standing{a, r, due}, nil
}

// newest makes sure that a flag is not lowered by what a portal was: whoever raised it may have
// known already what has yet to come here, that there is such a portal, or that it wants more.
func (w *Worker) newest(ctx context.Context, name string, revision uint64) error {
	newest, err := w.opts.Portals.Newest(ctx, name, revision)
	if err == nil && !newest {
		err = fmt.Errorf("portal %q: its configuration has changed, and has yet to come here", name)
	}
	return err
}

// receiptTimeout bounds the storing of a receipt after an answer, which goes on when the worker
// is told to stop: the portal has the bulletin.
const receiptTimeout = 5 * time.Second

// send pushes the article's bulletin to the portal: after an intent, if it is the first, and before
// the receipt.
func (w *Worker) send(ctx context.Context, p portal.Portal, a *prepared, r portal.Receipt) error {
	if len(a.bulletin) == 0 {
		return reconcile.Permanent(a.fault)
	}
	id := webhookID(p.Name, a, r.Again)
	first := !r.Touched()
	r, now, intent, err := w.begin(ctx, r, a, id)
	if err != nil {
		return err
	}
	settled := false
	defer func() { intent.End(settled) }()
	if now != a {
		intent.End(true) // nothing is sent
		s, err := w.compare(ctx, p, now, r)
		if err != nil {
			return err
		}
		if !s.due {
			return reconcile.ErrLevel
		}
		return w.send(ctx, p, now, s.receipt)
	}
	answer, took, err := w.deliver(ctx, p, id, a.bulletin, a.contentType)
	if err != nil {
		settled = true // nothing was sent
		return err
	}
	settled = !answer.sent
	if answer.err != nil && ctx.Err() != nil {
		// The worker is being stopped. Whether the bulletin arrived will not be known.
		return fmt.Errorf("portal %q, article %s: %w", p.Name, a.key, ctx.Err())
	}
	result := classify(p, answer)
	r = outcome(r, a, answer, result, took)
	w.metrics.outcomes.WithLabelValues(result.outcome).Inc()
	w.logOutcome(p, a, r, result, took)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), receiptTimeout)
	defer cancel()
	_, err = w.opts.Receipts.Put(ctx, r)
	settled = settled || err == nil
	switch {
	case err != nil && result.err == nil:
		return err
	case err != nil:
		w.log.Warn().Err(err).Str("portal", p.Name).Str("article", string(a.key)).Msg("failed attempt not noted")
	case first && r.Touched():
		if err := w.overtaken(ctx, p, a); err != nil {
			return err
		}
	}
	if result.gone {
		return w.gone(ctx, p, result.err)
	}
	return result.verdict()
}

// overtaken raises the portal's flag for a later version that came while it was sent the article for
// the first time: whoever asked then whether the version concerns the portal has seen no receipt.
func (w *Worker) overtaken(ctx context.Context, p portal.Portal, a *prepared) error {
	now, err := w.articles.latest(ctx, a.wanted())
	if err != nil || now.seq == a.seq {
		return err
	}
	e := streams.Entry{Article: now.Article, Key: now.key, Seq: now.seq}
	return reconcile.Raise(ctx, w.opts.JS, reconcile.FlagsFor(Kind, []string{p.Name}, nil, e))
}

// begin starts an attempt at an article: an intent is on disk before there is one, if it is the
// first. It gives the article as it is to be sent: another than a, if that is not the current
// version any more, and the portal was sent none. The intent is the caller's to end.
func (w *Worker) begin(ctx context.Context, r portal.Receipt, a *prepared, id string) (portal.Receipt, *prepared, *portal.Intent, error) {
	if r.WebhookID != id {
		r.WebhookID, r.Attempts = id, 0
	}
	r.GUID = a.GUID
	r.Attempts++
	r.LastAttempt = time.Now().UTC()
	r.LastStatus, r.LastError = 0, ""
	r.Outcome, r.Tried, r.Took = "", article.Version{}, 0
	if r.Touched() {
		return r, a, nil, nil
	}
	intent, err := w.opts.Receipts.Intend(ctx, r, a.Version)
	if err != nil {
		return r, nil, nil, err
	}
	// Whoever takes over from now on finds the intent. If somebody did before, unnoticed, a later
	// version of which they found that it does not concern the portal is seen here.
	now, err := w.articles.latest(ctx, a.wanted())
	if err != nil {
		intent.End(true) // nothing was sent
		return r, nil, nil, err
	}
	if now.seq == a.seq {
		now = a
	}
	return r, now, intent, nil
}

// deliver is push, measured, unless another worker may have taken over.
func (w *Worker) deliver(ctx context.Context, p portal.Portal, id string, body []byte, contentType string) (answer, time.Duration, error) {
	if reconcile.Lapsed(ctx) {
		return answer{}, 0, fmt.Errorf("portal %q: left to another worker: %w", p.Name, context.Canceled)
	}
	began := time.Now()
	w.metrics.inFlight.Inc()
	a := w.push(ctx, p, id, body, contentType)
	w.metrics.inFlight.Dec()
	took := time.Since(began)
	w.metrics.seconds.Observe(took.Seconds())
	if a.err == nil {
		w.answered(p.Name, took)
	}
	return a, took, nil
}

// outcome is the receipt after an attempt.
func outcome(r portal.Receipt, a *prepared, answer answer, result result, took time.Duration) portal.Receipt {
	r.LastStatus = answer.status
	r.Outcome, r.Tried, r.Took = result.outcome, a.Version, took
	if result.err == nil {
		r.Holds, r.Status, r.At = a.Version, a.Status, time.Now().UTC()
		r.MayHold = article.Version{}
		return r
	}
	r.LastError = result.err.Error()
	if answer.sent {
		r.MayHold = a.Version
	}
	return r
}

// gone pauses a portal that says that it is no more. The flag is handed back, and waits for
// somebody to resume or delete the portal.
func (w *Worker) gone(ctx context.Context, p portal.Portal, cause error) error {
	// In conflict somebody has just changed it, perhaps its address: the next answer will tell.
	if err := w.opts.Portals.PauseAs(ctx, p, by, "answered 410 Gone"); err != nil && !errors.Is(err, portal.ErrConflict) {
		return err
	}
	return reconcile.Down(cause, 0)
}

func (w *Worker) logOutcome(p portal.Portal, a *prepared, r portal.Receipt, res result, took time.Duration) {
	e, msg := w.log.Info(), "bulletin delivered"
	if res.err != nil {
		e, msg = w.log.Warn().Err(res.err), "bulletin not delivered"
	}
	e.Str("portal", p.Name).Str("article", string(a.key)).Stringer("version", a.Version).Str("state", a.Status).
		Str("outcome", res.outcome).Int("status", r.LastStatus).Int("attempt", r.Attempts).Dur("took", took).Msg(msg)
}
