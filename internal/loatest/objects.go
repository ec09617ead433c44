package loatest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/objects"
)

// Objects starts an embedded S3 server in a directory of the test's own, and opens a bucket.
func Objects(t testing.TB) *objects.Store {
	t.Helper()
	s3 := startS3(t)
	return openBucket(t, s3, s3.Endpoint())
}

// ProxiedObjects is [Objects] behind a proxy that can fail.
func ProxiedObjects(t testing.TB) (*objects.Store, *Proxy) {
	t.Helper()
	s3 := startS3(t)
	p := newProxy(t, s3.Endpoint())
	return openBucket(t, s3, p.server.Listener.Addr().String()), p
}

func startS3(t testing.TB) *embedded.S3 {
	t.Helper()
	s3, err := embedded.StartS3(t.Context(), embedded.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s3.Shutdown)
	return s3
}

func openBucket(t testing.TB, s3 *embedded.S3, endpoint string) *objects.Store {
	t.Helper()
	login := s3.Credentials()
	store, err := objects.Open(t.Context(), objects.Options{
		Endpoint: endpoint, AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// Proxy is a real HTTP proxy before the S3 server.
type Proxy struct {
	server *httptest.Server
	status atomic.Int64
	failed atomic.Int64
}

func newProxy(t testing.TB, endpoint string) *Proxy {
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: endpoint})
	direct := pass.Director
	pass.Director = func(r *http.Request) {
		host := r.Host // it is signed
		direct(r)
		r.Host = host
	}
	pass.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	p := &Proxy{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := p.status.Load(); code != 0 {
			p.failed.Add(1)
			w.WriteHeader(int(code))
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	return p
}

// Fail answers every request with the status, and passes none on, until [Proxy.Pass].
func (p *Proxy) Fail(status int) { p.status.Store(int64(status)) }

// Pass passes requests on again.
func (p *Proxy) Pass() { p.status.Store(0) }

// Failed is how many requests were answered with a failure.
func (p *Proxy) Failed() int64 { return p.failed.Load() }
