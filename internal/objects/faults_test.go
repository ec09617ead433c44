package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fault is what the proxy does to a request in place of passing it on; nil passes it on.
type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// proxy is a real HTTP proxy between the store and the server, which can fail.
type proxy struct {
	addr     string
	fault    atomic.Pointer[fault]
	requests atomic.Int64 // since the last set
}

func (p *proxy) set(f fault) {
	p.requests.Store(0)
	if f == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&f)
}

func startProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: endpoint})
	direct := pass.Director
	pass.Director = func(r *http.Request) {
		host := r.Host // it is signed
		direct(r)
		r.Host = host
	}
	pass.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	p := &proxy{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if f := p.fault.Load(); f != nil {
			(*f)(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.addr = srv.Listener.Addr().String()
	return p
}

func status(code int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(code) }
}

func slowDown(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
}

// cut closes the connection without an answer.
func cut(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

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

func proxied(t *testing.T) (*Store, *proxy) {
	t.Helper()
	s3 := startS3(t)
	p := startProxy(t, s3.Endpoint())
	s := open(t, options(s3, p.addr))
	mustPut(t, s, "a", strings.Repeat("thân bài ", 1000), Meta{})
	return s, p
}

func TestFaultsOfTheServerAreUnavailable(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{
		"503": status(503), "SlowDown": slowDown, "500": status(500), "502": status(502), "504": status(504),
		"429": status(429), "507": status(507), "cut": cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := proxied(t)
			p.set(f)
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
			p.set(nil)
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
		p.set(once(slowDown))
		if err := calls(s)[call](t.Context()); err != nil {
			t.Errorf("%s: %v", call, err)
		}
		if n := p.requests.Load(); n < 2 {
			t.Errorf("%s: %d requests", call, n)
		}
	}
}

// A conditional write whose answer is lost must not be tried again behind the caller's back:
// it would meet its own effect, and be taken for beaten.
func TestLostAnswerToAConditionalWriteIsNotAPrecondition(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	p.set(once(cutAfter))
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
	p.set(halfBody)
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
	p.set(corrupt)
	if _, err := s.Put(t.Context(), "a", []byte("0123456789"), Meta{}); err == nil {
		t.Error("it was stored")
	}
	p.set(nil)
	if after, err := s.Get(t.Context(), "a", 1<<20); err != nil || !bytes.Equal(after.Body, before.Body) {
		t.Errorf("the object became %q, %v", after.Body, err)
	}
}

func TestCallersContextEndsACall(t *testing.T) {
	t.Parallel()
	s, p := proxied(t)
	for call, do := range calls(s) {
		arrived, release := make(chan struct{}, 16), make(chan struct{})
		p.set(func(http.ResponseWriter, *http.Request, http.Handler) { arrived <- struct{}{}; <-release })
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
		p := startProxy(t, s3.Endpoint())
		writes := 0
		p.set(func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.Header.Get(header) != "" {
				if writes++; writes > 1 || header == "If-Match" {
					w.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
					return // as if it had written
				}
			}
			pass.ServeHTTP(w, r)
		})
		_, err := Open(t.Context(), options(s3, p.addr))
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
