package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
)

// version is one state of a document, made once and served many times. It does not change:
// what it holds is shared by all answers, the header values included.
type version struct {
	plain, gzip variant // gzip.body is nil where compression gains nothing
	// header holds all that both variants have in common.
	header []headerField
	// notModified is the part of header that goes with a 304 (RFC 9110 §15.4.5).
	notModified []headerField
	modified    time.Time
	// stored is the object store's ETag of what this was made from.
	stored string
}

// variant is a version in one content coding.
type variant struct {
	body   []byte
	tag    string // strong: a hash of body
	etag   []string
	length []string
}

type headerField struct {
	name   string // canonical
	values []string
}

// minGzip is the size in bytes from which compression is tried: less fits into a packet.
const minGzip = 1 << 10

// newVersion hashes and compresses body. Each of the fields goes with a 304 as well, unless it
// is about the body.
func newVersion(body []byte, modified time.Time, fields ...headerField) *version {
	v := &version{plain: newVariant(body), modified: modified}
	fields = append(fields, headerField{"Vary", []string{"Accept-Encoding"}})
	if len(body) >= minGzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b) // with a zero time: the same bytes every time
		z.Write(body)           // a buffer takes all
		if z.Close() == nil && b.Len() < len(body) {
			v.gzip = newVariant(bytes.Clone(b.Bytes()))
		}
	}
	for _, f := range fields {
		if f.values == nil {
			continue
		}
		v.header = append(v.header, f)
		if f.name != "Content-Type" {
			v.notModified = append(v.notModified, f)
		}
	}
	return v
}

// tagBytes of a body's SHA-256 make its ETag.
const tagBytes = 16

func newVariant(body []byte) variant {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:tagBytes]) + `"`
	return variant{body: body, tag: tag, etag: []string{tag}, length: []string{strconv.Itoa(len(body))}}
}

func (v *version) size() int64 { return int64(len(v.plain.body) + len(v.gzip.body)) }

// settled is how old a version has to be before it is served with Last-Modified, whose unit is
// the second: while another version may come about in the same one, the time would not tell
// them apart (RFC 9110 §8.8.2.2).
const settled = 2 * time.Second

// serve answers with the variant that the reader takes, or with 304 or 412.
func (v *version) serve(w http.ResponseWriter, r *http.Request) {
	one, coding := &v.plain, []string(nil)
	if v.gzip.body != nil && acceptsGzip(r.Header["Accept-Encoding"]) {
		one, coding = &v.gzip, gzipCoding
	}
	modified := v.modified
	if time.Since(modified) < settled {
		modified = time.Time{}
	}
	h := w.Header()
	h["Etag"] = one.etag
	if !modified.IsZero() {
		h["Last-Modified"] = []string{modified.UTC().Format(http.TimeFormat)}
	}
	status := precondition(r.Header, one.tag, modified)
	fields := v.header
	if status != http.StatusOK {
		fields = v.notModified
	}
	for _, f := range fields {
		h[f.name] = f.values
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	if coding != nil {
		h["Content-Encoding"] = coding
	}
	h["Content-Length"] = one.length
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(one.body) // a reader that went away is none of our concern
	}
}

var gzipCoding = []string{"gzip"}
