// Package faultproxy is real proxies that fail when they are told to. Tests put them before the
// server whose faults they are about: a [Proxy] for HTTP, before S3 as a rule, a [Link] for any
// connection.
package faultproxy

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Fault is what the proxy does to a request in the place of passing it on.
type Fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// Status answers with a status.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(code) }
}

// Cut closes the connection without an answer.
func Cut(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// Proxy is between a client and a server.
type Proxy struct {
	// Addr is the proxy's host:port.
	Addr string

	fault    atomic.Pointer[Fault]
	requests atomic.Int64
}

// Start starts a proxy before the server at endpoint, a host:port. It ends with the test.
func Start(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: endpoint})
			r.Out.Host = r.In.Host // S3 requests sign it
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &Proxy{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if f := p.fault.Load(); f != nil {
			(*f)(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.Addr = srv.Listener.Addr().String()
	return p
}

// Set has f done to every request from now on; nil passes them on again. It sets the count of
// requests to zero.
func (p *Proxy) Set(f Fault) {
	p.requests.Store(0)
	if f == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&f)
}

// Requests is how many there have been since the last Set.
func (p *Proxy) Requests() int { return int(p.requests.Load()) }
