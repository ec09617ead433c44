package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/streams"
)

const articlePrefix = "/articles/"

// articlePath holds a site and an article as the tokens of their ids ([events.Token]).
var articlePath = regexp.MustCompile(`^/articles/([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_-]{1,64})$`)

// articleCaching: a withdrawal is to be seen soon.
const articleCaching = "public, max-age=60"

func (g *Gateway) serveArticle(w http.ResponseWriter, r *http.Request) {
	match := articlePath.FindStringSubmatch(r.URL.Path)
	if match == nil || g.o.Articles == nil {
		g.notFound(w, r)
		return
	}
	// The key is made of tokens, so that no wildcard and no other stream's subject gets in.
	key, err := streams.ParseKey(match[1] + "." + match[2])
	if err != nil {
		g.notFound(w, r)
		return
	}
	entry, err := g.o.Articles.Get(r.Context(), key, 0)
	switch {
	case errors.Is(err, streams.ErrNotFound):
		g.problem(w, r, http.StatusNotFound, "There is no such article.")
		return
	case err != nil:
		g.failLog(w, r, "article", err)
		return
	}
	a := entry.Article
	public := a.WithMedia(g.o.MediaURL).Public(g.o.Sites.Name(a.Site))
	if g.o.Brief {
		public = public.Brief()
	}
	body, err := json.Marshal(public)
	if err != nil {
		g.fail(w, r, "article", fmt.Errorf("encode article %s: %w", key, err))
		return
	}

	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", articleCaching)
	h.Set("Content-Security-Policy", inert)
	h.Set("Link", "<"+headerURL(a.URL)+`>; rel="canonical"`)
	if to, ok := replacement(a); ok {
		h.Set("Location", to)
		send(w, r, http.StatusPermanentRedirect, body)
		return
	}
	if !a.Live() {
		send(w, r, http.StatusGone, body)
		return
	}
	h.Add("Link", "<"+g.o.PublicURL+"oembed?format=json&url="+url.QueryEscape(a.URL)+`>; rel="alternate"; type="application/json+oembed"`)
	// The version names the state of the article, the hash that of the settings as well.
	tag := fmt.Sprintf(`"%s-%s`, a.Version, newVariant(body, "", nil).tag[1:])
	h.Set("Etag", tag)
	modified := a.Accepted
	if time.Since(modified) < settled {
		modified = time.Time{}
	} else {
		h.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	if status := precondition(r.Header, tag, modified); status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	send(w, r, http.StatusOK, body)
}

// replacement is where a withdrawn article's readers are sent.
func replacement(a *article.Article) (string, bool) {
	if a.Live() || a.Withdrawal == nil || a.Withdrawal.RedirectURL == "" {
		return "", false
	}
	u, err := outbound.CheckURL(a.Withdrawal.RedirectURL, true)
	if err != nil {
		return "", false
	}
	return headerURL(u.String()), true
}

func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}
