package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
)

const mediaPrefix = "/media/"

const (
	// mediaBytes bounds what the cache of pictures holds: some 1,000 renditions.
	mediaBytes = 64 << 20
	// mediaMost is the largest object, in bytes, that is cached: every common rendition is smaller.
	// Larger ones, originals mostly, are passed on from the store as they come.
	mediaMost = 2 << 20
	// mediaFresh is how long a cached picture is served without asking whether it is still there. It
	// never changes, but it may be erased.
	mediaFresh = 10 * time.Second
	// mediaCaching goes with a picture: its address is made of its content.
	mediaCaching = "public, max-age=31536000, immutable"
	// redirectCaching goes with a redirection, which the next configuration may change.
	redirectCaching = "public, max-age=300"
)

// mediaPath is the path of a picture, whole or cropped, or of an attachment, and of nothing else.
// That of a rendition may leave out the ending, and with it the choice of the format.
var mediaPath = regexp.MustCompile(`^/media/([0-9a-f]{64})/(?:original\.(jpg|png|gif|webp)|w[1-9][0-9]{0,4}(?:-(?:1x1|16x9)-[0-9]{1,3}-[0-9]{1,3})?(?:\.(jpg|webp))?|file\.(pdf|docx|xlsx|pptx|odt|ods|doc|mp3|m4a|mp4))$`)

// mediaTypes, by ending: what a picture is was settled when it was stored, and is not left to
// what is stored beside it.
var mediaTypes = map[string]string{"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}

// fileTypes are likewise those of attachments.
var fileTypes = map[string]string{
	"pdf":  "application/pdf",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"odt":  "application/vnd.oasis.opendocument.text",
	"ods":  "application/vnd.oasis.opendocument.spreadsheet",
	"doc":  "application/msword",
	"mp3":  "audio/mpeg", "m4a": "audio/mp4", "mp4": "video/mp4",
}

func mediaType(ending string) string {
	if t, ok := fileTypes[ending]; ok {
		return t
	}
	return mediaTypes[ending]
}

func (g *Gateway) serveMedia(w http.ResponseWriter, r *http.Request) {
	match := mediaPath.FindStringSubmatch(r.URL.Path)
	if match == nil {
		g.notFound(w, r)
		return
	}
	picture, ending, key := match[1], match[2]+match[3]+match[4], r.URL.Path[1:]
	endings := []string{ending}
	if ending == "" {
		w.Header()["Vary"] = varyAccept
		endings = preferred(r.Header["Accept"])
	} else {
		key = strings.TrimSuffix(key, "."+ending)
	}
	if g.o.MediaRedirect != "" {
		g.redirectMedia(w, r, picture, key+"."+endings[0])
		return
	}
	for _, ending := range endings {
		err := g.sendPicture(w, r, key+"."+ending, mediaType(ending))
		switch {
		case err == nil:
			return
		case !errors.Is(err, errAbsent) && !errors.Is(err, objects.ErrNotFound):
			g.fail(w, r, "picture", err)
			return
		}
	}
	if !g.erased(w, r, picture) {
		g.problem(w, r, http.StatusNotFound, "There is no such picture.")
	}
}

var varyAccept = []string{"Accept"}

// preferred gives the endings that a rendition may have, the one that the reader likes best first.
// Whoever takes WebP names it; "*/*" is said by those too who do not.
func preferred(accept []string) []string {
	webp, jpeg := 0.0, -1.0 // -1: not mentioned
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			mediaType, params, _ := strings.Cut(part, ";")
			switch mediaType = strings.TrimSpace(mediaType); {
			case strings.EqualFold(mediaType, "image/webp"):
				webp = weight(params)
			case strings.EqualFold(mediaType, "image/jpeg"):
				jpeg = weight(params)
			}
		}
	}
	if webp > 0 && webp >= jpeg {
		return []string{"webp", "jpg"}
	}
	return []string{"jpg", "webp"}
}

// redirectMedia sends the reader to where the bucket is public.
func (g *Gateway) redirectMedia(w http.ResponseWriter, r *http.Request, picture, key string) {
	if g.erased(w, r, picture) {
		return
	}
	h := w.Header()
	h.Set("Cache-Control", redirectCaching)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Location", g.o.MediaRedirect+key)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// erased answers for a picture that was erased, or about which it cannot be known, and reports
// whether it did.
func (g *Gateway) erased(w http.ResponseWriter, r *http.Request, picture string) bool {
	if g.o.Erased == nil {
		return false
	}
	gone, err := g.o.Erased(r.Context(), picture)
	if err != nil {
		g.failLog(w, r, "picture", err)
		return true
	}
	if gone {
		g.problem(w, r, http.StatusGone, "This picture was withdrawn.")
	}
	return gone
}

// sendPicture answers with the object: from the cache, or as it comes if it is large. On an error,
// nothing was sent.
func (g *Gateway) sendPicture(w http.ResponseWriter, r *http.Request, key, mediaType string) error {
	v, _, err := g.media.get(r.Context(), key)
	if err == nil {
		g.pictureHeaders(w, r, mediaType, v.plain.etag)
		http.ServeContent(w, r, "", v.modified, bytes.NewReader(v.plain.body))
		return nil
	}
	if !errors.Is(err, objects.ErrTooLarge) {
		return err
	}
	reader, info, err := g.o.Objects.Reader(r.Context(), key)
	if err != nil {
		return err
	}
	defer reader.Close()
	g.pictureHeaders(w, r, mediaType, []string{quoteTag(info.ETag)})
	body := &watched{ReadSeeker: reader}
	http.ServeContent(w, r, "", info.Modified, body)
	if body.err != nil && r.Context().Err() == nil {
		// The length was announced, so that the reader sees that something is missing.
		g.o.Log.Warn().Err(body.err).Msg("picture cut off")
	}
	return nil
}

// pictureVersion makes what is served of a stored picture.
func pictureVersion(o objects.Object, _ *version) *version {
	tag := quoteTag(o.ETag)
	return &version{plain: variant{body: o.Body, tag: tag, etag: []string{tag}}, modified: o.Modified, stored: o.ETag}
}

func quoteTag(etag string) string { return `"` + etag + `"` }

func (g *Gateway) pictureHeaders(w http.ResponseWriter, r *http.Request, mediaType string, etag []string) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	if !strings.HasPrefix(mediaType, "image/") { // to be kept, not to be opened in our name
		h.Set("Content-Disposition", "attachment")
	}
	h.Set("Cache-Control", mediaCaching)
	h["Etag"] = etag
	h.Set("Content-Security-Policy", inert)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // to be shown on portals' pages
	// Several ranges at once help no viewer of pictures, but make work out of one request for
	// whoever sends a thousand. They may be ignored (RFC 9110 §14.2).
	if ranges := r.Header["Range"]; len(ranges) > 1 || len(ranges) == 1 && strings.Contains(ranges[0], ",") {
		r.Header.Del("Range")
	}
	// Not every writer has deadlines; net/http's have.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(mediaTimeout))
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
