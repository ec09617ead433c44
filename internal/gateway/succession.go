package gateway

import (
	"errors"
	"net/http"
	"strings"
)

const (
	// maxSuccessions bounds how often the feed that goes on with another has a successor itself.
	maxSuccessions = 16
	// successionCaching is short of a day: who goes on is decided by people, who err.
	successionCaching = "public, max-age=3600"
)

// serveSuccessor sends who asks for a feed of a site that has been succeeded to the one feed that
// goes on with it. Where there is none, or more than one, the feed is served as it is; archives stay
// where they are. With 301 every reader moves its subscription; with 307, where another site may come
// to have such a feed, it asks here again.
func (g *Gateway) serveSuccessor(w http.ResponseWriter, r *http.Request) bool {
	if !feedPath.MatchString(r.URL.Path) || strings.Contains(r.URL.Path, "/archive/") {
		return false
	}
	feed, file, _ := strings.Cut(r.URL.Path[len(feedPrefix):], "/")
	id, status := feed, http.StatusMovedPermanently
	for range maxSuccessions {
		var found []string
		candidates := g.o.Successors(id)
		for _, next := range candidates {
			switch _, _, err := g.feeds.get(r.Context(), feedPrefix[1:]+next+"/"+file); {
			case err == nil:
				found = append(found, next)
			case !errors.Is(err, errAbsent):
				g.fail(w, r, "successor of a feed", err) // it is not known where to send the reader for good
				return true
			}
		}
		if len(found) != 1 {
			break
		}
		id = found[0]
		if len(candidates) > 1 {
			status = http.StatusTemporaryRedirect
		}
	}
	if id == feed {
		return false
	}
	h := w.Header()
	h.Set("Cache-Control", successionCaching)
	h.Set("Location", g.o.PublicURL+feedPrefix[1:]+id+"/"+file)
	w.WriteHeader(status)
	return true
}
