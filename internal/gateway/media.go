package gateway

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
)

const mediaPrefix = "/media/"

// mediaPath is the path of a picture, and of nothing else.
var mediaPath = regexp.MustCompile(`^/media/[0-9a-f]{64}/(?:original|w[1-9][0-9]{0,4})\.(jpg|png|gif|webp)$`)

// mediaTypes, by ending: what a picture is was settled when it was stored, and is not left to
// what is stored beside it.
var mediaTypes = map[string]string{"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}

func (g *Gateway) serveMedia(w http.ResponseWriter, r *http.Request) {
	match := mediaPath.FindStringSubmatch(r.URL.Path)
	if match == nil {
		g.notFound(w, r)
		return
	}
	reader, info, err := g.o.Objects.Reader(r.Context(), r.URL.Path[1:])
	switch {
	case errors.Is(err, objects.ErrNotFound):
		g.problem(w, r, http.StatusNotFound, "There is no such picture.")
		return
	case err != nil:
		g.fail(w, r, "picture", err)
		return
	}
	defer reader.Close()

	h := w.Header()
	h.Set("Content-Type", mediaTypes[match[1]])
	h.Set("Cache-Control", "public, max-age=31536000, immutable") // the address is made of the content
	h.Set("Etag", `"`+info.ETag+`"`)
	h.Set("Content-Security-Policy", inert)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // to be shown on portals' pages
	// Several ranges at once help no viewer of pictures, but make work out of one request for
	// whoever sends a thousand. They may be ignored (RFC 9110 §14.2).
	if ranges := r.Header["Range"]; len(ranges) > 1 || len(ranges) == 1 && strings.Contains(ranges[0], ",") {
		r.Header.Del("Range")
	}
	// Not every writer has deadlines; net/http's have.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(mediaTimeout))
	body := &watched{ReadSeeker: reader}
	http.ServeContent(w, r, "", info.Modified, body)
	if body.err != nil && r.Context().Err() == nil {
		// The length was announced, so that the reader sees that something is missing.
		g.o.Log.Warn().Err(body.err).Msg("picture cut off")
	}
}

// watched remembers why reading ended early.
type watched struct {
	io.ReadSeeker
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadSeeker.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
