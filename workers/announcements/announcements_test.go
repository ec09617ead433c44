package announcements_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/workers/announcements"
)

// pings is a hub that writes down what it is told, and fails as often as it is asked to.
type pings struct {
	mu     sync.Mutex
	topics []string
	fail   int
}

func (p *pings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail > 0 {
		p.fail--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if r.PostFormValue("hub.mode") == "publish" && r.PostFormValue("hub.url") == r.PostFormValue("hub.topic") {
		p.topics = append(p.topics, r.PostFormValue("hub.topic"))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *pings) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.topics)
}

func TestAChangedFeedIsAnnouncedOnceWhateverFails(t *testing.T) {
	js, store := loatest.NATS(t), loatest.Objects(t)
	p := &pings{fail: 2}
	srv := httptest.NewServer(p)
	defer srv.Close()
	h, err := announcements.New(t.Context(), announcements.Options{JS: js, Objects: store, Hubs: []string{srv.URL}, PublicURL: "https://loa.example/",
		Client: outbound.New(outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})})
	if err != nil {
		t.Fatal(err)
	}
	e, err := reconcile.New(t.Context(), js, reconcile.Options{Kind: announcements.Kind, Reconciler: h, Limits: h.Limits, Log: zerolog.Nop(),
		Pauses: reconcile.Pauses{ProbeFirst: 10 * time.Millisecond, ProbeMost: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { cancel(); <-done }()

	change := func(body string) {
		t.Helper()
		for _, doc := range []string{"feed.rss", "feed.atom", "feed.json"} {
			if _, err := store.Put(t.Context(), "feeds/phuong/"+doc, []byte(body+doc), objects.Meta{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 { // a feed is flagged more often than it changes
			if err := h.Changed(t.Context(), "phuong"); err != nil {
				t.Fatal(err)
			}
		}
	}
	announced := func(times int) func() bool {
		return func() bool {
			left, err := reconcile.CountWaiting(t.Context(), js, announcements.Kind, nil)
			return err == nil && len(left) == 0 && len(p.seen()) >= 3*times
		}
	}
	change("one")
	loatest.Eventually(t, "the hub is told of the feed", announced(1))
	change("two")
	loatest.Eventually(t, "the hub is told of the change", announced(2))
	want := []string{"https://loa.example/feeds/phuong/feed.rss", "https://loa.example/feeds/phuong/feed.atom", "https://loa.example/feeds/phuong/feed.json"}
	if got := p.seen(); !slices.Equal(got, append(want, want...)) {
		t.Errorf("announced: %q", got)
	}
}

func TestAHubThatIsNoLongerConfiguredIsForgotten(t *testing.T) {
	h, err := announcements.New(t.Context(), announcements.Options{JS: loatest.NATS(t), Objects: loatest.Objects(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Reconcile(t.Context(), "h--unknown", []reconcile.Flag{{Key: "phuong"}}); err != nil {
		t.Error(err)
	}
}
