package media

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/loa-syndication/loa/internal/secret"
)

// perHostDefault is how many requests to one host are under way at once: what a browser allows
// itself, and a small CMS bears.
const perHostDefault = 6

// hosts bounds the requests to each host. HTTP/2 puts any number into one connection, so that
// connections need not be counted but requests.
type hosts struct {
	most  int64
	mu    sync.Mutex
	slots map[string]*hostSlots // of the hosts that somebody is in or waits for; guarded by mu
}

type hostSlots struct {
	free  *semaphore.Weighted
	users int // guarded by hosts.mu
}

// enter waits for a slot of the address's host. Where a redirect leads is not counted.
func (h *hosts) enter(ctx context.Context, address string) (leave func(), err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, &PermanentError{fmt.Errorf("picture's address: %w", err)}
	}
	host := strings.ToLower(u.Host)
	h.mu.Lock()
	s := h.slots[host]
	if s == nil {
		s = &hostSlots{free: semaphore.NewWeighted(h.most)}
		h.slots[host] = s
	}
	s.users++
	h.mu.Unlock()
	done := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(h.slots, host)
		}
	}
	if err := s.free.Acquire(ctx, 1); err != nil {
		done()
		return nil, fmt.Errorf("wait for one of %d requests to %s to end: %w", h.most, host, err)
	}
	return func() { s.free.Release(1); done() }, nil
}

// Credential is what a CMS behind HTTP basic authentication (RFC 7617) wants to know.
type Credential struct {
	// Site is the scheme, host and port that it is for. It is sent there alone, and not to where
	// a redirect leads, that be the same site.
	Site     *url.URL
	User     string
	Password secret.Secret
}

func (c Credential) covers(u *url.URL) bool {
	return u.Scheme == c.Site.Scheme && strings.EqualFold(u.Hostname(), c.Site.Hostname()) && portOf(u) == portOf(c.Site)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
