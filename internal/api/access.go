package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/origin"
)

// caller is who asks, and what they may see.
type caller struct {
	key     string // the key's id; empty: a stranger
	address string // a stranger's
	sites   []string
	full    bool // whole articles, not only summaries
	rate    float64
	limiter *limiter
}

type callerKey struct{}

func callerOf(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) }

// covers reports whether the caller may see the site's articles.
func (c caller) covers(site string) bool { return c.sites == nil || slices.Contains(c.sites, site) }

// id names the caller in limits.
func (c caller) id() string {
	if c.key != "" {
		return "key " + c.key
	}
	return c.address
}

// admit finds out who asks, and counts the request; else it answers.
func (a *API) admit(w http.ResponseWriter, r *http.Request) (caller, bool) {
	w.Header().Add("Vary", "Authorization")
	who, err := a.identify(r)
	if errors.Is(err, keys.ErrUnavailable) {
		w.Header().Set("Retry-After", retryAfter)
		problem(w, http.StatusServiceUnavailable, "Keys cannot be checked at the moment. Please try again soon.")
		return caller{}, false
	}
	if err != nil { // whoever guesses keys is counted as the stranger that he is
		who = caller{address: origin.Address(r, a.o.Proxies), rate: a.o.PublicRate}
	}
	who.limiter = a.limits.of(who.id(), who.rate)
	if !who.limiter.allow(w.Header()) {
		a.metrics.refused("rate")
		problem(w, http.StatusTooManyRequests, "This is more often than agreed. Retry-After says when to try again.")
		return caller{}, false
	}
	if err != nil {
		a.metrics.refused("key")
		challenge := `Bearer realm="Loa"`
		detail := "A key is needed: Authorization: Bearer loa_…"
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
			detail = "This key is not valid."
		}
		w.Header().Set("WWW-Authenticate", challenge)
		problem(w, http.StatusUnauthorized, detail)
		return caller{}, false
	}
	return who, true
}

var errNoKey = errors.New("a key is needed")

// identify tells who asks. A key that is none is refused, even where strangers are let in: they
// would take what they see for all there is.
func (a *API) identify(r *http.Request) (caller, error) {
	auth, given := r.Header["Authorization"]
	if !given {
		if a.o.Public == PublicNone {
			return caller{}, errNoKey
		}
		return caller{address: origin.Address(r, a.o.Proxies), full: a.o.Public == PublicFull, rate: a.o.PublicRate}, nil
	}
	scheme, text, _ := strings.Cut(auth[0], " ")
	if len(auth) != 1 || !strings.EqualFold(scheme, "Bearer") {
		text = ""
	}
	k, err := a.o.Keys.Verify(strings.TrimSpace(text), keys.KindPartner)
	if err != nil {
		return caller{}, err
	}
	return caller{key: k.ID, sites: a.scope(k), full: k.Content == keys.ContentFull, rate: cmp.Or(k.Rate, a.o.Rate)}, nil
}

// scope is the sites that a key covers; nil: all. What a key allows never changes, nor do the sites.
func (a *API) scope(k keys.Key) []string {
	if len(k.Sites) == 0 {
		return nil
	}
	if s, ok := a.scopes.Load(k.ID); ok {
		return s.([]string)
	}
	sites := []string{}
	for _, s := range a.o.Sites.All() {
		if k.Covers(a.o.Sites, s.ID) {
			sites = append(sites, s.ID)
		}
	}
	a.scopes.Store(k.ID, sites)
	return sites
}
