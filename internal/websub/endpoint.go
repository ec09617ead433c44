package websub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/origin"
	"github.com/loa-syndication/loa/internal/reconcile"
)

const (
	// maxBody is that of a request, in bytes: its longest parameters are three addresses.
	maxBody = 16 << 10
	// maxAsked bounds the requests that wait to be verified. They take some 500 bytes each, and go
	// within an hour at most.
	maxAsked = 10_000
	// requestsPerSecond and requestsAtOnce are what one address may ask: a reader that has just
	// imported a list of feeds asks for some hundred at once. Each costs one request to a callback.
	// It is half of what the callbacks of one host are asked: else one stranger could keep all of the
	// room that a host has for requests.
	requestsPerSecond = 10
	requestsAtOnce    = 500
	// maxAskers is for how many addresses that is counted; then it begins anew.
	maxAskers = 10_000
	// retryLater is what whoever asks too much is told, in seconds.
	retryLater = "60"
)

// Caps bound the subscriptions, so that nobody can take all there is room for.
type Caps struct {
	Subscriptions int // all of them
	PerHost       int // those with callbacks at one host name; and as many requests wait to be verified
	PerAddress    int // those whose callbacks had one IP address
}

// Objects is where the feeds are.
type Objects interface {
	Stat(ctx context.Context, key string) (objects.Info, error)
}

// Options of an [Endpoint]. JS, Registry, Objects, Topics, Leases and Caps are required.
type Options struct {
	JS       jetstream.JetStream
	Registry *Registry
	Objects  Objects
	Topics   Topics
	Leases   Leases
	Caps     Caps
	// SHA1For are hosts of callbacks that know no better signatures.
	SHA1For []string
	// Proxies are addresses that are believed when they say for whom they ask (X-Forwarded-For).
	Proxies []netip.Prefix
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Endpoint is the address of the hub: it takes the requests of subscribers (§5.1), and those of
// publishers, who say that a topic changed. It calls nobody.
type Endpoint struct {
	o        Options
	requests *prometheus.CounterVec
	askers   askers
}

// NewEndpoint makes one.
func NewEndpoint(o Options) (*Endpoint, error) {
	e := &Endpoint{o: o, askers: askers{of: map[string]*rate.Limiter{}}, requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "loa_hub_requests_total", Help: "Requests to the hub, by mode and by the status that they were answered with.",
	}, []string{"mode", "status"})}
	if o.Metrics != nil {
		if err := o.Metrics.Register(e.requests); err != nil {
			return nil, fmt.Errorf("register metrics of the hub: %w", err)
		}
	}
	return e, nil
}

// reply is an answer: a status with a line for people.
type reply struct {
	status int
	text   string
}

func (r reply) Error() string { return r.text }

// ServeHTTP answers a request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode, err := e.answer(w, r)
	a := reply{http.StatusAccepted, "Accepted. The callback will be asked to confirm."}
	switch {
	case err == nil && mode == ModePublish:
		a = reply{http.StatusNoContent, ""}
	case err != nil && !errors.As(err, &a):
		if r.Context().Err() == nil {
			e.o.Log.Warn().Err(err).Msg("request to the hub not taken")
		}
		a = reply{http.StatusServiceUnavailable, "The hub cannot take this at the moment. Please try again soon."}
	}
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryLater)
	}
	e.requests.WithLabelValues(mode, fmt.Sprint(a.status)).Inc()
	w.Header().Set("Cache-Control", "no-store")
	if a.text != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		a.text += "\n"
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.text) // whoever asked may be gone
}

// answer does what is asked. The mode is one that metrics may be told.
func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request) (mode string, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return "none", reply{http.StatusMethodNotAllowed, "This is a WebSub hub: it takes POST requests of subscribers (https://www.w3.org/TR/websub/)."}
	}
	form, err := parseForm(w, r)
	if err != nil {
		return "none", err
	}
	a, faults := read(form, e.o.Leases)
	mode = "none"
	if slices.Contains([]string{ModeSubscribe, ModeUnsubscribe, ModePublish}, a.mode) {
		mode = a.mode
	}
	topics := make([]Topic, len(a.topics))
	for i, address := range a.topics {
		var ok bool
		if topics[i], ok = e.o.Topics.Parse(address); !ok {
			faults = append(faults, fmt.Sprintf("%s: found %q, expected the address of a feed of this Loa, as its rel=\"self\" says it", paramTopic, shown(address)))
		}
	}
	if len(faults) > 0 {
		return mode, reply{http.StatusBadRequest, strings.Join(faults, "\n")}
	}
	if !e.askers.allow(origin.Address(r, e.o.Proxies), time.Now()) {
		return mode, reply{http.StatusTooManyRequests, "Too many requests from one address."}
	}
	if a.mode == ModePublish {
		return mode, e.publish(r.Context(), topics)
	}
	if err := e.o.Registry.room(a.mode, a.callback, NewID(a.callback, topics[0]), e.o.Caps); err != nil {
		return mode, err
	}
	if a.mode == ModeUnsubscribe {
		return mode, e.o.Registry.Ask(r.Context(), Request{Mode: a.mode, Callback: a.callback, Topic: topics[0], At: time.Now().UTC()}, "")
	}
	return mode, e.subscribe(r.Context(), a, topics[0])
}

func parseForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, reply{http.StatusUnsupportedMediaType, "Expected parameters as application/x-www-form-urlencoded."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, reply{http.StatusRequestEntityTooLarge, fmt.Sprintf("Expected at most %d bytes.", maxBody)}
	}
	var form url.Values
	if err == nil {
		form, err = url.ParseQuery(string(body))
	}
	if err != nil {
		return nil, reply{http.StatusBadRequest, "The parameters cannot be read."}
	}
	return form, nil
}

// subscribe takes a request for a subscription.
func (e *Endpoint) subscribe(ctx context.Context, a asked, t Topic) error {
	if a.method = e.method(a); a.method == "" {
		return reply{http.StatusBadRequest, fmt.Sprintf("%s: %s is not given here any more, expected one of %s, %s, %s", paramSignature, SHA1, SHA256, SHA384, SHA512)}
	}
	info, err := e.o.Objects.Stat(ctx, t.Object())
	if errors.Is(err, objects.ErrNotFound) {
		return reply{http.StatusBadRequest, paramTopic + ": there is no such feed"}
	}
	if err != nil {
		return err
	}
	return e.o.Registry.Ask(ctx, Request{Mode: ModeSubscribe, Callback: a.callback, Topic: t, Lease: a.lease, Method: a.method,
		Seen: info.ETag, At: time.Now().UTC()}, a.secret)
}

// method is how deliveries are to be signed; empty if it cannot be what was asked. SHA-1 is for
// those alone who are known to need it: they get it without asking.
func (e *Endpoint) method(a asked) Method {
	old := slices.Contains(e.o.SHA1For, Host(a.callback))
	switch {
	case a.method == "" && old:
		return SHA1
	case a.method == "":
		return SHA256
	case a.method == SHA1 && !old:
		return ""
	}
	return a.method
}

// room tells why one more request does not fit in. Who has a subscription, or has asked already, is
// counted: however much others ask in the name of its host, it renews and ends what it has.
func (r *Registry) room(mode, callback string, id ID, c Caps) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, host := r.all[id], Host(callback)
	switch {
	case k != nil && k.subscription != nil:
		return nil
	case mode == ModeSubscribe && r.held >= c.Subscriptions:
		return reply{http.StatusServiceUnavailable, "This hub has as many subscriptions as it takes."}
	case mode == ModeSubscribe && r.hosts[host] >= c.PerHost:
		return reply{http.StatusForbidden, fmt.Sprintf("%s: its host has %d subscriptions, which is as many as it gets here.", paramCallback, c.PerHost)}
	case k != nil && k.request != nil: // which this one replaces
		return nil
	case r.asked >= maxAsked:
		return reply{http.StatusServiceUnavailable, "Too many requests wait to be verified."}
	case r.askedOf[host] >= c.PerHost:
		return reply{http.StatusTooManyRequests, fmt.Sprintf("%s: %d requests about its host wait to be verified.", paramCallback, c.PerHost)}
	}
	return nil
}

// Refuses tells why a callback that has confirmed cannot have a subscription; empty if it can. It
// is asked again because requests are taken by many at once, and because its address is known only
// now.
func (r *Registry) Refuses(q Request, address string, c Caps) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	host, at := r.hosts[Host(q.Callback)], r.addresses[address]
	if k := r.all[q.ID()]; k != nil && k.subscription != nil {
		host--
		if k.subscription.Address == address {
			at--
		}
	}
	switch {
	case host >= c.PerHost:
		return fmt.Sprintf("its host has %d subscriptions, which is as many as it gets here", host)
	case at >= c.PerAddress:
		return fmt.Sprintf("callbacks at its IP address have %d subscriptions, which is as many as it gets here", at)
	}
	return ""
}

// publish has the subscribers of topics flagged. It does no harm if they did not change.
func (e *Endpoint) publish(ctx context.Context, topics []Topic) error {
	var flags []reconcile.Flag
	for _, t := range topics {
		if e.o.Registry.Has(t) {
			flags = append(flags, FeedFlag(t.Feed))
		}
	}
	return reconcile.Raise(ctx, e.o.JS, flags)
}

// askers counts how much each address asks.
type askers struct {
	mu sync.Mutex
	of map[string]*rate.Limiter
}

// allow reports whether an address may ask once more.
func (a *askers) allow(who string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.of[who]
	if l == nil {
		if len(a.of) >= maxAskers {
			clear(a.of)
		}
		l = rate.NewLimiter(requestsPerSecond, requestsAtOnce)
		a.of[who] = l
	}
	return l.AllowN(now, 1)
}
