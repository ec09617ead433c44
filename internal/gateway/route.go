package gateway

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
)

// Routes, as metrics name them.
const (
	routeIndex    = "index"
	routeFeed     = "feed"
	routeOPML     = "opml"
	routeMedia    = "media"
	routeArticle  = "article"
	routeHealth   = "healthz"
	routeReady    = "readyz"
	routeMetrics  = "metrics"
	routeStatic   = "static" // robots.txt, favicon.ico
	routeUnknown  = "unknown"
	allowedMethod = "GET, HEAD"
)

// handler answers a request. As a function of the gateway, not a value of one, it costs no memory.
type handler func(*Gateway, http.ResponseWriter, *http.Request)

// route finds who answers a path. It is decided by the path alone, as it was sent: with nothing
// cleaned or decoded, there are no two ways to spell one. Some aliases of feeds are redirected.
func (g *Gateway) route(r *http.Request) (name string, handle handler) {
	path := r.URL.Path
	if r.URL.RawPath != "" { // a character was encoded that need not be
		return routeUnknown, (*Gateway).notFound
	}
	switch path {
	case "/":
		return routeIndex, (*Gateway).serveIndex
	case "/healthz":
		return routeHealth, (*Gateway).serveHealth
	case "/readyz":
		return routeReady, (*Gateway).serveReady
	case "/metrics":
		if g.scrape != nil {
			return routeMetrics, (*Gateway).serveMetrics
		}
	case "/robots.txt":
		return routeStatic, (*Gateway).serveRobots
	case "/favicon.ico":
		return routeStatic, (*Gateway).serveFavicon
	}
	switch {
	case strings.HasPrefix(path, feedPrefix):
		return routeFeed, (*Gateway).serveFeed
	case strings.HasPrefix(path, opmlPrefix):
		return routeOPML, (*Gateway).serveOPML
	case strings.HasPrefix(path, mediaPrefix):
		return routeMedia, (*Gateway).serveMedia
	case strings.HasPrefix(path, articlePrefix):
		return routeArticle, (*Gateway).serveArticle
	}
	if _, ok := rootAliases[path]; ok {
		return routeFeed, (*Gateway).serveRoot
	}
	return routeUnknown, (*Gateway).notFound
}

// mounted is who else answers the path: of those that fit, the one with the longest prefix.
func (g *Gateway) mounted(path string) (best *Mount) {
	for i := range g.o.Mounts {
		m := &g.o.Mounts[i]
		fits := path == m.Prefix || strings.HasSuffix(m.Prefix, "/") && strings.HasPrefix(path, m.Prefix)
		if fits && (best == nil || len(m.Prefix) > len(best.Prefix)) {
			best = m
		}
	}
	return best
}

// serve answers one request, whatever happens while doing so.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	rec := g.recorders.Get().(*recorder)
	*rec = recorder{ResponseWriter: w, began: time.Now()}
	route, handle := g.route(r)
	m := g.mounted(r.URL.Path)
	if m != nil {
		route = m.Route
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			g.o.Log.Error().Str("route", route).Interface("panic", p).Bytes("stack", debug.Stack()).Msg("request panicked")
			if rec.status != 0 {
				panic(http.ErrAbortHandler) // what was sent must not be taken for whole
			}
			g.problem(rec, r, http.StatusInternalServerError, "Something went wrong here.")
		}
		g.metrics.observe(route, rec.status, time.Since(rec.began))
		g.recorders.Put(rec)
	}()
	w.Header()["X-Content-Type-Options"] = nosniff
	if m != nil {
		m.Handler.ServeHTTP(rec, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		g.otherMethod(rec, r)
		return
	}
	defer g.underWay.Add(-1)
	if g.underWay.Add(1) > maxUnderWay && route != routeHealth && route != routeReady {
		w.Header().Set("Retry-After", retryBusy)
		g.problem(rec, r, http.StatusServiceUnavailable, "There are too many requests at the moment. Please try again soon.")
		return
	}
	handle(g, rec, r)
}

func (g *Gateway) otherMethod(w http.ResponseWriter, r *http.Request) {
	if isPreflight(r) {
		g.preflight(w, r)
		return
	}
	w.Header().Set("Allow", allowedMethod)
	g.problem(w, r, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
}

var nosniff = []string{"nosniff"}

func (g *Gateway) notFound(w http.ResponseWriter, r *http.Request) {
	g.problem(w, r, http.StatusNotFound, "There is nothing at this address.")
}

const unavailable = "This is not available at the moment. Please try again soon."

// fail answers a request that a store could not serve.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody is there any more
	case errors.Is(err, objects.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		g.o.Log.Warn().Err(err).Msg(what + " unavailable")
		w.Header().Set("Retry-After", retryAfter)
		g.problem(w, r, http.StatusServiceUnavailable, unavailable)
	default:
		g.o.Log.Error().Err(err).Msg(what + " not served")
		g.problem(w, r, http.StatusInternalServerError, "Something went wrong here.")
	}
}

// failLog answers a request that the log could not serve. NATS has no one error for that, and
// every one of them may pass.
func (g *Gateway) failLog(w http.ResponseWriter, r *http.Request, what string, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there any more
	}
	g.o.Log.Warn().Err(err).Msg(what + " unavailable")
	w.Header().Set("Retry-After", retryAfter)
	g.problem(w, r, http.StatusServiceUnavailable, unavailable)
}

// recorder remembers when a request came, and its answer's status.
type recorder struct {
	http.ResponseWriter
	began  time.Time
	status int // 0: nothing was sent
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// now is the time, as far as one request is concerned: asking for it costs as much as finding a feed.
func now(w http.ResponseWriter) time.Time {
	if rec, ok := w.(*recorder); ok {
		return rec.began
	}
	return time.Now()
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
