package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/loa-syndication/loa/internal/site"
)

const (
	// indexFor is how long the index page is served before it is made again.
	indexFor = 10 * time.Second
	// indexTimeout bounds making it.
	indexTimeout = 10 * time.Second
	// maxCategories bounds the feeds of categories, tags and authors on the page, and maxAlternates the feeds
	// that browsers are told of: 10,000 of them would make a page of 5 MB.
	maxCategories = 2000
	maxAlternates = 60
)

// formats of feeds, in the order in which they are offered.
var formats = []struct{ ending, label, mediaType string }{
	{"rss", "RSS", "application/rss+xml"},
	{"atom", "Atom", "application/atom+xml"},
	{"json", "JSON", "application/feed+json"},
}

// indexPage is the page made last.
type indexPage struct {
	mu    sync.Mutex // held while the page is made, so that one serves all who wait
	until time.Time
	v     *version
}

// indexSite is a site on the page, with its feeds and the sites under it.
type indexSite struct {
	site.Site
	OPML              string // where all its feeds are listed
	Feeds, Categories []indexFeed
	Children          []*indexSite
}

type indexFeed struct {
	Title string
	Links []link
}

func (g *Gateway) serveIndex(w http.ResponseWriter, r *http.Request) {
	v, err := g.currentIndex(r.Context())
	if err != nil {
		g.failLog(w, r, "index page", err)
		return
	}
	v.serve(w, r)
}

// currentIndex makes the page if it is time, and goes on with the old one if it cannot.
func (g *Gateway) currentIndex(ctx context.Context) (*version, error) {
	p := &g.index
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.until) {
		return p.v, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), indexTimeout)
	defer cancel()
	v, err := g.makeIndex(ctx)
	switch {
	case err == nil && p.v != nil && p.v.plain.tag == v.plain.tag: // the same, compressed already
	case err == nil:
		p.v = v
	case p.v == nil:
		return nil, err
	default:
		g.o.Log.Warn().Err(err).Msg("index page not renewed")
	}
	p.until = time.Now().Add(indexFor)
	return p.v, nil
}

func (g *Gateway) makeIndex(ctx context.Context) (*version, error) {
	var feeds []FeedInfo
	if g.o.Feeds != nil {
		var err error
		if feeds, err = g.o.Feeds(ctx); err != nil {
			return nil, fmt.Errorf("list feeds for the index page: %w", err)
		}
	}
	body, err := g.indexOf(feeds).render()
	if err != nil {
		return nil, fmt.Errorf("render the index page: %w", err)
	}
	return newVersion(body, time.Time{}, // the ETag tells whether it changed
		headerField{"Content-Type", []string{"text/html; charset=utf-8"}},
		headerField{"Vary", []string{"Accept-Encoding"}},
		headerField{"Cache-Control", []string{"public, max-age=60"}},
		headerField{"Content-Security-Policy", []string{pagePolicy}},
		headerField{"Referrer-Policy", []string{"no-referrer"}},
	), nil
}

// indexOf puts the feeds to their sites, and the sites below one another.
func (g *Gateway) indexOf(feeds []FeedInfo) page {
	p := page{Language: pageTags[pageVietnamese], Words: pageWords[pageVietnamese], Title: "Nguồn tin", Index: true, Home: g.o.PublicURL,
		Lead: "Theo dõi tin của các cổng thông tin bằng trình đọc tin: chọn một nguồn và một định dạng."}
	sites := make(map[string]*indexSite)
	for _, s := range g.o.Sites.All() {
		sites[s.ID] = &indexSite{Site: s, OPML: g.opmlURL(s.ID)}
	}
	categories := 0
	for _, f := range feeds {
		s, ok := sites[f.Site]
		if !ok {
			continue
		}
		one := indexFeed{Title: f.Title}
		for _, format := range formats {
			one.Links = append(one.Links, link{format.mediaType, f.Title, format.label,
				g.o.PublicURL + "feeds/" + f.ID + "/feed." + format.ending})
		}
		switch {
		case f.Kind != FeedOfCategory && f.Kind != FeedOfTag && f.Kind != FeedOfAuthor:
			s.Feeds = append(s.Feeds, one)
			if len(p.Alternates) < maxAlternates*len(formats) {
				p.Alternates = append(p.Alternates, one.Links...)
			}
		case categories < maxCategories:
			s.Categories = append(s.Categories, one)
			categories++
		default:
			p.Left++
		}
	}
	for _, s := range g.o.Sites.All() {
		if above, ok := sites[s.Parent]; ok {
			above.Children = append(above.Children, sites[s.ID])
		} else {
			p.Sites = append(p.Sites, sites[s.ID])
		}
	}
	return p
}
