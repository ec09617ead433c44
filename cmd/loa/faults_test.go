package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/sample"
)

// s3Proxy stands before a real S3 server, and can be away in two ways.
type s3Proxy struct {
	url    string
	mode   atomic.Int32
	failed atomic.Int32 // requests that were not passed on
}

const (
	passing int32 = iota
	unavailable
	cut
)

func newS3Proxy(t *testing.T, endpoint string) *s3Proxy {
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: endpoint})
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &s3Proxy{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mode := p.mode.Load(); mode {
		case unavailable:
			p.failed.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		case cut:
			p.failed.Add(1)
			panic(http.ErrAbortHandler)
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

// externalS3 starts an S3 server that is not Loa's own, with a proxy before it. The store goes
// past the proxy.
func externalS3(t *testing.T, c *city) (*s3Proxy, *objects.Store) {
	t.Helper()
	s3, err := embedded.StartS3(t.Context(), embedded.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s3.Shutdown)
	login := s3.Credentials()
	store, err := objects.Open(t.Context(), objects.Options{Endpoint: s3.Endpoint(), Bucket: "loa", AccessKey: login.Name, SecretKey: login.Secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	c.environment = append(c.environment, "LOA_S3_ACCESS_KEY="+login.Name, "LOA_S3_SECRET_KEY="+login.Secret.Reveal())
	c.secrets = append(c.secrets, login.Secret.Reveal())
	return newS3Proxy(t, s3.Endpoint()), store
}

// While the object store is away, events wait, and readers still get the feeds; afterwards all
// is as if nothing had been.
func TestNothingIsLostWhileS3IsAway(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newCity(t, &partner{name: "tat-ca"})
	proxy, store := externalS3(t, c)
	c.serve("--s3", proxy.url)
	s, said := c.session(), newLedger()

	events := story(rng, 120, c.pictures)
	first, rest := events[:len(events)/4], events[len(events)/4:]
	cms := c.cms()
	publish(t, cms, first, 0, said)
	c.level(s)
	feed := c.gateway + "/feeds/" + sample.City + "--all/feed.atom"
	if _, err := fetch(t.Context(), feed); err != nil {
		t.Fatal(err)
	}
	unwatch := watchPictures(t, store, sample.City+"--all", sample.BenSong+"--all")

	publishing := make(chan struct{})
	go func() {
		defer close(publishing)
		publish(t, cms, rest, 20*time.Millisecond, said)
	}()
	for _, mode := range []int32{unavailable, cut} {
		before, began := proxy.failed.Load(), time.Now()
		proxy.mode.Store(mode)
		waitFor(t, "Loa to ask for the object store in vain", func() bool {
			return proxy.failed.Load() > before+20 && time.Since(began) > 2*time.Second
		})
		if _, err := fetch(t.Context(), feed); err != nil {
			t.Errorf("while the object store is away: %v", err)
		}
		if _, err := fetch(t.Context(), c.gateway+"/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("ready without the object store: %v", err)
		}
		proxy.mode.Store(passing)
		waitFor(t, "Loa to be ready again", func() bool {
			_, err := fetch(t.Context(), c.gateway+"/readyz")
			return err == nil
		})
	}
	<-publishing
	c.level(s)
	unwatch()
	want := said.wanted()
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
	copiesAgree(t, s.log, store)
}

// watchPictures reads feeds past Loa, as a CDN before the bucket does, and checks that every
// picture they show is there, until the test calls the function returned.
func watchPictures(t *testing.T, store *objects.Store, ids ...string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		there := map[string]bool{}
		for ctx.Err() == nil {
			for _, id := range ids {
				o, err := store.Get(ctx, "feeds/"+id+"/feed.json", fetchMost)
				if err != nil {
					continue
				}
				for _, key := range pictureLinks("", o.Body) {
					if there[key] {
						continue
					}
					if _, err := store.Stat(ctx, key[1:]); err != nil && ctx.Err() == nil {
						t.Errorf("feed %s shows %s: %v", id, key, err)
					}
					there[key] = true
				}
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		t.Logf("feeds showed %d files of pictures, each of them there", len(there))
	}()
	return func() { cancel(); <-done }
}

// waitFor waits for what must happen.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	for ; !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
	t.Logf("waited %.1f s for %s", time.Since(began).Seconds(), what)
}

// A portal that hangs holds nobody up, neither the other portals nor the end of Loa, and gets
// everything once it answers again.
func TestHangingPortal(t *testing.T) {
	t.Parallel()
	well, hanging := &partner{name: "khoe"}, &partner{name: "treo", timeout: "2s"}
	hanging.fault.Store(receiver.Hang())
	c := newCity(t, well, hanging)
	c.serve()
	s, said := c.session(), newLedger()
	publish(t, c.cms(), story(rand.New(rand.NewPCG(1, 0)), 60, c.pictures), 0, said)
	want := said.wanted()
	waitFor(t, "the portal that is well to get everything", func() bool {
		for _, w := range want {
			h, ok := well.receiver.Get(w.guid)
			if w.shown != nil && (!ok || h.Bulletin.Data.Version != w.number) {
				return false
			}
		}
		return true
	})
	waitFor(t, "the hanging portal to be called down", func() bool {
		_, out, _ := c.command("portals", "ls", "--data", c.data)
		return strings.Contains(out, "down") && strings.Contains(out, "no answer within 2s")
	})
	if n := len(hanging.history()); n > 0 {
		t.Errorf("the hanging portal took %d bulletins", n)
	}
	s.close()
	c.loa.terminate(t, grace)
	c.serve()
	hanging.fault.Store(nil)
	s = c.session()
	c.level(s)
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
}

// A picture that does not come in time keeps Loa from ending no more than a portal does, and
// the article gets it afterwards.
func TestTerminateWhileAPictureIsFetched(t *testing.T) {
	t.Parallel()
	c := newCity(t, &partner{name: "tat-ca"})
	var hanging atomic.Bool
	hanging.Store(true)
	asked := make(chan struct{}, 10)
	pictures := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if hanging.Load() {
			<-r.Context().Done()
			return
		}
		servePhoto(w, r)
	}))
	t.Cleanup(pictures.Close)
	c.serve()
	a := sample.Articles(c.pictures)[0]
	a.Images = []events.Image{{URL: pictures.URL + "/photo/1.jpg", Role: events.RoleLead}}
	said := newLedger()
	publish(t, c.cms(), []events.Event{events.NewPublished(source, a)}, 0, said)
	<-asked
	c.loa.terminate(t, grace)
	hanging.Store(false)
	c.serve()
	s := c.session()
	c.level(s)
	want := said.wanted()
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
	if h := c.partners[0].receiver.Held(); len(h) != 1 || h[0].Bulletin.Data.Image == nil {
		t.Errorf("the portal holds %+v, want the article with its picture", h)
	}
}

// SIGTERM in the middle of everything: Loa ends in order within the grace period, and what it
// had not done is done by the next one.
func TestTerminateUnderLoad(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newCity(t, somePartners()...)
	c.serve()
	said := newLedger()
	cms, events := c.cms(), story(rng, 150, c.pictures)
	published := make(chan struct{})
	go func() {
		defer close(published)
		publish(t, cms, events, 5*time.Millisecond, said)
	}()
	for range 3 {
		time.Sleep(time.Duration(rng.IntN(700)) * time.Millisecond) // any moment
		c.loa.terminate(t, grace)
		c.serve()
	}
	<-published
	s := c.session()
	c.level(s)
	want := said.wanted()
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
}

// Loa as it is with nothing to do.
func TestStartAndIdle(t *testing.T) {
	c := newCity(t, somePartners()...)
	var took []time.Duration
	for range 3 {
		c.serve()
		took = append(took, c.loa.took)
		c.loa.terminate(t, grace)
	}
	c.serve()
	took = append(took, c.loa.took)
	s := c.session()
	c.level(s)
	slices.Sort(took)
	t.Logf("ready after %s to %s; %.0f MiB in use", took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), c.loa.memory(t))
	if mib := c.loa.memory(t); mib > 100 && !raceDetector() {
		t.Errorf("idle, it has %.0f MiB in use, want at most 100", mib)
	}
}

// raceDetector reports whether the test runs under the race detector, which takes memory.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
