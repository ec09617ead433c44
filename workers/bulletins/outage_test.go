package bulletins_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
)

// host is a machine on which many portals live, each at a path of its own.
type host struct {
	*httptest.Server
	away atomic.Bool   // answers 503
	slow time.Duration // how long an answer takes otherwise

	mu      sync.Mutex
	portals map[string]*guest
}

// guest is what a portal of a host was sent while the host was not away.
type guest struct {
	got       []call
	refused   map[string]bool // the articles of which it was sent something while the host was away
	now, most int             // requests at a time
	first     int             // requests that were under way when the first was answered
}

// call is a bulletin that was accepted.
type call struct {
	at      time.Time
	id      string // of the article
	version int64
	kind    string
}

func newHost(t *testing.T, slow time.Duration) *host {
	h := &host{slow: slow, portals: map[string]*guest{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b events.Bulletin
	err := json.NewDecoder(r.Body).Decode(&b)
	h.mu.Lock()
	g := h.portals[r.URL.Path]
	if g == nil {
		g = &guest{refused: map[string]bool{}}
		h.portals[r.URL.Path] = g
	}
	if err != nil || h.away.Load() {
		g.refused[b.Data.ID] = true
		h.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	g.now++
	g.most = max(g.most, g.now)
	h.mu.Unlock()
	time.Sleep(h.slow)
	h.mu.Lock()
	if len(g.got) == 0 {
		g.first = g.now
	}
	g.now--
	g.got = append(g.got, call{time.Now(), b.Data.ID, b.Data.Version, b.Type})
	h.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// of gives what a portal has accepted.
func (h *host) of(name string) guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.portals["/"+name]
	if g == nil {
		return guest{}
	}
	copied := *g
	copied.got, copied.refused = slices.Clone(g.got), maps.Clone(g.refused)
	return copied
}

// forget begins anew.
func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.portals)
}

// Portals that were away together come back together: each is met by one request first, gets each
// article once as it is by then, the urgent ones before the older; and nobody else waits for it.
func TestPortalsThatComeBackTogetherArePacedAndKeepNobodyWaiting(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	const (
		back, well = 24, 6
		backlog    = 16
		inFlight   = 3
	)
	common, own := newHost(t, 30*time.Millisecond), newHost(t, 0)
	s := stopped(t, loatest.NATS(t))
	var away, others []string
	for i := range back {
		name := fmt.Sprintf("vang-%03d", i)
		away = append(away, name)
		s.portal(t, portal.Portal{Name: name, URL: common.URL + "/" + name, InFlight: inFlight, Secrets: []portal.Secret{secret}})
	}
	for i := range well {
		name := fmt.Sprintf("khoe-%d", i)
		others = append(others, name)
		s.portal(t, portal.Portal{Name: name, URL: own.URL + "/" + name, Secrets: []portal.Secret{secret}})
	}
	s.run(t, 0, quick)

	// Before the outage all have one article, which is withdrawn during it.
	s.publish(t, text("rut-sau", 1))
	s.level(t)
	common.forget()
	common.away.Store(true)
	for i := range backlog {
		s.publish(t, text(fmt.Sprintf("bai-%02d", i), 1))
	}
	for _, name := range away {
		s.down(t, name)
	}
	s.publish(t, text("khong-ai-biet", 1))
	s.publish(t, withdrawal("khong-ai-biet", 2))
	s.publish(t, withdrawal("rut-sau", 2))
	s.publish(t, text("bai-00", 2)) // an update
	urgent := text("khan", 1)
	urgent.Urgency = 1
	s.publish(t, urgent)
	loatest.Eventually(t, "those that are well have everything", func() bool {
		return !slices.ContainsFunc(others, func(name string) bool {
			return len(own.of(name).got) < backlog+len([]string{"bai-00 again", "rut-sau", "rut-sau withdrawn", "khan"})
		})
	})

	common.away.Store(false)
	loatest.Eventually(t, "they catch up", func() bool { return len(common.of(away[0]).got) > 1 })
	s.publish(t, text("giua-chung", 1))
	loatest.Eventually(t, "those that are well have the next article", func() bool {
		return !slices.ContainsFunc(others, func(name string) bool { return !holds(own.of(name).got, "giua-chung") })
	})
	served := time.Now()
	s.level(t)

	late := 0
	for _, name := range away {
		g := common.of(name)
		if g.first != 1 || g.most > inFlight {
			t.Errorf("%s: %d requests before the first was answered, then up to %d at once", name, g.first, g.most)
		}
		seen := map[string]int64{}
		for _, c := range g.got {
			if _, again := seen[c.id]; again {
				t.Errorf("%s: %s was sent twice", name, c.id)
			}
			seen[c.id] = c.version
			if c.at.After(served) {
				late++
			}
		}
		want := map[string]int64{"bai-00": 2, "rut-sau": 2, "khan": 1, "giua-chung": 1}
		for i := range backlog - 1 {
			want[fmt.Sprintf("bai-%02d", i+1)] = 1
		}
		if g.refused["khong-ai-biet"] { // by chance a probe, whose answer does not say that it was not kept
			want["khong-ai-biet"] = 2
		}
		if !maps.Equal(seen, want) {
			t.Errorf("%s has %v, expected %v", name, seen, want)
		}
		// The probe may have been any, and some were at hand when the others were looked for.
		if n := slices.IndexFunc(g.got, func(c call) bool { return c.id == "khan" }); n > backlog/2 {
			t.Errorf("%s: the urgent article was the %dth", name, n+1)
		}
		if n := slices.IndexFunc(g.got, func(c call) bool { return c.kind == events.BulletinWithdrawn }); n > backlog/2 {
			t.Errorf("%s: the withdrawal was the %dth", name, n+1)
		}
	}
	if late == 0 {
		t.Error("those that are well had to wait until all others had caught up")
	}
}

func holds(got []call, id string) bool {
	return slices.ContainsFunc(got, func(c call) bool { return c.id == id })
}

func TestNoPortalIsSentMoreThanItsRate(t *testing.T) {
	t.Parallel()
	const rate, n = 20, 30
	h := newHost(t, 0)
	s := started(t)
	s.portal(t, portal.Portal{Name: "cham", URL: h.URL + "/cham", Rate: rate, Secrets: []portal.Secret{secret}})
	for i := range n {
		s.publish(t, text(fmt.Sprint("bai-", i), 1))
	}
	s.level(t)
	got := h.of("cham").got
	// How long the last waited for its answer is not known; all before are at least as far apart.
	if took, least := got[n-1].at.Sub(got[0].at), (n-2)*time.Second/rate; len(got) != n || took < least {
		t.Errorf("%d bulletins in %s, want %d in no less than %s", len(got), took, n, least)
	}
}
