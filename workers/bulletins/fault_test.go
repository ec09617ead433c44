package bulletins_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

// attempt sends article "1" to a portal that meets one fault, by a single call to the worker.
func attempt(t *testing.T, f *receiver.Fault) (s *stack, r *receiver.Receiver, err error) {
	t.Helper()
	s = stopped(t, loatest.NATS(t))
	r = s.receive(t, portal.Portal{Name: "east", Timeout: time.Second}, receiver.Options{Answer: always(f)})
	e := s.publish(t, text("1", 1))
	err = s.worker.Reconcile(t.Context(), "east", []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}})
	return s, r, err
}

func TestFaultyAnswers(t *testing.T) {
	t.Parallel()
	elsewhere, _ := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}})
	elsewhereServer := httptest.NewServer(elsewhere.Handler())
	t.Cleanup(elsewhereServer.Close)
	for name, c := range map[string]struct {
		fault *receiver.Fault
		want  string // in the error; empty: delivered
	}{
		"redirect":             {receiver.Redirect(elsewhereServer.URL + "/bulletins"), "answered 307 Temporary Redirect"},
		"server error":         {receiver.Status(500, "\n  lỗi cơ sở dữ liệu\nchi tiết"), "answered 500 Internal Server Error: lỗi cơ sở dữ liệu"},
		"unknown status":       {receiver.Status(599, ""), "answered 599"},
		"hangs":                {receiver.Hang(), "no answer within 1s"},
		"hangs, but kept it":   {receiver.Hang().Kept(), "no answer within 1s"},
		"closes at once":       {receiver.Raw(""), "EOF"},
		"closes half-way":      {receiver.Raw("HTTP/1.1 200 O"), "EOF"},
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
			began := time.Now()
			s, _, err := attempt(t, c.fault)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			got := s.receipt(t, "east", "1")
			if c.want == "" {
				if err != nil || got.Holds.Number != 1 {
					t.Errorf("got %v, receipt %+v", err, got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `portal "east"`) || len(err.Error()) > 400 {
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

func TestWithdrawalIsSentWhereTheArticleMayHaveArrived(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east", Timeout: time.Second}, receiver.Options{Answer: first(1, receiver.Hang().Kept())})
	s.publish(t, text("1", 1))
	loatest.Eventually(t, "the portal has it", func() bool { return r.Counts().Kept == 1 })
	s.publish(t, withdrawal("1", 2))
	s.level(t)
	if h, _ := r.Get(guid("1")); h.Bulletin.Data.Status != events.StatusWithdrawn {
		t.Errorf("the portal still shows %+v", h.Bulletin.Data)
	}
}

func TestAttemptThatDidNotArriveLeavesNothingToWithdraw(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String() + "/"
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler()) // speaks no TLS
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct {
		portal portal.Portal
		want   string
	}{
		"nobody listens": {portal.Portal{URL: nobody}, "connection refused"},
		"no TLS":         {portal.Portal{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, "tls"},
		"no such host":   {portal.Portal{URL: "http://cong.khong-co.invalid/"}, "cong.khong-co.invalid"},
		"loopback":       {portal.Portal{URL: plain.URL, Allow: []netip.Prefix{}}, "not called, check its address and its allow list"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stopped(t, loatest.NATS(t))
			c.portal.Name = "east"
			s.portal(t, c.portal)
			e := s.publish(t, text("1", 1))
			for range 2 {
				err := s.worker.Reconcile(t.Context(), "east", []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, expected %s", err, c.want)
				}
			}
			if got := s.receipt(t, "east", "1"); got.Touched() || got.LastError == "" || got.Attempts != 2 {
				t.Errorf("receipt %+v", got)
			}
			// The portal's address is put right, but there is nothing for it any more.
			r, url := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}})
			p, _ := s.portals.Get("east")
			p.URL, p.Allow, p.Secrets = url, loopback, []portal.Secret{secret}
			s.portal(t, p)
			e = s.publish(t, withdrawal("1", 2))
			if err := s.worker.Reconcile(t.Context(), "east", []reconcile.Flag{{Key: string(e.Key), Seq: e.Seq}}); err != nil || r.Posts() != 0 {
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
