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

// route finds who answers a path. It is decided by the path alone, as it was sent: with nothing
// cleaned or decoded, there are no two ways to spell one. Some aliases of feeds are redirected.
func (g *Gateway) route(r *http.Request) (name string, handle http.HandlerFunc) {
	path := r.URL.Path
	if m := g.mounted(path); m != nil {
		return m.Route, m.Handler.ServeHTTP
	}
	if r.URL.RawPath != "" { // a character was encoded that need not be
		return routeUnknown, g.notFound
	}
	switch path {
	case "/":
		return routeIndex, g.serveIndex
	case "/healthz":
		return routeHealth, serveHealth
	case "/readyz":
		return routeReady, g.serveReady
	case "/metrics":
		if g.scrape != nil {
			return routeMetrics, g.scrape.ServeHTTP
		}
	case "/robots.txt":
		return routeStatic, serveRobots
	case "/favicon.ico":
		return routeStatic, serveFavicon
	}
	switch {
	case strings.HasPrefix(path, feedPrefix):
		return routeFeed, g.serveFeed
	case strings.HasPrefix(path, opmlPrefix):
		return routeOPML, g.serveOPML
	case strings.HasPrefix(path, mediaPrefix):
		return routeMedia, g.serveMedia
	case strings.HasPrefix(path, articlePrefix):
		return routeArticle, g.serveArticle
	}
	if _, ok := rootAliases[path]; ok {
		return routeFeed, g.serveRoot
	}
	return routeUnknown, g.notFound
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
	began := time.Now()
	route, handle := g.route(r)
	rec := &recorder{ResponseWriter: w}
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
		g.metrics.observe(route, rec.status, time.Since(began))
	}()
	w.Header()["X-Content-Type-Options"] = nosniff
	if g.mounted(r.URL.Path) == nil {
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
	}
	handle(rec, r)
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

// recorder remembers an answer's status.
type recorder struct {
	http.ResponseWriter
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

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
