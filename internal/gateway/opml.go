package gateway

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loa-syndication/loa/internal/site"
)

const (
	opmlPrefix = "/opml/"
	// maxOutlines bounds the feeds of one list, at some 300 bytes each.
	maxOutlines = 5000
)

// opmlPath is the path of a list of a site's feeds, and of nothing else.
var opmlPath = regexp.MustCompile(`^/opml/([a-z0-9]+(?:-[a-z0-9]+)*)\.opml$`)

// opmlPages are the lists made last: all of one list of feeds.
type opmlPages struct {
	mu    sync.Mutex // held while lists are made
	until time.Time
	feeds []FeedInfo
	made  map[string]*version // by the site's id
}

// The elements of OPML 2.0.
type (
	opmlDocument struct {
		XMLName xml.Name      `xml:"opml"`
		Version string        `xml:"version,attr"`
		Title   string        `xml:"head>title"`
		Docs    string        `xml:"head>docs"`
		Body    []opmlOutline `xml:"body>outline"`
	}
	opmlOutline struct {
		Text  string        `xml:"text,attr"`
		Title string        `xml:"title,attr,omitempty"`
		Type  string        `xml:"type,attr,omitempty"`
		XML   string        `xml:"xmlUrl,attr,omitempty"`
		HTML  string        `xml:"htmlUrl,attr,omitempty"`
		Feeds []opmlOutline `xml:"outline"`
	}
)

// serveOPML answers with the list of all feeds of a site, to be imported into a feed reader.
func (g *Gateway) serveOPML(w http.ResponseWriter, r *http.Request) {
	m := opmlPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		g.notFound(w, r)
		return
	}
	of, ok := g.o.Sites.Get(m[1])
	if !ok {
		g.problem(w, r, http.StatusNotFound, "There is no such site.")
		return
	}
	v, err := g.currentOPML(r.Context(), of)
	if err != nil {
		g.failLog(w, r, "list of feeds", err)
		return
	}
	v.serve(w, r)
}

// currentOPML makes the list if it is time, and goes on with the former feeds if it cannot.
func (g *Gateway) currentOPML(ctx context.Context, of site.Site) (*version, error) {
	p := &g.opml
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.After(p.until) && g.o.Feeds != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), indexTimeout)
		defer cancel()
		feeds, err := g.o.Feeds(ctx)
		switch {
		case err == nil:
			p.feeds, p.made = feeds, nil
		case p.until.IsZero():
			return nil, fmt.Errorf("list feeds: %w", err)
		default:
			g.o.Log.Warn().Err(err).Msg("lists of feeds not renewed")
		}
		p.until = now.Add(indexFor)
	}
	if v := p.made[of.ID]; v != nil {
		return v, nil
	}
	body, err := g.opmlOf(of, p.feeds)
	if err != nil {
		return nil, fmt.Errorf("list the feeds of site %s: %w", of.ID, err)
	}
	if p.made == nil {
		p.made = map[string]*version{}
	}
	p.made[of.ID] = newVersion(body, time.Time{}, // the ETag tells whether it changed
		headerField{"Content-Type", []string{"text/x-opml; charset=utf-8"}},
		headerField{"Cache-Control", []string{"public, max-age=60"}},
		headerField{"Content-Security-Policy", []string{inert}},
		headerField{"Access-Control-Allow-Origin", []string{"*"}},
	)
	return p.made[of.ID], nil
}

// opmlOf lists the site's feeds in one folder, which a reader takes for a category: its own
// first, then those of categories, tags and authors.
func (g *Gateway) opmlOf(of site.Site, feeds []FeedInfo) ([]byte, error) {
	var mine []FeedInfo
	for _, f := range feeds {
		if f.Site == of.ID {
			mine = append(mine, f)
		}
	}
	last := []string{FeedOfCategory, FeedOfTag, FeedOfAuthor}
	slices.SortStableFunc(mine, func(a, b FeedInfo) int {
		return cmp.Or(cmp.Compare(slices.Index(last, a.Kind), slices.Index(last, b.Kind)), strings.Compare(a.ID, b.ID))
	})
	folder := opmlOutline{Text: cmp.Or(of.Name, of.ID)}
	for _, f := range mine[:min(len(mine), maxOutlines)] {
		folder.Feeds = append(folder.Feeds, opmlOutline{Text: f.Title, Title: f.Title, Type: "rss", HTML: of.URL,
			XML: g.o.PublicURL + "feeds/" + f.ID + "/feed.rss"})
	}
	body, err := xml.MarshalIndent(opmlDocument{Version: "2.0", Title: "Nguồn tin: " + folder.Text, Docs: "http://opml.org/spec2.opml",
		Body: []opmlOutline{folder}}, "", "  ")
	return append([]byte(xml.Header), append(body, '\n')...), err
}

// opmlURL is where the list of a site's feeds is.
func (g *Gateway) opmlURL(site string) string { return g.o.PublicURL + opmlPrefix[1:] + site + ".opml" }
