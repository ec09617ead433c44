package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/websub"
)

const (
	// maxAnswer is how much of an answer is read, in bytes, so that the connection can be used again.
	maxAnswer = 4 << 10
	// noteTimeout bounds the recording of a delivery, which goes on when the worker is told to stop:
	// the callback has the document.
	noteTimeout = 20 * time.Second
)

// Outcomes of a delivery, as they are counted.
const (
	outcomeDelivered = "delivered"
	outcomeLevel     = "level"   // there was nothing to deliver
	outcomeDown      = "down"    // the host failed
	outcomeRefused   = "refused" // the callback did
	outcomeGone      = "gone"    // the callback answered 410
	outcomeGivenUp   = "given up"
)

// deliver brings a subscription level with its topic; [reconcile.ErrLevel] says that nobody was
// called.
func (w *Worker) deliver(ctx context.Context, f reconcile.Flag) error {
	id := websub.ID(f.Key)
	if err := w.o.Subscriptions.Await(ctx, f.Seq); err != nil {
		return err
	}
	s, ok := w.o.Subscriptions.Get(id)
	if !ok { // ended, or its lease did
		w.metrics.deliveries.WithLabelValues(outcomeLevel).Inc()
		return reconcile.ErrLevel
	}
	c, release, err := w.contents.get(ctx, s.Topic, f.Seq)
	if err != nil && !errors.Is(err, objects.ErrNotFound) {
		return fmt.Errorf("read feed %s: %w", s.Topic, err)
	}
	if err == nil {
		defer release()
	}
	d := w.o.Subscriptions.Delivery(id)
	if err != nil || d.ETag == c.etag {
		w.metrics.deliveries.WithLabelValues(outcomeLevel).Inc()
		return reconcile.ErrLevel
	}
	if reconcile.Lapsed(ctx) {
		return fmt.Errorf("deliver to %s: left to another worker: %w", id, context.Canceled)
	}
	key, err := w.o.Subscriptions.Open(s)
	if err != nil {
		return err
	}
	began := time.Now()
	w.metrics.inFlight.Inc()
	status, after, err := w.post(ctx, s, key, c)
	w.metrics.inFlight.Dec()
	took := time.Since(began)
	w.metrics.seconds.Observe(took.Seconds())
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("deliver to %s: %w", id, ctx.Err()) // the worker is being stopped
	}
	return w.settle(ctx, f, s, d, c.etag, result(status, after, err), took)
}

// post sends the document, whole, as it is read at its address (§7).
func (w *Worker) post(ctx context.Context, s websub.Subscription, key secret.Secret, c *content) (status int, retryAfter string, err error) {
	u, err := url.Parse(s.Callback)
	if err != nil {
		return 0, "", err // cannot be: it was checked
	}
	header := http.Header{"Content-Type": {c.contentType}, "Link": {w.links(s.Topic)}, "User-Agent": {w.userAgent()},
		// Not sent, since it has no value: it tells the transport that a request on a connection that
		// the callback was just closing may be repeated on another.
		"Idempotency-Key": nil}
	if key != "" {
		header.Set("X-Hub-Signature", s.Method.Sign(key, c.body))
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
	first, _ := body()
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	req := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: first, GetBody: body, ContentLength: int64(len(c.body)),
	}).WithContext(ctx)
	// Not by the client, which would follow redirects, and whose errors quote the whole address.
	res, err := w.client.Transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // the status is all that counts
	return res.StatusCode, res.Header.Get("Retry-After"), nil
}

// outcome is what became of a delivery.
type outcome struct {
	name  string
	err   error // nil if the callback has the document
	after time.Duration
}

// result decides what an answer means: 2xx and nothing else is a success, redirects included (§7).
// Where it is not plain whether the host fails or the one callback, the host is blamed: its breaker
// lets nothing go to waste, and the engine notices when others get through.
func result(status int, retryAfter string, err error) outcome {
	var refused *outbound.RefusedError
	switch {
	case errors.As(err, &refused):
		return outcome{name: outcomeRefused, err: err}
	case err != nil:
		return outcome{name: outcomeDown, err: err}
	case status/100 == 2:
		return outcome{name: outcomeDelivered}
	}
	err = fmt.Errorf("callback answered %d %s", status, http.StatusText(status))
	switch {
	case status == http.StatusGone:
		return outcome{name: outcomeGone, err: err}
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return outcome{outcomeDown, err, pause(strings.TrimSpace(retryAfter))}
	case status >= 500 || status == http.StatusRequestTimeout:
		return outcome{name: outcomeDown, err: err}
	}
	return outcome{name: outcomeRefused, err: err}
}

// pause reads a Retry-After header: seconds or a date (RFC 9110 §10.2.3); 0 if it is neither.
func pause(retryAfter string) time.Duration {
	if seconds, err := strconv.ParseUint(retryAfter, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(retryAfter)
	if err != nil {
		return 0
	}
	return max(time.Until(at), 0)
}

// settle records what became of a delivery, and tells the engine.
func (w *Worker) settle(ctx context.Context, f reconcile.Flag, s websub.Subscription, d websub.Delivery, etag string, o outcome, took time.Duration) error {
	if o.err != nil && o.name != outcomeGone && f.Failures >= len(w.o.Retries) {
		// The subscription stays, until its lease ends (§7).
		o.name = outcomeGivenUp
	}
	w.metrics.deliveries.WithLabelValues(o.name).Inc()
	e, msg := w.o.Log.Debug(), "feed delivered"
	if o.err != nil {
		e, msg = w.o.Log.Info().Str("reason", reason(o.err)), "feed not delivered"
	}
	e.Str("host", websub.Host(s.Callback)).Str("subscription", string(s.ID())).Str("outcome", o.name).Dur("took", took).Msg(msg)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	now := time.Now().UTC()
	switch {
	case o.name == outcomeGone:
		return w.o.Subscriptions.Gone(ctx, s)
	case o.err == nil:
		return w.o.Subscriptions.Note(ctx, s, websub.Delivery{ETag: etag, At: now})
	}
	if d.FailingSince.IsZero() {
		d.FailingSince = now
	}
	d.Failures++
	d.Error = reason(o.err)
	if err := w.o.Subscriptions.Note(ctx, s, d); err != nil {
		w.o.Log.Warn().Err(err).Str("subscription", string(s.ID())).Msg("failed delivery not recorded")
	}
	err := fmt.Errorf("deliver to a callback at %s: %w", websub.Host(s.Callback), o.err)
	switch o.name {
	case outcomeGivenUp:
		return reconcile.ErrLevel
	case outcomeRefused:
		return reconcile.Failed(err)
	}
	return reconcile.Down(err, o.after)
}
