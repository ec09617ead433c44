package api

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	oembedPath = "/oembed"
	// oembedAge is for how long, in seconds, a page may show an article as it was.
	oembedAge = 300
	// The width of what is embedded, in pixels, where nothing is said, and the greatest.
	oembedWidth, oembedMost = 600, 1200
	// maxAddress bounds an address, in bytes.
	maxAddress = 2048
)

// oembed is an answer of https://oembed.com, version 1.0.
type oembed struct {
	XMLName         xml.Name `json:"-" xml:"oembed"`
	Version         string   `json:"version" xml:"version"`
	Type            string   `json:"type" xml:"type"`
	Title           string   `json:"title" xml:"title"`
	AuthorName      string   `json:"author_name,omitempty" xml:"author_name,omitempty"`
	AuthorURL       string   `json:"author_url,omitempty" xml:"author_url,omitempty"`
	ProviderName    string   `json:"provider_name,omitempty" xml:"provider_name,omitempty"`
	ProviderURL     string   `json:"provider_url,omitempty" xml:"provider_url,omitempty"`
	CacheAge        int      `json:"cache_age" xml:"cache_age"`
	ThumbnailURL    string   `json:"thumbnail_url,omitempty" xml:"thumbnail_url,omitempty"`
	ThumbnailWidth  int      `json:"thumbnail_width,omitempty" xml:"thumbnail_width,omitempty"`
	ThumbnailHeight int      `json:"thumbnail_height,omitempty" xml:"thumbnail_height,omitempty"`
	HTML            string   `json:"html" xml:"html"`
	Width           int      `json:"width" xml:"width"`
	// Height is not known: the text flows.
	Height *int `json:"height" xml:"height"`
}

var card = template.Must(template.New("card").Parse(`<blockquote class="loa-article" lang="{{.Language}}" cite="{{.URL}}"><p><a href="{{.URL}}">{{.Title}}</a></p>` +
	`{{with .Summary}}<p>{{.}}</p>{{end}}<footer>{{with .SiteName}}{{.}}, {{end}}<time datetime="{{.Published.Format "2006-01-02T15:04:05Z07:00"}}">{{.Published.Format "02/01/2006"}}</time></footer></blockquote>`))

// serveOEmbed answers how an article is shown on other people's pages.
func (a *API) serveOEmbed(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", allowed)
		problem(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
		return
	}
	who, ok := a.admit(w, r)
	if !ok {
		return
	}
	k := newKept(w)
	a.oembed(k, r, who)
	k.send(r, false)
}

func (a *API) oembed(k *kept, r *http.Request, who caller) {
	q := r.URL.Query()
	address, format := q.Get("url"), q.Get("format")
	if format != "" && format != "json" && format != "xml" {
		problem(k, http.StatusNotImplemented, "format: found "+strconv.Quote(format)+", expected json or xml", &huma.ErrorDetail{Location: "query.format", Message: "expected json or xml"})
		return
	}
	sizes := [2]int{oembedWidth, oembedMost}
	for i, name := range []string{"maxwidth", "maxheight"} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			problem(k, http.StatusBadRequest, name+": expected a number of pixels", &huma.ErrorDetail{Location: "query." + name, Message: "expected a number of pixels"})
			return
		}
		sizes[i] = min(n, oembedMost)
	}
	if address == "" || len(address) > maxAddress {
		problem(k, http.StatusBadRequest, "url: expected an article's address", &huma.ErrorDetail{Location: "query.url", Message: "expected an article's address"})
		return
	}
	if err := a.o.Index.Ready(); err != nil {
		k.Header().Set("Retry-After", retryAfter)
		problem(k, http.StatusServiceUnavailable, "The articles are being read. Please try again in a moment.")
		return
	}
	e, err := a.byAddress(r, address)
	switch {
	case errors.Is(err, streams.ErrNotFound), err == nil && !who.covers(e.Site):
		problem(k, http.StatusNotFound, "There is no article at this address.", &huma.ErrorDetail{Location: "query.url", Message: "expected an article's address"})
		return
	case err != nil:
		a.o.Log.Warn().Err(err).Msg("article for oEmbed unavailable")
		k.Header().Set("Retry-After", retryAfter)
		problem(k, http.StatusServiceUnavailable, "This is not available at the moment. Please try again soon.")
		return
	case !e.Live():
		problem(k, http.StatusGone, "This article was withdrawn.")
		return
	}
	p := e.WithMedia(a.o.MediaURL).Public(a.o.Sites.Name(e.Site)).Brief()
	out := oembed{Version: "1.0", Type: "rich", Title: p.Title, ProviderName: p.SiteName, CacheAge: oembedAge, Width: sizes[0]}
	if len(p.Authors) > 0 {
		out.AuthorName, out.AuthorURL = p.Authors[0].Name, p.Authors[0].URL
	}
	if s, ok := a.o.Sites.Get(e.Site); ok {
		out.ProviderURL = s.URL
	}
	out.thumbnail(p, sizes[0], sizes[1])
	var b bytes.Buffer
	if err := card.Execute(&b, p); err != nil {
		a.o.Log.Error().Err(err).Msg("article for oEmbed not rendered")
		problem(k, http.StatusInternalServerError, "Something went wrong here.")
		return
	}
	out.HTML = b.String()
	out.send(k, format, who)
}

// thumbnail picks the largest rendition of the lead picture that fits.
func (o *oembed) thumbnail(p article.Public, width, height int) {
	if len(p.Images) == 0 {
		return
	}
	for _, r := range p.Images[0].Renditions {
		if r.Width > o.ThumbnailWidth && r.Width <= width && r.Height <= height && r.MediaType == "image/jpeg" {
			o.ThumbnailURL, o.ThumbnailWidth, o.ThumbnailHeight = r.URL, r.Width, r.Height
		}
	}
}

func (o *oembed) send(k *kept, format string, who caller) {
	h := k.Header()
	h.Set("Cache-Control", who.caching("max-age="+strconv.Itoa(oembedAge)))
	if format == "xml" {
		h.Set("Content-Type", "text/xml; charset=utf-8")
		k.Write([]byte(xml.Header))
		xml.NewEncoder(k).Encode(o) // into memory; of texts, whose characters were checked
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(k).Encode(o)
}

// byAddress finds the article that has the address: its page's, or one of ours.
func (a *API) byAddress(r *http.Request, address string) (streams.Entry, error) {
	for _, prefix := range []string{"v1/articles/", "articles/"} {
		rest, ok := strings.CutPrefix(address, a.o.PublicURL+prefix)
		site, id, ok2 := strings.Cut(rest, "/")
		if !ok || !ok2 {
			continue
		}
		id, err := url.PathUnescape(id)
		if err != nil || site == "" || id == "" {
			return streams.Entry{}, streams.ErrNotFound
		}
		return a.o.Articles.Get(r.Context(), streams.KeyOf(site, id), 0)
	}
	key, ok := a.o.Index.ByURL(address)
	if !ok {
		return streams.Entry{}, streams.ErrNotFound
	}
	return a.o.Articles.Get(r.Context(), key, 0)
}

// discovery is the link by which an article's oEmbed is found (https://oembed.com §4).
func (a *API) discovery(one *article.Article) string {
	return "<" + a.o.PublicURL + oembedPath[1:] + "?format=json&url=" + url.QueryEscape(one.URL) + `>; rel="alternate"; type="application/json+oembed"`
}
