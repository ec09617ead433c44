package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// readyFor is how long the answer to "ready?" holds: asking makes work in the stores.
	readyFor = time.Second
	// readyTimeout bounds the checks; what does not answer within it is not ready.
	readyTimeout = 5 * time.Second
)

// serveHealth says that the process lives.
func (*Gateway) serveHealth(w http.ResponseWriter, _ *http.Request) { text(w, "ok\n", "no-store") }

func (*Gateway) serveRobots(w http.ResponseWriter, _ *http.Request) {
	text(w, "User-agent: *\nDisallow: /healthz\nDisallow: /readyz\nDisallow: /metrics\n", "public, max-age=86400")
}

func (*Gateway) serveFavicon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.WriteHeader(http.StatusNoContent)
}

func text(w http.ResponseWriter, body, caching string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", caching)
	io.WriteString(w, body)
}

// readiness is what the checks last said.
type readiness struct {
	mu    sync.Mutex // held while the checks run, so that one run serves all who wait
	until time.Time
	ok    bool
	body  []byte
}

// readyAnswer is the body of /readyz.
type readyAnswer struct {
	Ready  bool         `json:"ready"`
	Checks []readyCheck `json:"checks"`
}

type readyCheck struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func (g *Gateway) serveReady(w http.ResponseWriter, r *http.Request) {
	ok, body := g.ready.get(r.Context(), g.o.Ready)
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	send(w, r, status, body)
}

func (s *readiness) get(ctx context.Context, run func(context.Context) []Check) (bool, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.until) {
		return s.ok, s.body
	}
	answer := readyAnswer{Ready: true, Checks: []readyCheck{}}
	if run != nil {
		// The answer is for others too, who may stay when the one who asked goes.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		for _, c := range run(ctx) {
			one := readyCheck{Name: c.Name, Ready: c.Err == nil}
			if c.Err != nil {
				one.Error, answer.Ready = c.Err.Error(), false
			}
			answer.Checks = append(answer.Checks, one)
		}
	}
	s.body, _ = json.Marshal(answer) // strings and booleans
	s.ok, s.until = answer.Ready, time.Now().Add(readyFor)
	return s.ok, s.body
}
