package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Delta encoding (RFC 3229), with the instance manipulation that feed readers know, "feed": who has
// a former version of a feed is sent the entries that are not in it, as a feed.
//
//	GET /feeds/phuong-cau-go/feed.atom       HTTP/1.1 226 IM Used
//	A-IM: feed                           ─▶  IM: feed
//	If-None-Match: "5f…"                     ETag: "a7…"
//
// An entry is new when it is not there in the same form, so that corrections, tombstones and the
// stubs of what was withdrawn are sent too; none of them names what merely fell off the end. The
// head of the document, where JSON Feed has its tombstones, is always sent whole.
//
// What former versions held is not kept. Each entry of the current one knows instead since which
// version it has been there as it is, and versions are numbered; a number costs some bytes. It is
// begun when the first reader asks for deltas: feeds of which nobody does cost nothing.

// maxFormer is how many former versions of a feed are known, some ten kilobytes: if it changes every
// minute, those of two hours. Who has an older one is sent the whole feed.
const maxFormer = 128

// edition is a version's place among those of its feed. It does not change.
type edition struct {
	number int
	parts  []part
	// former has the numbers of former versions, by their plain tag.
	former map[string]int
}

// part is an entry in a body, with the white space or comma that follows.
type part struct {
	begin, end int
	sum        [8]byte // of its bytes
	since      int     // the first version that had it
}

// firstEdition begins to count.
func firstEdition(body []byte) (*edition, error) {
	parts, err := outline(body)
	if err != nil {
		return nil, err
	}
	return &edition{parts: parts}, nil
}

// next is the edition of what follows the version of the tag.
func (e *edition) next(tag string, body []byte) (*edition, error) {
	parts, err := outline(body)
	if err != nil {
		return nil, err
	}
	known := make(map[[8]byte]int, len(e.parts))
	for _, p := range e.parts {
		known[p.sum] = p.since
	}
	n := &edition{number: e.number + 1, parts: parts, former: maps.Clone(e.former)}
	for i := range parts {
		parts[i].since = n.number
		if since, ok := known[parts[i].sum]; ok {
			parts[i].since = since
		}
	}
	if n.former == nil {
		n.former = make(map[string]int)
	}
	n.former[tag] = e.number
	for tag, number := range n.former {
		if number < n.number-maxFormer {
			delete(n.former, tag)
		}
	}
	return n, nil
}

// followEdition numbers a version that follows another of which deltas were asked for.
func (g *Gateway) followEdition(v, old *version) {
	e := old.edition.Load()
	if e == nil {
		return
	}
	if v.plain.tag != old.plain.tag {
		var err error
		if e, err = e.next(old.plain.tag, v.plain.body); err != nil {
			g.o.Log.Warn().Err(err).Msg("no deltas of a feed")
			return
		}
	}
	v.edition.Store(e)
}

// base is the latest of the former versions that a reader says it has, with the tag by which it
// calls it.
func (e *edition) base(ifNoneMatch []string) (tag string, number int, ok bool) {
	number = -1
	for one := range entityTags(ifNoneMatch) {
		if n, known := e.former[versionOf(one.tag)]; known && n > number {
			tag, number = one.tag, n
		}
	}
	return tag, number, number >= 0
}

// since gives the document with the entries alone that came after a version; nil if there are none.
func (e *edition) since(number int, body []byte) []byte {
	var b bytes.Buffer
	at, kept := 0, 0
	for _, p := range e.parts {
		if p.since > number {
			kept++
			continue
		}
		b.Write(body[at:p.begin])
		at = p.end
	}
	if kept == 0 {
		return nil
	}
	rest := body[at:]
	if isJSON(body) && at == e.parts[len(e.parts)-1].end {
		b.Truncate(len(bytes.TrimRight(b.Bytes(), ", \t\r\n"))) // the comma after what is the last now
	}
	b.Write(rest)
	return b.Bytes()
}

// serveDelta answers with what is newer than what the reader has, if it asks for that, it can be
// known, and it is less than the whole; it reports whether it has.
func (g *Gateway) serveDelta(w http.ResponseWriter, r *http.Request, v *version) bool {
	if accepted(r.Header["A-Im"], "feed") == 0 {
		return false
	}
	e := v.edition.Load()
	if e == nil {
		var err error
		if e, err = firstEdition(v.plain.body); err != nil {
			g.o.Log.Warn().Err(err).Msg("no deltas of a feed")
			return false
		}
		v.edition.CompareAndSwap(nil, e)
		return false
	}
	tag, number, ok := e.base(r.Header["If-None-Match"])
	if !ok {
		return false
	}
	one := v.pick(r.Header["Accept-Encoding"])
	body := e.since(number, v.plain.body)
	if body == nil || len(body) >= len(one.body) {
		return false
	}
	if status := v.begin(w, r, one); status != http.StatusOK {
		return false // it has the current version too, or another condition does not hold
	}
	h := w.Header()
	for _, f := range v.header {
		h[f.name] = f.values
	}
	h["IM"] = deltaManipulation
	h["Delta-Base"] = []string{tag}
	h["Cache-Control"] = deltaCaching
	h["Vary"] = deltaVary
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusIMUsed)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
	return true
}

var (
	deltaManipulation = []string{"feed"}
	// deltaCaching keeps a delta out of caches that do not know what it is: those that do are told by
	// "im" that no-store is not for them (RFC 3229 §10.8.1).
	deltaCaching = []string{"no-store, im"}
	deltaVary    = []string{"Accept, Accept-Encoding, A-IM, If-None-Match"}
)

// outline finds the entries in a feed.
func outline(body []byte) ([]part, error) {
	find := outlineXML
	if isJSON(body) {
		find = outlineJSON
	}
	parts, err := find(body)
	if err != nil {
		return nil, fmt.Errorf("find the entries of a feed: %w", err)
	}
	for i := range parts {
		p := &parts[i]
		sum := sha256.Sum256(body[p.begin:p.end])
		p.sum = [8]byte(sum[:8])
		p.end += len(body[p.end:]) - len(bytes.TrimLeft(body[p.end:], ", \t\r\n"))
	}
	return parts, nil
}

func isJSON(body []byte) bool { return len(body) > 0 && body[0] == '{' }

// entryElements are those that are entries, in RSS and in Atom, tombstones included (RFC 6721).
var entryElements = []string{"item", "entry", "deleted-entry"}

// outlineXML finds them below the channel of RSS, or the root of Atom.
func outlineXML(body []byte) (parts []part, err error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	depth, within := 0, 0 // within: the depth of the entry that is being read
	for {
		before := int(dec.InputOffset())
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			if within == 0 && slices.Contains(entryElements, t.Name.Local) {
				within = depth
				parts = append(parts, part{begin: before})
			}
		case xml.EndElement:
			if depth == within && depth > 0 {
				parts[len(parts)-1].end, within = int(dec.InputOffset()), 0
			}
			depth--
		}
	}
}

// outlineJSON finds the items of a JSON Feed.
func outlineJSON(body []byte) (parts []part, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if name != "items" {
			if err := dec.Decode(&value); err != nil {
				return nil, err
			}
			continue
		}
		if begin, err := dec.Token(); err != nil || begin != json.Delim('[') {
			return nil, fmt.Errorf("items: expected an array, got %v: %w", begin, err)
		}
		for dec.More() {
			if err := dec.Decode(&value); err != nil {
				return nil, err
			}
			end := int(dec.InputOffset())
			parts = append(parts, part{begin: end - len(value), end: end})
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// versionOf is the plain tag of the version of which a tag is one variant's.
func versionOf(tag string) string {
	if plain, _, coded := strings.Cut(tag, "-"); coded {
		return plain + `"`
	}
	return tag
}
