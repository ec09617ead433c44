package bulletins

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"sync"

	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
)

// maxIdle is how many connections are kept for the next bulletin: as many as there may be under way.
const maxIdle = 3072

// clients holds one HTTP client for every way in which portals are reached: portals without
// settings of their own share one, and its connections.
type clients struct {
	mu    sync.Mutex
	byWay map[string]*client
	using map[string]use // by the portal's name
}

type client struct {
	way   string
	http  *outbound.Direct
	users int // entries of using
}

// use is which client a revision of a portal uses, and its address.
type use struct {
	revision uint64
	client   *client
	address  *url.URL
}

func newClients() *clients {
	return &clients{byWay: map[string]*client{}, using: map[string]use{}}
}

// way names the settings of a portal that a client is made with.
func way(p portal.Portal) string {
	if len(p.Allow) == 0 && p.Certificate == nil && p.CA == "" {
		return ""
	}
	allow := slices.Clone(p.Allow)
	slices.SortFunc(allow, netip.Prefix.Compare)
	sum := sha256.New()
	fmt.Fprintf(sum, "%v\x00%s\x00", allow, p.CA)
	if p.Certificate != nil {
		fmt.Fprintf(sum, "%s\x00%s", p.Certificate.Chain, p.Certificate.Key.Reveal())
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// of gives the transport for the portal, and its address. It is not an [http.Client], which would follow
// redirects, and whose errors quote the address, which may contain a key. There is no limit to the
// connections but what the engine runs at once, and the portals' InFlight.
func (cs *clients) of(p portal.Portal) (*outbound.Direct, *url.URL, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	u, ok := cs.using[p.Name]
	if ok && u.revision == p.Revision {
		return u.client.http, u.address, nil
	}
	address, err := url.Parse(p.URL)
	if err != nil {
		return nil, nil, err // cannot be: it was checked when the portal was stored
	}
	key := way(p)
	c := cs.byWay[key]
	if c == nil {
		settings, err := p.TLS()
		if err != nil {
			return nil, nil, err // nor can this
		}
		c = &client{way: key, http: outbound.NewDirect(outbound.Options{Allow: p.Allow, MaxIdleConns: maxIdle, TLS: settings})}
		cs.byWay[key] = c
	}
	c.users++
	cs.release(p.Name)
	cs.using[p.Name] = use{p.Revision, c, address}
	return c.http, address, nil
}

// forget ends the use that a portal makes of its client; the next bulletin looks for one anew.
func (cs *clients) forget(name string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.release(name)
}

func (cs *clients) release(name string) {
	u, ok := cs.using[name]
	if !ok {
		return
	}
	delete(cs.using, name)
	if u.client.users--; u.client.users == 0 {
		u.client.http.CloseIdleConnections() // those in use close once they have idled for long
		delete(cs.byWay, u.client.way)
	}
}

// close ends all idle connections.
func (cs *clients) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.byWay {
		c.http.CloseIdleConnections()
	}
}
