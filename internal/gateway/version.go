package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// version is one state of a document, made once and served many times. What it holds is shared
// by all answers, the header values included.
type version struct {
	plain variant
	// coded has the variants of content codings that make it smaller, each made once, when the first
	// reader takes it: see [version.variant].
	coded [codingCount]codedVariant
	// later makes what takes so long that no reader should wait for it; nil: it does not take long.
	later func(make func())
	// header holds all that the variants have in common.
	header []headerField
	// notModified is the part of header that goes with a 304 (RFC 9110 §15.4.5).
	notModified []headerField
	modified    time.Time
	date        []string // modified, as Last-Modified
	// dated is set once modified is long enough ago to be told: see [settled].
	dated atomic.Bool
	// stored is the object store's ETag of what this was made from.
	stored string
	// edition is set once a reader asked for deltas of the feed; see delta.go.
	edition atomic.Pointer[edition]
	// pages are made of a feed when they are first asked for; see feedpage.go.
	pages struct {
		sync.Mutex // held while one is made
		made       [pageLanguages]atomic.Pointer[version]
	}
}

// variant is a version in one content coding.
type variant struct {
	body   []byte
	tag    string // strong: see [newVariant]
	etag   []string
	length []string
	coding []string // nil: none
}

type codedVariant struct {
	atomic.Pointer[variant] // nil: it is not there yet, or gains nothing
	tried                   atomic.Bool
	making                  sync.Mutex // held while it is made, so that one is made for all who wait
}

type headerField struct {
	name   string // canonical
	values []string
}

// newVersion hashes body. Each of the fields goes with a 304 as well, unless it is about the body.
func newVersion(body []byte, modified time.Time, fields ...headerField) *version {
	v := &version{plain: newVariant(body, "", nil)}
	v.setModified(modified)
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

func (v *version) setModified(t time.Time) {
	v.modified, v.date = t, nil
	if !t.IsZero() {
		v.date = []string{t.UTC().Format(http.TimeFormat)}
	}
}

// variant is that of a coding; nil where it gains nothing, or while Brotli, of which a large feed
// takes seconds, is made: meanwhile, readers get another.
func (v *version) variant(coding int) *variant {
	c := &v.coded[coding]
	if c.tried.Load() || len(v.plain.body) < minCoded {
		return c.Load()
	}
	if coding == codedBrotli && v.later != nil {
		if !c.tried.Swap(true) {
			v.later(func() { v.encode(coding) })
		}
		return c.Load()
	}
	c.making.Lock()
	defer c.making.Unlock()
	if !c.tried.Load() {
		v.encode(coding)
		c.tried.Store(true)
	}
	return c.Load()
}

func (v *version) encode(coding int) {
	c := &codings[coding]
	if body := c.encode(v.plain.body); len(body) < len(v.plain.body) {
		one := newVariant(body, v.plain.tag, c.header)
		v.coded[coding].Store(&one)
	}
}

// encodeLike makes the variants that readers took of a former version, before they ask.
func (v *version) encodeLike(former *version) {
	for i := range v.coded {
		if former.coded[i].tried.Load() {
			v.variant(i)
		}
	}
}

const (
	// tagBytes of a body's SHA-256 make its ETag.
	tagBytes = 16
	// codedTagBytes of that of a coded body are added, to tell variants of one version apart.
	codedTagBytes = 6
)

// newVariant makes the variant of the version whose plain tag is of; "" for the plain one. By the
// tag of any variant, [versionOf] knows the version.
func newVariant(body []byte, of string, coding []string) variant {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:tagBytes]) + `"`
	if of != "" {
		tag = of[:len(of)-1] + "-" + hex.EncodeToString(sum[:codedTagBytes]) + `"`
	}
	return variant{body: body, tag: tag, etag: []string{tag}, length: []string{strconv.Itoa(len(body))}, coding: coding}
}

// size in bytes, so far.
func (v *version) size() int64 {
	n := len(v.plain.body)
	for i := range v.coded {
		if one := v.coded[i].Load(); one != nil {
			n += len(one.body)
		}
	}
	if e := v.edition.Load(); e != nil {
		n += len(e.parts)*partBytes + len(e.former)*formerBytes
	}
	size := int64(n)
	for i := range v.pages.made {
		if page := v.pages.made[i].Load(); page != nil {
			size += page.size()
		}
	}
	return size
}

// partBytes and formerBytes are what an edition takes for an entry and for a former version.
const (
	partBytes   = 32
	formerBytes = 80
)

// settled is how old a version has to be before it is served with Last-Modified, whose unit is
// the second: while another version may come about in the same one, the time would not tell
// them apart (RFC 9110 §8.8.2.2).
const settled = 2 * time.Second

// pick is the variant that the reader likes best.
func (v *version) pick(accept []string) *variant {
	if len(accept) == 0 {
		return &v.plain
	}
	weights, identity := usualWeights[accept[0]], 0.0
	if weights == nil || len(accept) > 1 {
		var all [codingCount]float64
		all, identity = codingWeights(accept)
		weights = &all
	}
	best, most := &v.plain, 0.0
	for i := range v.coded {
		if q := weights[i]; q > most && q >= identity {
			if one := v.variant(i); one != nil {
				best, most = one, q
			}
		}
	}
	return best
}

// serve answers with the variant that the reader takes, or with 304 or 412.
func (v *version) serve(w http.ResponseWriter, r *http.Request) {
	one := v.pick(r.Header["Accept-Encoding"])
	status := v.begin(w, r, one)
	fields := v.header
	if status != http.StatusOK {
		fields = v.notModified
	}
	h := w.Header()
	for _, f := range fields {
		h[f.name] = f.values
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	if one.coding != nil {
		h["Content-Encoding"] = one.coding
	}
	h["Content-Length"] = one.length
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(one.body) // a reader that went away is none of our concern
	}
}

// begin says what identifies the variant, and gives the status that the request's conditions lead
// to: 200, 304 or 412.
func (v *version) begin(w http.ResponseWriter, r *http.Request, one *variant) int {
	h := w.Header()
	h["Etag"] = one.etag
	var modified time.Time
	if v.date != nil && (v.dated.Load() || time.Since(v.modified) >= settled) {
		v.dated.Store(true)
		modified = v.modified
		h["Last-Modified"] = v.date
	}
	return precondition(r.Header, one.tag, modified)
}
