package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"

	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/websub"
)

const (
	// verifyTimeout is for the whole of one question to a callback.
	verifyTimeout = 10 * time.Second
	// maxEcho is how much of the answer is read, in bytes: a challenge and whatever shows that it is
	// not one.
	maxEcho = 4 << 10
)

// Outcomes of a verification, as they are counted.
const (
	outcomeConfirmed = "confirmed"
	outcomeRejected  = "rejected" // by the callback
	outcomeDenied    = "denied"   // by the hub
)

// verify settles a request: it asks the callback once, and makes what was asked so if it confirms.
// Otherwise nothing changes, whatever there was before.
func (w *Worker) verify(ctx context.Context, id websub.ID) error {
	q, ok, err := w.o.Subscriptions.Asked(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		return reconcile.ErrLevel // settled, or waited for too long
	}
	if reconcile.Lapsed(ctx) {
		return fmt.Errorf("verify %s: left to another worker: %w", id, context.Canceled)
	}
	outcome, cause, err := w.ask(ctx, q)
	if err != nil {
		return err
	}
	w.metrics.verifications.WithLabelValues(q.Mode, outcome).Inc()
	w.o.Log.Info().Str("mode", q.Mode).Str("host", websub.Host(q.Callback)).Str("subscription", string(id)).Str("outcome", outcome).AnErr("cause", cause).
		Dur("lease", q.Lease).Msg("request to the hub settled")
	return w.o.Subscriptions.Settle(ctx, q)
}

// ask puts a request to its callback, and does what it confirms. The error is one of our own;
// cause is why it did not confirm.
func (w *Worker) ask(ctx context.Context, q websub.Request) (outcome string, cause, err error) {
	if q.Mode == websub.ModeDenied {
		return outcomeDenied, w.deny(ctx, q, q.Reason), nil
	}
	if q.Mode == websub.ModeSubscribe {
		if why := w.o.Subscriptions.Refuses(q, "", w.o.Caps); why != "" {
			return outcomeDenied, errors.Join(errors.New(why), w.deny(ctx, q, why)), nil
		}
	}
	address, cause := w.challenge(ctx, q)
	if ctx.Err() != nil {
		return "", nil, ctx.Err() // the worker is being stopped: it will be asked again
	}
	if cause != nil {
		return outcomeRejected, cause, nil
	}
	if q.Mode == websub.ModeUnsubscribe {
		return outcomeConfirmed, nil, w.o.Subscriptions.Remove(ctx, q.ID())
	}
	why, err := w.activate(ctx, q, address)
	if why != "" {
		return outcomeDenied, errors.Join(errors.New(why), w.deny(ctx, q, why)), nil
	}
	return outcomeConfirmed, nil, err
}

// activate makes a subscription of a request, or tells why there is no room for it. One at a time, so
// that those which confirm together do not all take the last place.
func (w *Worker) activate(ctx context.Context, q websub.Request, address string) (refused string, err error) {
	w.activating.Lock()
	defer w.activating.Unlock()
	if why := w.o.Subscriptions.Refuses(q, address, w.o.Caps); why != "" {
		return why, nil
	}
	_, err = w.o.Subscriptions.Activate(ctx, q, address, time.Now().UTC())
	return "", err
}

// challenge asks the callback whether it wants what was asked in its name (§5.3). It gives the IP
// address that answered.
func (w *Worker) challenge(ctx context.Context, q websub.Request) (address string, err error) {
	echo := rand.Text()
	params := url.Values{"hub.mode": {q.Mode}, "hub.topic": {w.o.Topics.Address(q.Topic)}, "hub.challenge": {echo}}
	if q.Mode == websub.ModeSubscribe {
		params.Set("hub.lease_seconds", strconv.FormatInt(int64(q.Lease/time.Second), 10))
	}
	res, address, err := w.get(ctx, q.Callback, params)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := outbound.ReadBody(res.Body, maxEcho)
	switch {
	case res.StatusCode/100 != 2:
		return "", fmt.Errorf("callback answered %s", res.Status)
	case err != nil:
		return "", err
	case string(body) != echo:
		return "", errors.New("callback answered with something else than the challenge")
	}
	return address, nil
}

// deny tells a callback that it has no subscription, and why (§5.2). What it answers is nobody's
// concern.
func (w *Worker) deny(ctx context.Context, q websub.Request, why string) error {
	res, _, err := w.get(ctx, q.Callback, url.Values{"hub.mode": {websub.ModeDenied}, "hub.topic": {w.o.Topics.Address(q.Topic)}, "hub.reason": {why}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxEcho)) // so that the connection can be used again
	return err
}

// get calls a callback with parameters, beside those that it has. Redirects are not followed: they
// lead to somebody who was not asked for.
func (w *Worker) get(ctx context.Context, callback string, params url.Values) (*http.Response, string, error) {
	u, err := url.Parse(callback)
	if err != nil {
		return nil, "", err // cannot be: it was checked
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	var address string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if at, ok := c.Conn.RemoteAddr().(*net.TCPAddr); ok {
			address = at.IP.String()
		}
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel()
		return nil, "", err
	}
	req.Header.Set("User-Agent", w.userAgent())
	// Not by the client, whose errors quote the whole address.
	res, err := w.client.Transport.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, "", fmt.Errorf("callback at %s: %w", u.Host, err)
	}
	res.Body = &cancelling{res.Body, cancel}
	return res, address, nil
}

// cancelling ends a context when a body is closed.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}
