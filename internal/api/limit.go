package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// window is the time in which a caller may ask all at once for what its rate allows in that
	// time; a quota of less than one request has a longer one.
	window = 10 * time.Second
	// maxLimiters bounds the callers whose rates are counted, at some 200 bytes each. Of those
	// beyond, all share one.
	maxLimiters = 50_000
)

// limits counts the requests of each caller.
type limits struct {
	mu sync.Mutex
	by map[string]*limiter
	// swept is when those were removed whose quota was whole again.
	swept time.Time
}

func newLimits() *limits { return &limits{by: map[string]*limiter{}} }

// limiter is one caller's: a bucket of tokens that fills with its rate.
type limiter struct {
	*rate.Limiter
	rate   float64
	quota  int
	window time.Duration
}

// of is the limiter of a caller.
func (l *limits) of(id string, perSecond float64) *limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one := l.by[id]; one != nil {
		return one
	}
	if now := time.Now(); len(l.by) >= maxLimiters && now.Sub(l.swept) > time.Second {
		l.swept = now
		for id, one := range l.by {
			if one.TokensAt(now) >= float64(one.quota) { // as good as new
				delete(l.by, id)
			}
		}
	}
	if len(l.by) >= maxLimiters {
		id = "others"
		if one := l.by[id]; one != nil {
			return one
		}
	}
	quota := max(1, int(math.Ceil(perSecond*window.Seconds())))
	one := &limiter{rate.NewLimiter(rate.Limit(perSecond), quota), perSecond, quota, time.Duration(float64(quota) / perSecond * float64(time.Second))}
	l.by[id] = one
	return one
}

// allow takes one request from the quota, and says in headers what is left of it
// (draft-ietf-httpapi-ratelimit-headers-10).
func (l *limiter) allow(h http.Header) bool {
	ok := l.Allow()
	left := max(l.Tokens(), 0)
	h.Set("RateLimit-Policy", fmt.Sprintf(`"requests";q=%d;w=%d`, l.quota, seconds(l.window)))
	h.Set("RateLimit", fmt.Sprintf(`"requests";r=%d;t=%d`, int(left), seconds(l.after(float64(l.quota)-left))))
	if !ok {
		h.Set("Retry-After", strconv.Itoa(max(1, seconds(l.after(1-left)))))
	}
	return ok
}

// wait takes one request from the quota as soon as there is one.
func (l *limiter) wait(ctx context.Context) error { return l.Wait(ctx) }

// after is how long that many tokens take.
func (l *limiter) after(tokens float64) time.Duration {
	return time.Duration(max(tokens, 0) / l.rate * float64(time.Second))
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// Bounds of those who wait for changes, each of whom holds a connection and some 20 KiB.
const (
	maxWaiting         = 1000
	maxWaitingKey      = 16
	maxWaitingStranger = 4
)

// waiting counts those who wait.
type waiting struct {
	metrics *metrics
	mu      sync.Mutex
	by      map[string]int
	all     int
}

func newWaiting(m *metrics) *waiting { return &waiting{metrics: m, by: map[string]int{}} }

// enter lets a caller wait, and gives what ends it; nil: there are too many.
func (w *waiting) enter(who caller) (leave func()) {
	most := maxWaitingStranger
	if who.key != "" {
		most = maxWaitingKey
	}
	id := who.id()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxWaiting || w.by[id] >= most {
		w.metrics.refused("waiting")
		return nil
	}
	w.all++
	w.by[id]++
	w.metrics.waiting.Set(float64(w.all))
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.by[id]--; w.by[id] == 0 {
			delete(w.by, id)
		}
		w.metrics.waiting.Set(float64(w.all))
	}
}
