package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/klauspost/compress/gzip"

	"github.com/loa-syndication/loa/internal/gateway"
)

const (
	// writeTimeout is for an answer, after what it waited for: 4 MiB take 30 s at 1 Mbit/s.
	writeTimeout = 30 * time.Second
	// zipFrom is the size, in bytes, from which an answer is worth compressing.
	zipFrom = 1 << 10
	// tagBytes of its SHA-256 tell one representation from others.
	tagBytes = 12
)

// kept is an answer that is kept until it is whole, so that it has an entity tag and a length.
type kept struct {
	w      http.ResponseWriter
	status int
	body   bytes.Buffer
}

func newKept(w http.ResponseWriter) *kept { return &kept{w: w} }

func (k *kept) Header() http.Header { return k.w.Header() }

func (k *kept) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

func (k *kept) Write(p []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(p)
}

var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is one
	return z
}}

// send sends the answer: with a strong entity tag for each of its codings, or as 304.
func (k *kept) send(r *http.Request, described bool) {
	h, body := k.w.Header(), k.body.Bytes()
	if h.Get("Cache-Control") == "" {
		if described {
			h.Set("Cache-Control", "public, max-age=300")
		} else {
			h.Set("Cache-Control", "no-store")
		}
	}
	h.Add("Vary", "Accept-Encoding")
	zipped := len(body) >= zipFrom && gateway.AcceptsGzip(r.Header)
	if k.status == http.StatusOK {
		hash := sha256.Sum256(body)
		tag := hex.EncodeToString(hash[:tagBytes])
		if zipped {
			tag += "-gzip"
		}
		h.Set("Etag", `"`+tag+`"`)
		if status := gateway.Conditions(r.Header, `"`+tag+`"`); status != http.StatusOK {
			h.Del("Content-Type")
			k.w.WriteHeader(status)
			return
		}
	}
	if zipped {
		var b bytes.Buffer
		z := zippers.Get().(*gzip.Writer)
		z.Reset(&b)
		z.Write(body) // into memory
		z.Close()
		zippers.Put(z)
		body = b.Bytes()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	k.w.WriteHeader(k.status)
	if r.Method != http.MethodHead {
		k.w.Write(body)
	}
}

// problem answers as RFC 9457 says.
func problem(w http.ResponseWriter, status int, detail string, faults ...*huma.ErrorDetail) {
	body, _ := json.Marshal(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail, Errors: faults}) // of texts
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}

// allowOrigins lets pages of all origins read answers: there are no cookies by which they would
// learn what others may not.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag, Link, RateLimit, RateLimit-Policy, Retry-After")
}

// preflight answers a browser that asks whether it may (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
func preflight(h http.Header) {
	h.Set("Allow", allowed)
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Allow-Headers", "Authorization, If-None-Match, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "86400")
}
