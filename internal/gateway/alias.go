package gateway

import (
	"net/http"
	"regexp"
	"strings"
)

// aliasPath is how the address of a feed is written by those who guess it, or come from another
// publishing system. The first group is the feed, the second what tells the format.
var aliasPath = regexp.MustCompile(`^/feeds/(` + feedID + `)(/?|\.(?:rss|atom|json|xml)/?|/(?:rss|atom|json|feed|(?:feed|index|rss|atom)\.(?:rss|atom|json|xml))/?)$`)

// rootAliases are paths at which readers look for the feed of a whole site, with their format.
var rootAliases = map[string]string{
	"/feed": "rss", "/feed/": "rss", "/rss": "rss", "/rss/": "rss", "/rss.xml": "rss", "/feed.xml": "rss", "/index.xml": "rss", "/feed.rss": "rss",
	"/atom": "atom", "/atom/": "atom", "/atom.xml": "atom", "/feed.atom": "atom", "/feed.json": "json",
}

// aliasCaching goes with the redirection of an alias.
const aliasCaching = "public, max-age=86400"

// serveAlias sends those who know another address of a feed to the one that it has: everywhere
// else a feed has one address, which is its topic at hubs. There need be no such feed.
func (g *Gateway) serveAlias(w http.ResponseWriter, r *http.Request) {
	match := aliasPath.FindStringSubmatch(r.URL.Path)
	if match == nil {
		g.notFound(w, r)
		return
	}
	format := "rss"
	switch rest := match[2]; {
	case strings.Contains(rest, "atom"):
		format = "atom"
	case strings.Contains(rest, "json"):
		format = "json"
	case rest == "" || rest == "/":
		w.Header()["Vary"] = varyAccept
		format = formatLiked(r.Header["Accept"])
	}
	g.redirectAlias(w, match[1], format)
}

// serveRoot sends those who ask for the feed of everything to that of the uppermost site and all
// below it. Where there are several such sites, there is no such feed.
func (g *Gateway) serveRoot(w http.ResponseWriter, r *http.Request) {
	root := ""
	for _, s := range g.o.Sites.All() {
		switch {
		case s.Parent != "":
		case root != "":
			g.notFound(w, r)
			return
		default:
			root = s.ID
		}
	}
	if root == "" {
		g.notFound(w, r)
		return
	}
	g.redirectAlias(w, root+subtreeSuffix, rootAliases[r.URL.Path])
}

// subtreeSuffix makes the id of a site's feed that of the feed of all that is below it.
const subtreeSuffix = "--all"

func (g *Gateway) redirectAlias(w http.ResponseWriter, feed, format string) {
	h := w.Header()
	h.Set("Location", g.o.PublicURL+feedPrefix[1:]+feed+"/feed."+format)
	h.Set("Cache-Control", aliasCaching)
	w.WriteHeader(http.StatusPermanentRedirect)
}

// formatLiked is the format that a reader likes best; RSS where it does not matter.
func formatLiked(accept []string) string {
	best, most := "rss", 0.0
	for _, format := range formats {
		if q := accepted(accept, format.mediaType); q > most {
			best, most = format.ending, q
		}
	}
	return best
}
