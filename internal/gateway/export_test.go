package gateway

import (
	"net/http"

	"github.com/loa-syndication/loa/internal/objects"
)

// Parts that tests look at.
var (
	CodingWeights = codingWeights
	PrefersPage   = prefersPage
	Precondition  = precondition
	Policy        = pagePolicy
)

const (
	Settled   = settled
	FreshFor  = freshFor
	MaxHeader = maxHeader

	MediaMost = mediaMost
	MaxFormer = maxFormer

	Brotli, Zstd, Gzip = codedBrotli, codedZstd, codedGzip
)

// Server is the server that Serve runs.
func (g *Gateway) Server() *http.Server { return g.server() }

// Crowd has as many requests under way as there may be, until leave is called.
func (g *Gateway) Crowd() (leave func()) {
	g.underWay.Add(maxUnderWay)
	return func() { g.underWay.Add(-maxUnderWay) }
}

// LimitCache has the cache hold at most so many bytes.
func (g *Gateway) LimitCache(bytes int64) { g.feeds.limit = bytes }

// Cached is how many bytes the cache holds, and for how many feeds.
func (g *Gateway) Cached() (bytes int64, feeds int) {
	g.feeds.mu.Lock()
	defer g.feeds.mu.Unlock()
	return g.feeds.bytes, len(g.feeds.entries)
}

// LimitPictures is LimitCache for pictures, CachedPictures Cached.
func (g *Gateway) LimitPictures(bytes int64) { g.media.limit = bytes }
func (g *Gateway) CachedPictures() (bytes int64, pictures int) {
	g.media.mu.Lock()
	defer g.media.mu.Unlock()
	return g.media.bytes, len(g.media.entries)
}

// Former is how many former versions of the object are known.
func (g *Gateway) Former(key string) int {
	e, _ := g.feeds.peek(key)
	if e := e.v.edition.Load(); e != nil {
		return len(e.former)
	}
	return 0
}

// Follow replaces the object in the cache by another version.
func (g *Gateway) Follow(key, body string) {
	e, _ := g.feeds.peek(key)
	e.v = g.feedVersion(objects.Object{Info: objects.Info{Key: key}, Body: []byte(body)}, e.v)
	g.feeds.put(e)
}
