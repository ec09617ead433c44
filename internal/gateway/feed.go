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

// feedID is what the ids of feeds look like: they are made of those of sites and of category tokens.
const feedID = `[A-Za-z0-9][A-Za-z0-9_-]{0,199}`

// feedPath is the path of a feed or of an archive of one, and of nothing else.
var feedPath = regexp.MustCompile(`^/feeds/` + feedID + `/(?:feed\.(?:rss|atom|json)|archive/[0-9]{4}-[0-9]{2}(?:-[0-9]{1,6})?\.atom)$`)

// feedTypes are the media types of feeds that were stored without.
var feedTypes = map[string]string{
	"rss":  "application/rss+xml; charset=utf-8",
	"atom": "application/atom+xml; charset=utf-8",
	"json": "application/feed+json; charset=utf-8",
}

// feedCaching is for a feed that was stored without cache control.
const feedCaching = "public, max-age=60, stale-while-revalidate=300"

func (g *Gateway) serveFeed(w http.ResponseWriter, r *http.Request) {
	if g.o.Successors != nil && g.serveSuccessor(w, r) {
		return
	}
	key := r.URL.Path[1:]
	if prefersPage(r.Header["Accept"]) && feedPath.MatchString(r.URL.Path) {
		g.serveFeedPage(w, r)
		return
	}
	v, stale := g.feeds.hit(key, now(w))
	if v == nil {
		if !feedPath.MatchString(r.URL.Path) {
			g.serveAlias(w, r)
			return
		}
		var err error
		v, stale, err = g.feeds.get(r.Context(), key)
		switch {
		case errors.Is(err, errAbsent):
			g.problem(w, r, http.StatusNotFound, "There is no such feed.")
			return
		case err != nil:
			g.fail(w, r, "feed", err)
			return
		}
	}
	if stale > 0 { // RFC 9111 §5.1 (its predecessor's Warning is gone), RFC 9211 §2.2
		seconds := strconv.Itoa(int(stale / time.Second))
		w.Header().Set("Age", seconds)
		w.Header().Set("Cache-Status", "loa; hit; ttl=-"+seconds)
	}
	if r.Header["A-Im"] != nil && g.serveDelta(w, r, v) {
		return
	}
	v.serve(w, r)
}

// Changed says that a feed's objects were stored anew. Whoever asks from now on gets the new ones. The
// store is asked about each feed every second besides, while there are readers: that this is
// not called costs no more than that second.
func (g *Gateway) Changed(feed string) {
	for _, format := range formats {
		if key := feedPrefix[1:] + feed + "/feed." + format.ending; g.feeds.changed(key) {
			select {
			case g.renewals <- key:
			default: // the next reader waits for it himself
			}
		}
	}
}

const (
	// renewers is how many feeds are renewed at once, and renewalsQueue how many may wait for it.
	renewers      = 4
	renewalsQueue = 256
)

// renew renews feeds that changed until the gateway ends.
func (g *Gateway) renew(ended <-chan struct{}) {
	for {
		select {
		case key := <-g.renewals:
			g.feeds.renew(key)
		case <-ended:
			return
		}
	}
}

// feedVersion makes what is served of a stored feed.
func (g *Gateway) feedVersion(o objects.Object, old *version) *version {
	format := o.Key[strings.LastIndexByte(o.Key, '.')+1:]
	contentType := o.ContentType
	if contentType == "" || contentType == "application/octet-stream" {
		contentType = feedTypes[format]
	}
	links := []string{"<" + g.o.PublicURL + o.Key + `>; rel="self"`}
	for _, hub := range g.o.Hubs {
		if strings.Contains(o.Key, "/archive/") {
			break // no topic of theirs
		}
		links = append(links, "<"+headerURL(hub)+`>; rel="hub"`)
	}
	fields := []headerField{
		{"Content-Type", []string{contentType}},
		{"Cache-Control", []string{cmp.Or(o.CacheControl, feedCaching)}},
		{"Link", []string{strings.Join(links, ", ")}},
		{"Content-Security-Policy", []string{inert}},
		{"Vary", []string{"Accept, Accept-Encoding, A-IM"}},
	}
	if format == "json" {
		fields = append(fields, openToScripts...)
	}
	v := newVersion(o.Body, o.Modified, fields...)
	v.stored = o.ETag
	v.later = g.later
	if old != nil {
		v.encodeLike(old)
		g.followEdition(v, old)
	}
	return v
}

// openToScripts lets scripts of every site read an answer, and those of its headers that they need.
var openToScripts = []headerField{
	{"Access-Control-Allow-Origin", []string{"*"}},
	{"Access-Control-Expose-Headers", []string{"ETag, Link, Retry-After"}},
}

// preflightFor is how long, in seconds, a browser may remember that it may ask.
const preflightFor = "86400"

// preflight answers a browser that asks for a script whether it may ask for a feed in JSON with
// headers of its own, such as If-None-Match (Fetch §3.3.1).
func (g *Gateway) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", allowedMethod)
	h.Set("Access-Control-Allow-Headers", "Accept, Accept-Language, If-Modified-Since, If-None-Match, A-IM")
	h.Set("Access-Control-Max-Age", preflightFor)
	h.Set("Cache-Control", "public, max-age="+preflightFor)
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}

// isPreflight reports whether a request is one that [Gateway.preflight] answers.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" &&
		strings.HasSuffix(r.URL.Path, ".json") && feedPath.MatchString(r.URL.Path)
}

// later makes the variant in Brotli beside the readers: 6 ms for a usual feed.
func (g *Gateway) later(make func()) {
	g.encoding.Go(func() {
		g.encoders <- struct{}{}
		defer func() { <-g.encoders }()
		make()
	})
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
