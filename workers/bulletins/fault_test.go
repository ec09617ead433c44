package bulletins_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

func TestFaultyAnswers(t *testing.T) {
	t.Parallel()
	elsewhere, _ := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}})
	elsewhereServer := httptest.NewServer(elsewhere.Handler())
	t.Cleanup(elsewhereServer.Close)
	s := stopped(t, loatest.NATS(t))
	e := s.publish(t, text("1", 1))
	for name, c := range map[string]struct {
		fault *receiver.Fault
		want  string // in the error; empty: delivered
	}{
		"redirect":             {receiver.Redirect(elsewhereServer.URL + "/bulletins"), "answered 307 Temporary Redirect"},
		"server error":         {receiver.Status(500, "\n  lỗi cơ sở dữ liệu\nchi tiết"), "answered 500 Internal Server Error: lỗi cơ sở dữ liệu"},
		"unknown status":       {receiver.Status(599, ""), "answered 599"},
		"hangs":                {receiver.Hang(), "no answer within 1s"},
		"hangs, but kept it":   {receiver.Hang().Kept(), "no answer within 1s"},
		"closes at once":       {receiver.Raw(""), "connection closed by"},
		"closes half-way":      {receiver.Raw("HTTP/1.1 200 O"), "connection closed by"},
		"garbage":              {receiver.Raw("\x00\x01\x02 xin chào\r\n\r\n"), "malformed HTTP"},
		"huge headers":         {receiver.Raw("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 1<<20)), "header"},
		"drips, having failed": {receiver.Drip(500, 100*time.Millisecond), "answered 500"},
		"drips, having kept":   {receiver.Drip(200, 100*time.Millisecond), ""},
		"endless failure":      {receiver.Endless(500), "answered 500 Internal Server Error: endless endless"},
		"endless success":      {receiver.Endless(202), ""},
		"created":              {receiver.Status(201, "xin cảm ơn"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			s.receive(t, portal.Portal{Name: target, Timeout: shortTimeout}, receiver.Options{Answer: always(c.fault)})
			began := time.Now()
			err := s.worker.Reconcile(t.Context(), target, []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}})
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			got := s.receipt(t, target, "1")
			if c.want == "" {
				if err != nil || got.Holds.Number != 1 {
					t.Errorf("got %v, receipt %+v", err, got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fmt.Sprintf("portal %q", target)) || len(err.Error()) > 400 {
				t.Errorf("got %v, expected %s", err, c.want)
			}
			if got.Holds.Number != 0 || got.MayHold.Number != 1 || got.LastError == "" || got.Attempts != 1 {
				t.Errorf("receipt %+v", got)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.Posts() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestAttemptThatDidNotArriveLeavesNothingToWithdraw(t *testing.T) {
	t.Parallel()
	nobody := closedAddress(t)
	plain := httptest.NewServer(http.NotFoundHandler()) // speaks no TLS
	t.Cleanup(plain.Close)
	guarded := httptest.NewUnstartedServer(http.NotFoundHandler())
	guarded.Config.ConnState = func(net.Conn, http.ConnState) { t.Error("an address that is not allowed was dialled") }
	guarded.Start()
	t.Cleanup(guarded.Close)
	s := stopped(t, loatest.NATS(t))
	for name, c := range map[string]struct {
		portal portal.Portal
		want   string
	}{
		"nobody listens": {portal.Portal{URL: nobody}, "connection refused"},
		"no TLS":         {portal.Portal{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, "tls"},
		"no such host":   {portal.Portal{URL: "http://cong.khong-co.invalid/"}, "cong.khong-co.invalid"},
		"loopback":       {portal.Portal{URL: guarded.URL, Allow: []netip.Prefix{}}, "not called, check its address and its allow list"},
	} {
		t.Run(name, func(t *testing.T) {
			target, id := strings.ToLower(strings.ReplaceAll(name, " ", "-")), name
			c.portal.Name = target
			s.portal(t, c.portal)
			e := s.publish(t, text(id, 1))
			for range 2 {
				err := s.worker.Reconcile(t.Context(), target, []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, expected %s", err, c.want)
				}
			}
			if got := s.receipt(t, target, id); got.Touched() || got.LastError == "" || got.Attempts != 2 {
				t.Errorf("receipt %+v", got)
			}
			// The portal's address is put right, but there is nothing for it any more.
			r, url := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}})
			p, _ := s.portals.Get(target)
			p.URL, p.Allow, p.Secrets = url, loopback, []portal.Secret{secret}
			s.portal(t, p)
			e = s.publish(t, withdrawal(id, 2))
			if err := s.worker.Reconcile(t.Context(), target, []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}}); !errors.Is(err, reconcile.ErrLevel) || r.Posts() != 0 {
				t.Errorf("got %v, %d posts", err, r.Posts())
			}
		})
	}
}

func TestRefusedArticleIsSetAsideAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: func(_ int, req *http.Request) *receiver.Fault {
		if req.ContentLength > 2000 {
			return receiver.Status(413, "bản tin quá dài")
		}
		return nil
	}})
	long := text("long", 1)
	long.Summary = strings.Repeat("Rất dài. ", 300)
	s.publish(t, long)
	s.publish(t, text("1", 1))
	dead, err := streams.OpenDead(t.Context(), s.js)
	if err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "it is set aside", func() bool { n, _ := dead.Count(t.Context()); return n == 1 })
	for l, err := range dead.List(t.Context(), bulletins.Kind, "") {
		if err != nil || !strings.Contains(l.Reason, `portal "east" answered 413 Request Entity Too Large: bản tin quá dài`) {
			t.Errorf("got %+v, %v", l, err)
		}
	}
	s.level(t)
	if _, ok := r.Get(guid("1")); !ok {
		t.Error("the other article did not arrive")
	}
}

func TestGonePausesThePortalAndKeepsWhatIsDue(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: first(1, receiver.Status(410, ""))})
	s.publish(t, text("1", 1))
	loatest.Eventually(t, "it is paused", func() bool { p, _ := s.portals.Get("east"); return p.Paused != nil })
	if p, _ := s.portals.Get("east"); p.Paused.Why != "answered 410 Gone" || p.Paused.By != "loa" {
		t.Errorf("pause %+v", p.Paused)
	}
	if s.flags(t) != 1 || r.Posts() != 1 {
		t.Errorf("%d flags, %d posts", s.flags(t), r.Posts())
	}
	if err := s.portals.Resume(t.Context(), "east", "test"); err != nil {
		t.Fatal(err)
	}
	s.level(t)
	if _, ok := r.Get(guid("1")); !ok {
		t.Error("not delivered")
	}
}

func TestRetryAfterHoldsThePortalBack(t *testing.T) {
	t.Parallel()
	s := started(t)
	var mu sync.Mutex
	var times []time.Time
	s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: func(n int, _ *http.Request) *receiver.Fault {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
		if n > 1 {
			return nil
		}
		return receiver.Status(429, "", "Retry-After", "1")
	}})
	s.publish(t, text("1", 1))
	s.publish(t, text("2", 1))
	s.level(t)
	mu.Lock()
	defer mu.Unlock()
	if pause := times[1].Sub(times[0]); pause < time.Second {
		t.Errorf("called again after %s", pause)
	}
	loatest.Eventually(t, "the state tells that it is back", func() bool {
		state, ok := s.portals.States()["east"]
		return ok && !state.Down
	})
}

func TestPortalsAddressAndSettingsChangeWhileItIsInUse(t *testing.T) {
	t.Parallel()
	s := started(t)
	for i := range 3 {
		r, url := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}})
		p, _ := s.portals.Get("east")
		p.Name, p.URL, p.Secrets = "east", url, []portal.Secret{secret}
		p.Allow = append(loopback[:1:1], netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i)))
		s.portal(t, p)
		s.publish(t, text(fmt.Sprint(i), 1))
		s.level(t)
		if r.Counts().Kept != 1 {
			t.Errorf("portal %d: %+v", i, r.Counts())
		}
	}
}

// What a portal answers to every bulletin alike says nothing of any article.
func TestAPortalThatFailsWaitsWhileTheOthersAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	s := started(t)
	var repaired atomic.Bool
	failing := map[string]*receiver.Receiver{}
	statuses := []int{302, 308, 401, 403, 404, 408, 500, 503}
	for _, status := range statuses {
		name := fmt.Sprint("p", status)
		failing[name] = s.receive(t, portal.Portal{Name: name},
			receiver.Options{Answer: while(&repaired, receiver.Status(status, "xin thử lại sau", "Location", "/elsewhere"))})
	}
	well := s.receive(t, portal.Portal{Name: "well"}, receiver.Options{})
	const articles = 5
	for i := range articles {
		s.publish(t, text(fmt.Sprint(i), 1))
	}
	for _, status := range statuses {
		name := fmt.Sprint("p", status)
		// So many probes would have made dead letters, had they been counted against an article.
		loatest.Eventually(t, name+" is probed", func() bool { return s.portals.States()[name].Failures > articles*(len(quick.Key)+1) })
		if st := s.portals.States()[name]; !st.Down || !strings.Contains(st.Reason, fmt.Sprint("answered ", status)) || !strings.Contains(st.Reason, "xin thử lại sau") {
			t.Errorf("state %+v", st)
		}
	}
	loatest.Eventually(t, "the flags of the others are up, and no more", func() bool { return s.flags(t) == uint64(articles*len(statuses)) })
	if well.Counts().Kept != articles || len(s.dead(t)) != 0 {
		t.Errorf("the other portal: %+v; dead letters %v", well.Counts(), s.dead(t))
	}
	repaired.Store(true)
	s.level(t)
	for name, r := range failing {
		if r.Counts() != (receiver.Counts{Received: articles, Kept: articles}) {
			t.Errorf("%s: %+v", name, r.Counts())
		}
	}
}

func TestADeadLetterIsDeliveredWhenItIsRetried(t *testing.T) {
	t.Parallel()
	s := started(t)
	var repaired atomic.Bool
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: while(&repaired, receiver.Status(422, "thiếu chuyên mục"))})
	s.publish(t, text("1", 1))
	loatest.Eventually(t, "it is set aside", func() bool { return len(s.dead(t)) == 1 })
	s.level(t)
	letter := s.dead(t)[0]
	// Where counting a failure takes longer than the pause after it, one is not counted.
	if n := r.Posts(); n <= len(quick.Key) || n > 2*len(quick.Key)+1 || !strings.Contains(letter.Reason, "answered 422 Unprocessable Entity: thiếu chuyên mục") {
		t.Errorf("%d posts, reason %q", r.Posts(), letter.Reason)
	}
	repaired.Store(true)
	dead, err := streams.OpenDead(t.Context(), s.js)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Retry(t.Context(), letter.Seq); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "it is delivered", func() bool { return r.Counts().Kept == 1 })
}

func TestRetryAfterHoldsBackAllOfThePortal(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: always(receiver.Status(503, "", "Retry-After", "1800"))})
	well := s.receive(t, portal.Portal{Name: "well"}, receiver.Options{})
	s.publish(t, text("1", 1))
	st := s.down(t, "east")
	if wait := time.Until(st.NextProbe); wait < 25*time.Minute || wait > 35*time.Minute {
		t.Errorf("next probe in %s", wait)
	}
	for i := range 5 {
		s.publish(t, text(fmt.Sprint("more-", i), 1))
	}
	loatest.Eventually(t, "the other portal is level", func() bool { return well.Counts().Kept == 6 })
	s.stop() // what was in its lane has been decided on
	if r.Posts() != 1 || s.flags(t) != 6 {
		t.Errorf("%d posts, %d flags", r.Posts(), s.flags(t))
	}
}
