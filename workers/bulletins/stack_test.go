package bulletins_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

// TestMain runs the processes that tests start beside themselves: the test binary again.
func TestMain(m *testing.M) {
	switch os.Getenv("LOA_TEST_PROCESS") {
	case "":
		loatest.Main(m)
	case "worker":
		workerProcess()
	case "sink":
		sinkProcess()
	}
}

// stack is a worker on its engine, over a real NATS.
type stack struct {
	js       jetstream.JetStream
	articles *streams.Log
	portals  *portal.Registry
	receipts *portal.Receipts
	worker   *bulletins.Worker
	log      *logged
	stop     func() // the engine
	instance string // what its engine says that it is, if there is no other of it
	// pushed counts the flags whose portal was brought level.
	pushed atomic.Int64
}

// Reconcile is the worker's, and counts.
func (s *stack) Reconcile(ctx context.Context, name string, flags []reconcile.Flag) error {
	err := s.worker.Reconcile(ctx, name, flags)
	if err == nil || errors.Is(err, reconcile.ErrLevel) {
		s.pushed.Add(int64(len(flags)))
	}
	return err
}

// logged is what the worker and the engine logged.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// open makes a stack whose engine does not run yet.
func open(ctx context.Context, js jetstream.JetStream) (*stack, error) {
	tree, err := site.New([]site.Site{{ID: "city", Name: "TP. An Hòa"}, {ID: "ward", Name: "Phường Cầu Gỗ", Parent: "city"}})
	if err != nil {
		return nil, err
	}
	s := &stack{js: js, log: &logged{}}
	log := zerolog.New(s.log)
	if s.articles, err = streams.OpenLog(ctx, js); err != nil {
		return nil, err
	}
	if s.portals, err = portal.Open(ctx, js, tree, nil, log); err != nil {
		return nil, err
	}
	if s.receipts, err = portal.OpenReceipts(ctx, js); err != nil {
		return nil, err
	}
	s.worker, err = bulletins.New(bulletins.Options{
		JS: js, Articles: s.articles, Portals: s.portals, Receipts: s.receipts, Tree: tree,
		MediaBase: "https://loa.example/", Version: "1.2.3", Log: log,
	})
	return s, err
}

// engine makes the engine that runs the stack's worker.
func (s *stack) engine(ctx context.Context, workers int, pauses reconcile.Pauses) (*reconcile.Engine, error) {
	e, err := reconcile.New(ctx, s.js, reconcile.Options{
		Kind: bulletins.Kind, Reconciler: s, Limits: s.worker.Limits, OnState: s.worker.OnState, Gained: s.worker.Gained,
		Workers: workers, Pauses: pauses, Instance: s.instance, Log: zerolog.New(s.log),
	})
	if err == nil {
		s.portals.OnChange(e.Wake)
	}
	return e, err
}

// stopped is a stack whose engine does not run yet.
func stopped(t testing.TB, js jetstream.JetStream) *stack {
	t.Helper()
	s, err := open(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.portals.Close)
	t.Cleanup(s.receipts.Close)
	t.Cleanup(s.worker.Close)
	return s
}

// quick are pauses that a test can wait for.
var quick = reconcile.Pauses{
	ProbeFirst: 20 * time.Millisecond, ProbeMost: 100 * time.Millisecond,
	Key: []time.Duration{20 * time.Millisecond, 20 * time.Millisecond}, Own: 20 * time.Millisecond,
}

// run starts the engine.
func (s *stack) run(t testing.TB, workers int, pauses reconcile.Pauses) {
	t.Helper()
	e, err := s.engine(t.Context(), workers, pauses)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("engine: %v", err)
		}
	})
	t.Cleanup(s.stop)
}

// started is a stack whose engine runs.
func started(t testing.TB) *stack {
	t.Helper()
	s := stopped(t, loatest.NATS(t))
	s.run(t, 0, quick)
	return s
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// portal stores a portal that lives on loopback.
func (s *stack) portal(t testing.TB, p portal.Portal) portal.Portal {
	t.Helper()
	if p.Allow == nil {
		p.Allow = loopback
	}
	p, err := s.portals.Put(t.Context(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var secret = portal.Secret(events.NewSecret())

// receive runs a sample portal, and stores it under its name with the common secret. What p
// says beside goes for it.
func (s *stack) receive(t testing.TB, p portal.Portal, o receiver.Options) *receiver.Receiver {
	t.Helper()
	o.Name = p.Name
	if o.Secrets == nil {
		o.Secrets = []string{secret.Reveal()}
	}
	r, url := serve(t, o)
	p.URL = url
	if p.Secrets == nil {
		p.Secrets = []portal.Secret{secret}
	}
	s.portal(t, p)
	return r
}

// serve runs a sample portal.
func serve(t testing.TB, o receiver.Options) (r *receiver.Receiver, url string) {
	t.Helper()
	o.Log = zerolog.Nop()
	r, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return r, srv.URL + "/bulletins"
}

// shortTimeout is the shortest that a portal may have.
const shortTimeout = time.Second

// closedAddress is one at which nobody listens.
func closedAddress(t testing.TB) string {
	t.Helper()
	return "http://" + loatest.Address(t) + "/bulletins"
}

// always has every request meet the same fault.
func always(f *receiver.Fault) func(int, *http.Request) *receiver.Fault {
	return func(int, *http.Request) *receiver.Fault { return f }
}

// first has the first n requests meet a fault.
func first(n int, f *receiver.Fault) func(int, *http.Request) *receiver.Fault {
	return func(i int, _ *http.Request) *receiver.Fault {
		if i > n {
			return nil
		}
		return f
	}
}

// while has every request meet a fault until well is set.
func while(well *atomic.Bool, f *receiver.Fault) func(int, *http.Request) *receiver.Fault {
	return func(int, *http.Request) *receiver.Fault {
		if well.Load() {
			return nil
		}
		return f
	}
}

// posts are the requests that a portal received, whatever it answered.
type posts struct {
	mu  sync.Mutex
	all []post
}

type post struct {
	at     time.Time
	path   string
	header http.Header
	body   []byte
}

// then keeps each request before answer is asked about it.
func (ps *posts) then(answer func(int, *http.Request) *receiver.Fault) func(int, *http.Request) *receiver.Fault {
	return func(n int, r *http.Request) *receiver.Fault {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		ps.mu.Lock()
		ps.all = append(ps.all, post{time.Now(), r.URL.String(), r.Header.Clone(), body})
		ps.mu.Unlock()
		if answer == nil {
			return nil
		}
		return answer(n, r)
	}
}

func (ps *posts) list() []post {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Clone(ps.all)
}

// text is version v of an article.
func text(id string, v int64) *article.Article {
	at := time.Date(2026, 11, 20, 8, 30, 0, 0, time.FixedZone("", 7*60*60))
	return &article.Article{
		GUID: article.NewGUID("ward", id), Site: "ward", ID: id, Version: article.Version{Number: v}, Status: events.StatusLive,
		URL: "https://caugo.anhoa.example/" + id, Title: fmt.Sprintf("Phường Cầu Gỗ thông báo lịch tiêm chủng, lần %d", v),
		Summary: "Trạm y tế phường tiêm nhắc cho trẻ từ 18 tháng tuổi vào sáng thứ bảy.", Body: "<p>Trạm y tế phường</p>",
		Language: "vi", Categories: []events.Category{{ID: "y-te", Label: "Y tế"}}, Urgency: 5, Published: at, Updated: at, Accepted: at,
	}
}

// withdrawal is version v of an article, by which it goes.
func withdrawal(id string, v int64) *article.Article {
	a := text(id, v)
	a.Status, a.Body, a.Summary = events.StatusWithdrawn, "", ""
	a.Ever = article.Selections{Categories: []string{"y-te"}, Urgency: 5}
	a.Withdrawal = &events.BulletinWithdrawal{Reason: "Lịch đã đổi.", WithdrawnAt: a.Updated}
	return a
}

// publish does what intake and the router do: it writes the article to the log, and flags the
// portals that it concerns.
func (s *stack) publish(t testing.TB, a *article.Article) streams.Entry {
	t.Helper()
	key := streams.KeyOf(a.Site, a.ID)
	var last uint64
	if e, err := s.articles.Latest(t.Context(), key); err == nil {
		last = e.Seq
	}
	seq, err := s.articles.Put(t.Context(), a, last)
	if err != nil {
		t.Fatal(err)
	}
	e := streams.Entry{Article: a, Key: key, Seq: seq}
	names, err := s.portals.Concerned(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	s.flag(t, e, names...)
	return e
}

// flag flags portals for an article as the router does.
func (s *stack) flag(t testing.TB, e streams.Entry, portals ...string) {
	t.Helper()
	s.up(t, reconcile.FlagsFor(bulletins.Kind, portals, s.portals.Waits, e))
}

func (s *stack) raise(t testing.TB, class string, key streams.Key, seq uint64, portals ...string) {
	t.Helper()
	var flags []reconcile.Flag
	for _, name := range portals {
		flags = append(flags, reconcile.Flag{Class: class, Kind: bulletins.Kind, Target: name, Key: string(key), Seq: seq})
	}
	s.up(t, flags)
}

func (s *stack) up(t testing.TB, flags []reconcile.Flag) {
	t.Helper()
	if err := reconcile.Raise(t.Context(), s.js, flags); err != nil {
		t.Fatal(err)
	}
}

// flags is how many flags are up.
func (s *stack) flags(t testing.TB) uint64 {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func (s *stack) level(t testing.TB) {
	t.Helper()
	loatest.Eventually(t, "all flags lowered", func() bool { return s.flags(t) == 0 })
}

func (s *stack) receipt(t testing.TB, portal, id string) portal.Receipt {
	t.Helper()
	r, _, err := s.receipts.Latest(t.Context(), portal, streams.KeyOf("ward", id))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// change stores a portal anew, with what f does to it.
func (s *stack) change(t testing.TB, name string, f func(*portal.Portal)) {
	t.Helper()
	p, ok := s.portals.Get(name)
	if !ok {
		t.Fatalf("no portal %q", name)
	}
	f(&p)
	if _, err := s.portals.Put(t.Context(), p, "test"); err != nil {
		t.Fatal(err)
	}
}

// pause and resume do what an operator does.
func (s *stack) pause(t testing.TB, name string) {
	t.Helper()
	if err := s.portals.Pause(t.Context(), name, "Lan", "bảo trì"); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) resume(t testing.TB, name string) {
	t.Helper()
	if err := s.portals.Resume(t.Context(), name, "Lan"); err != nil {
		t.Fatal(err)
	}
}

// down waits until a portal is known to fail, and gives its state.
func (s *stack) down(t testing.TB, name string) portal.State {
	t.Helper()
	loatest.Eventually(t, name+" is down", func() bool { return s.portals.States()[name].Down })
	return s.portals.States()[name]
}

// dead gives the dead letters.
func (s *stack) dead(t testing.TB) (letters []streams.DeadLetter) {
	t.Helper()
	d, err := streams.OpenDead(t.Context(), s.js)
	if err != nil {
		t.Fatal(err)
	}
	for l, err := range d.List(t.Context(), bulletins.Kind, "") {
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}

func guid(id string) string { return article.NewGUID("ward", id) }
