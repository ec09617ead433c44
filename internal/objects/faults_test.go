package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
)

type fault = faultproxy.Fault

func slowDown(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
}

// cutAfter carries the request out and closes the connection instead of answering.
func cutAfter(_ http.ResponseWriter, r *http.Request, pass http.Handler) {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// halfBody closes the connection in the middle of the answer's body.
func halfBody(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	whole := httptest.NewRecorder()
	pass.ServeHTTP(whole, r)
	for name, values := range whole.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(whole.Code)
	w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// corrupt changes a byte of the body on its way to the server.
func corrupt(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	body[len(body)/2] ^= 1
	r.Body = io.NopCloser(bytes.NewReader(body))
	pass.ServeHTTP(w, r)
}

// once is f for one request; the rest pass.
func once(f fault) fault {
	var done sync.Once
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		failing := false
		done.Do(func() { failing = true })
		if failing {
			f(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}
}

// calls are all ways to use an object "a" that exists.
func calls(s *Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"put": func(ctx context.Context) error { _, err := s.Put(ctx, "a", []byte("x"), Meta{}); return err },
		"put if": func(ctx context.Context) error {
			_, err := s.PutIf(ctx, "a", []byte("x"), Meta{}, IfAbsent())
			return err
		},
		"get":    func(ctx context.Context) error { _, err := s.Get(ctx, "a", 1<<20); return err },
		"stat":   func(ctx context.Context) error { _, err := s.Stat(ctx, "a"); return err },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "a") },
		"list": func(ctx context.Context) (err error) {
			for _, err = range s.List(ctx, "a") {
			}
			return err
		},
		"reader": func(ctx context.Context) error {
			r, _, err := s.Reader(ctx, "a")
			if err == nil {
				_, err = io.ReadAll(r)
				r.Close()
			}
			return err
		},
	}
}

func proxied(t *testing.T) (*Store, *faultproxy.Proxy) {
	t.Helper()
	s3 := startS3(t)
	p := faultproxy.Start(t, s3.Endpoint())
	s := open(t, options(s3, p.Addr))
	mustPut(t, s, "a", strings.Repeat("thân bài ", 1000), Meta{})
	return s, p
}

func TestFaultsOfTheServerAreUnavailable(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{
		"503": faultproxy.Status(503), "SlowDown": slowDown, "500": faultproxy.Status(500), "502": faultproxy.Status(502), "504": faultproxy.Status(504),
		"429": faultproxy.Status(429), "507": faultproxy.Status(507), "cut": faultproxy.Cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := proxied(t)
			p.Set(f)
			var wg sync.WaitGroup
			for call, do := range calls(s) {
				wg.Go(func() {
					began := time.Now()
					err := do(t.Context())
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("%s: %v", call, err)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("%s: it took %v to say so", call, took)
					}
				})
			}
			wg.Wait()
			p.Set(nil)
			for _, call := range []string{"put", "get", "list"} {
				if err := calls(s)[call](t.Context()); err != nil {
					t.Errorf("%s afterwards: %v", call, err)
				}
			}
		})
	}
}

func TestUnreachableServerIsUnavailable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	_, err = Open(t.Context(), Options{Endpoint: l.Addr().String(), AccessKey: "loa", SecretKey: "x", Bucket: "loa"})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("open: %v", err)
	}
}

func TestOnePassingFaultIsNotNoticed(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	for _, call := range []string{"put", "get", "stat", "list", "delete"} {
		p.Set(once(slowDown))
		if err := calls(s)[call](t.Context()); err != nil {
			t.Errorf("%s: %v", call, err)
		}
		if n := p.Requests(); n < 2 {
			t.Errorf("%s: %d requests", call, n)
		}
	}
}

// A conditional write whose answer is lost must not be tried again behind the caller's back:
// it would meet its own effect, and be taken for beaten.
func TestLostAnswerToAConditionalWriteIsNotAPrecondition(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	p.Set(once(cutAfter))
	_, err := s.PutIf(t.Context(), "index", []byte("của tôi"), Meta{}, IfAbsent())
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrPrecondition) {
		t.Errorf("error is %v", err)
	}
	if o, err := s.Get(t.Context(), "index", 100); err != nil || string(o.Body) != "của tôi" {
		t.Errorf("%q, %v", o.Body, err)
	}
}

func TestBodyCutShortIsUnavailable(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	p.Set(halfBody)
	for _, call := range []string{"get", "reader"} {
		if err := calls(s)[call](t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestBodyChangedOnItsWayIsRefused(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	before, err := s.Get(t.Context(), "a", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	p.Set(corrupt)
	if _, err := s.Put(t.Context(), "a", []byte("0123456789"), Meta{}); err == nil {
		t.Error("it was stored")
	}
	p.Set(nil)
	if after, err := s.Get(t.Context(), "a", 1<<20); err != nil || !bytes.Equal(after.Body, before.Body) {
		t.Errorf("the object became %q, %v", after.Body, err)
	}
}

func TestCallersContextEndsACall(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	for call, do := range calls(s) {
		arrived, release := make(chan struct{}, 16), make(chan struct{})
		p.Set(func(http.ResponseWriter, *http.Request, http.Handler) { arrived <- struct{}{}; <-release })
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- do(ctx) }()
		<-arrived
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", call, err)
		}
		close(release)
	}
}

// An S3 server that ignores conditions would let an older index replace a newer one.
func TestOpenRefusesAServerThatIgnoresConditions(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"If-None-Match", "If-Match"} {
		s3 := startS3(t)
		p := faultproxy.Start(t, s3.Endpoint())
		writes := 0
		p.Set(func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.Header.Get(header) != "" {
				if writes++; writes > 1 || header == "If-Match" {
					w.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
					return // as if it had written
				}
			}
			pass.ServeHTTP(w, r)
		})
		_, err := Open(t.Context(), options(s3, p.Addr))
		if err == nil || !strings.Contains(err.Error(), "does not suit Loa") || !strings.Contains(err.Error(), header) {
			t.Errorf("without %s: %v", header, err)
		}
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")
	if s := newStore(t); s.transport.Proxy != nil {
		t.Error("the transport has a proxy")
	}
}
