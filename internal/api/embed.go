package api

import (
	_ "embed" // the script
	"net/http"
)

//go:embed embed.js
var embedScript []byte

// embedCaching: pages of others get a mended script within the hour.
const embedCaching = "public, max-age=3600"

// serveEmbed serves the script that shows a feed's headlines on other people's pages. It reads the
// feed, which is public, so that it needs no key and costs the API nothing.
func (a *API) serveEmbed(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", allowed)
		problem(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
		return
	}
	k := newKept(w)
	h := k.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", embedCaching)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	k.Write(embedScript)
	k.send(r, true)
}
