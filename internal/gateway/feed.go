package gateway

import (
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
)

const feedPrefix = "/feeds/"

// feedPath is the path of a feed, and of nothing else. The ids of feeds are made of those of
// sites and of category tokens.
var feedPath = regexp.MustCompile(`^/feeds/[A-Za-z0-9][A-Za-z0-9_-]{0,199}/feed\.(?:rss|atom|json)$`)

// feedTypes are the media types of feeds that were stored without.
var feedTypes = map[string]string{
	"rss":  "application/rss+xml; charset=utf-8",
	"atom": "application/atom+xml; charset=utf-8",
	"json": "application/feed+json; charset=utf-8",
}

// feedCaching is for a feed that was stored without cache control.
const feedCaching = "public, max-age=60"

func (g *Gateway) serveFeed(w http.ResponseWriter, r *http.Request) {
	if !feedPath.MatchString(r.URL.Path) {
		g.notFound(w, r)
		return
	}
	v, stale, err := g.feeds.get(r.Context(), r.URL.Path[1:])
	switch {
	case errors.Is(err, errAbsent):
		g.problem(w, r, http.StatusNotFound, "There is no such feed.")
		return
	case err != nil:
		g.fail(w, r, "feed", err)
		return
	}
	if stale > 0 { // RFC 9111 §5.1 (its predecessor's Warning is gone), RFC 9211 §2.2
		seconds := strconv.Itoa(int(stale / time.Second))
		w.Header().Set("Age", seconds)
		w.Header().Set("Cache-Status", "loa; hit; ttl=-"+seconds)
	}
	v.serve(w, r)
}

// feedVersion makes what is served of a stored feed.
func (g *Gateway) feedVersion(o objects.Object) *version {
	format := o.Key[strings.LastIndexByte(o.Key, '.')+1:]
	contentType := o.ContentType
	if contentType == "" || contentType == "application/octet-stream" {
		contentType = feedTypes[format]
	}
	links := []string{"<" + g.o.PublicURL + o.Key + `>; rel="self"`}
	for _, hub := range g.o.Hubs {
		links = append(links, "<"+headerURL(hub)+`>; rel="hub"`)
	}
	fields := []headerField{
		{"Content-Type", []string{contentType}},
		{"Cache-Control", []string{cmp.Or(o.CacheControl, feedCaching)}},
		{"Link", []string{strings.Join(links, ", ")}},
		{"Content-Security-Policy", []string{inert}},
	}
	if format == "json" {
		fields = append(fields, headerField{"Access-Control-Allow-Origin", []string{"*"}})
	}
	v := newVersion(o.Body, o.Modified, fields...)
	v.stored = o.ETag
	return v
}

// inert is the content security policy of what is data: a browser that shows it runs nothing.
const inert = "default-src 'none'; sandbox"

// headerURL writes an address so that it can stand in a header between "<" and ">".
func headerURL(address string) string {
	var b strings.Builder
	for i := range len(address) {
		c := address[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`<>"\^{|}`+"`", c) >= 0 {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
