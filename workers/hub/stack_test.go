package hub_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/internal/websub"
	"github.com/loa-syndication/loa/workers/hub"
)

// stack is a hub with all that belongs to it: the gateway that serves the feeds and takes requests,
// and the worker that calls the callbacks.
type stack struct {
	t      *testing.T
	js     jetstream.JetStream
	store  *objects.Store
	subs   *websub.Registry // the worker's
	asked  *websub.Registry // the gateway's, as in a process of its own
	topics websub.Topics
	base   string // of the gateway, without a slash
	keys   *secret.Keyring
	o      options
	stop   func() // of the first worker
}

// options differ between tests.
type options struct {
	leases  websub.Leases
	caps    websub.Caps
	sha1For []string
	allow   []netip.Prefix
	retries []time.Duration
	timeout time.Duration
	objects func(hub.Objects) hub.Objects
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func start(t *testing.T, change func(*options)) *stack {
	t.Helper()
	o := options{
		leases:  websub.Leases{Default: 240 * time.Hour, Min: time.Second, Max: 720 * time.Hour},
		caps:    websub.Caps{Subscriptions: 20_000, PerHost: 20_000, PerAddress: 20_000},
		allow:   loopback,
		retries: []time.Duration{20 * time.Millisecond, 20 * time.Millisecond},
		timeout: 5 * time.Second,
		objects: func(o hub.Objects) hub.Objects { return o },
	}
	if change != nil {
		change(&o)
	}
	keys, err := secret.ParseKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, js: loatest.NATS(t), store: loatest.Objects(t), keys: keys, o: o}
	s.subs, s.asked = s.open(true), s.open(false)
	s.serve()
	s.stop = s.work()
	return s
}

// open opens a registry, as each process does.
func (s *stack) open(whole bool) *websub.Registry {
	s.t.Helper()
	r, err := websub.Open(s.t.Context(), s.js, s.keys, whole, zerolog.Nop())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	return r
}

// serve runs the gateway.
func (s *stack) serve() {
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	s.t.Cleanup(srv.Close)
	s.base, s.topics = srv.URL, websub.TopicsOf(srv.URL)
	articles, err := streams.OpenLog(s.t.Context(), s.js)
	if err != nil {
		s.t.Fatal(err)
	}
	tree, err := site.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	endpoint, err := websub.NewEndpoint(websub.Options{JS: s.js, Registry: s.asked, Objects: s.store, Topics: s.topics,
		Leases: s.o.leases, Caps: s.o.caps, SHA1For: s.o.sha1For, Log: zerolog.Nop()})
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{Objects: s.store, Articles: articles, Sites: tree, PublicURL: s.base, Hubs: []string{s.topics.Hub()},
		Mounts: []gateway.Mount{{Prefix: "/hub", Route: "hub", Handler: endpoint}}})
	if err != nil {
		s.t.Fatal(err)
	}
	handler = g.Handler()
}

// work runs a worker until the test ends, or until it is told to stop.
func (s *stack) work() (stop func()) {
	w, err := hub.New(hub.Options{JS: s.js, Objects: s.o.objects(s.store), Subscriptions: s.subs, Topics: s.topics, Caps: s.o.caps, Rate: 1000,
		Allow: s.o.allow, Retries: s.o.retries, Timeout: s.o.timeout, Log: zerolog.Nop()})
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := reconcile.New(s.t.Context(), s.js, reconcile.Options{Kind: websub.Kind, Reconciler: w, Limits: w.Limits, Workers: hub.Workers,
		Pauses: reconcile.Pauses{Key: s.o.retries, ProbeFirst: 30 * time.Millisecond, ProbeMost: 60 * time.Millisecond}, Log: zerolog.Nop()})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done; w.Close() })
	s.t.Cleanup(stop)
	return stop
}

var contentTypes = map[string]string{"rss": "application/rss+xml; charset=utf-8", "atom": "application/atom+xml; charset=utf-8", "json": "application/feed+json"}

// store stores a feed's documents, and nothing else.
func (s *stack) put(feed, body string) {
	s.t.Helper()
	for _, format := range websub.Formats {
		t := websub.Topic{Feed: feed, Format: format}
		if _, err := s.store.Put(s.t.Context(), t.Object(), []byte(body+" as "+format), objects.Meta{ContentType: contentTypes[format]}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// change is what the worker that makes feeds does.
func (s *stack) change(feed, body string) {
	s.t.Helper()
	s.put(feed, body)
	s.raise(websub.FeedFlag(feed))
}

func (s *stack) raise(flags ...reconcile.Flag) {
	s.t.Helper()
	if err := reconcile.Raise(s.t.Context(), s.js, flags); err != nil {
		s.t.Fatal(err)
	}
}

// settled waits until nothing is left to do. Flags are lowered some time before they are removed, so
// the consumers are asked.
func (s *stack) settled() {
	s.t.Helper()
	quiet := 0
	loatest.Eventually(s.t, "the hub has done all that it was asked", func() bool {
		if quiet++; !s.level() {
			quiet = 0
		}
		return quiet == 2
	})
	if err := s.subs.CatchUp(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	loatest.Eventually(s.t, "the gateway knows it", func() bool {
		held, asked := s.subs.Counts()
		h, a := s.asked.Counts()
		return held == h && asked == a
	})
}

// level reports whether every flag that was raised has been given out and lowered.
func (s *stack) level() bool {
	stream, err := s.js.Stream(s.t.Context(), streams.Flags)
	if err != nil {
		s.t.Fatal(err)
	}
	groups, _ := streams.FlagGroups(websub.Kind)
	for _, class := range []string{streams.Express, streams.Normal} {
		for group := range groups {
			c, err := s.js.Consumer(s.t.Context(), streams.Flags, streams.FlagConsumerName(websub.Kind, class, group))
			if err != nil {
				return false // not read yet
			}
			info := c.CachedInfo()
			for _, filter := range streams.FlagFilters(websub.Kind, class, group) {
				m, err := stream.GetLastMsgForSubject(s.t.Context(), filter)
				if err == nil && m.Sequence > info.Delivered.Stream || info.NumAckPending > 0 {
					return false
				}
			}
		}
	}
	return true
}

func (s *stack) topic(feed, format string) string {
	return s.topics.Address(websub.Topic{Feed: feed, Format: format})
}

// ask posts a request to the hub, and gives the status and the text of the answer.
func (s *stack) ask(params url.Values) (int, string) {
	s.t.Helper()
	res, err := http.PostForm(s.topics.Hub(), params)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// wants asks for something, further parameters in pairs, and has it settled.
func (s *stack) wants(mode, callback, topic string, more ...string) {
	s.t.Helper()
	if status, text := s.ask(request(mode, callback, topic, more...)); status != http.StatusAccepted {
		s.t.Fatalf("%s: %d %s", mode, status, text)
	}
	s.settled()
}

func request(mode, callback, topic string, more ...string) url.Values {
	v := url.Values{"hub.mode": {mode}, "hub.callback": {callback}, "hub.topic": {topic}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// subscribed gives the subscription of a callback.
func (s *stack) subscribed(callback, feed, format string) (websub.Subscription, bool) {
	return s.subs.Get(websub.NewID(callback, websub.Topic{Feed: feed, Format: format}))
}

// subscriber is a host of callbacks that writes down what it gets. Every path is a callback.
type subscriber struct {
	*httptest.Server
	mu       sync.Mutex
	got      []notification
	asked    []url.Values
	paths    map[string]int // how often each was asked
	denies   bool           // what it is asked in its name
	says     func(challenge string) string
	statuses []int // the next answers to notifications; 200 after these
	redirect string
	hang     chan struct{} // while it is open, notifications are not answered
}

type notification struct {
	path   string // with the query
	header http.Header
	body   string
}

func newSubscriber(t *testing.T) *subscriber {
	t.Helper()
	sub := &subscriber{paths: map[string]int{}, says: func(challenge string) string { return challenge }}
	sub.Server = httptest.NewServer(sub)
	t.Cleanup(sub.Close)
	return sub
}

func (sub *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	sub.mu.Lock()
	status, hang := http.StatusOK, sub.hang
	if r.Method == http.MethodGet {
		defer sub.mu.Unlock()
		sub.asked = append(sub.asked, r.URL.Query())
		sub.paths[r.URL.Path]++
		switch {
		case sub.redirect != "":
			http.Redirect(w, r, sub.redirect, http.StatusFound)
		case sub.denies:
			w.WriteHeader(http.StatusNotFound)
			fallthrough
		default:
			io.WriteString(w, sub.says(r.URL.Query().Get("hub.challenge")))
		}
		return
	}
	if len(sub.statuses) > 0 {
		status, sub.statuses = sub.statuses[0], sub.statuses[1:]
	}
	sub.got = append(sub.got, notification{r.URL.RequestURI(), r.Header, string(body)})
	sub.mu.Unlock()
	if hang != nil {
		<-hang
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
}

func (sub *subscriber) set(change func()) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	change()
}

func (sub *subscriber) notifications() []notification {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return slices.Clone(sub.got)
}

// bodies of the notifications, each without its format.
func (sub *subscriber) bodies() []string {
	var all []string
	for _, n := range sub.notifications() {
		body, _, _ := strings.Cut(n.body, " as ")
		all = append(all, body)
	}
	return all
}

func (sub *subscriber) questions() []url.Values {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return slices.Clone(sub.asked)
}

func (sub *subscriber) want(t *testing.T, bodies ...string) {
	t.Helper()
	if got := sub.bodies(); !slices.Equal(got, bodies) {
		t.Errorf("the subscriber got %q, want %q", got, bodies)
	}
}

// fetched reads an address as a reader does.
func fetched(t *testing.T, address string) (http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("read %s: %s, %w", address, res.Status, err))
	}
	return res.Header, string(body)
}
