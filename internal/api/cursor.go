package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/streams"
)

// A cursor of a list is a position, with the hash of the query to which it belongs and one of
// itself, so that one that was mangled, made up, or taken to another query is refused rather than
// understood as something. It tells nothing that its bearer does not know, and opens nothing: it
// needs no signature.

const (
	cursorForm  = 1 // of what is within
	cursorCheck = 6 // bytes of the hashes
	maxCursor   = 512
)

func shortHash(parts ...[]byte) []byte {
	h := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return h[:cursorCheck]
}

// fingerprint tells a query from others.
func fingerprint(q listing.Query) []byte {
	return shortHash(fmt.Appendf(nil, "%q", []string{strings.Join(q.Sites, ","), strconv.FormatBool(q.Sites == nil), q.Category, q.Tag, q.Language,
		strconv.Itoa(q.Urgency), q.Since.UTC().Format(time.RFC3339Nano), q.Until.UTC().Format(time.RFC3339Nano), q.Status}))
}

func listCursor(p listing.Position, q listing.Query) string {
	b := []byte{cursorForm}
	b = append(b, fingerprint(q)...)
	b = binary.AppendUvarint(b, p.AsOf)
	b = binary.AppendVarint(b, p.Published)
	b = append(b, p.Key...)
	return base64.RawURLEncoding.EncodeToString(append(b, shortHash(b)...))
}

func parseListCursor(text string, q listing.Query) (p listing.Position, err error) {
	if text == "" {
		return p, nil
	}
	fault := invalid("query.cursor", text, "expected the next of an answer, unchanged")
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor || len(b) < 1+2*cursorCheck || b[0] != cursorForm {
		return p, fault
	}
	b, check := b[:len(b)-cursorCheck], b[len(b)-cursorCheck:]
	if !bytes.Equal(check, shortHash(b)) {
		return p, fault
	}
	of, rest := b[1:1+cursorCheck], b[1+cursorCheck:]
	if !bytes.Equal(of, fingerprint(q)) {
		return p, invalid("query.cursor", text, "belongs to another query: expected the one that it came with, in every parameter but limit and fields")
	}
	var n, m int
	p.AsOf, n = binary.Uvarint(rest)
	p.Published, m = binary.Varint(rest[max(n, 0):])
	if n <= 0 || m <= 0 {
		return listing.Position{}, fault
	}
	if p.Key, err = streams.ParseKey(string(rest[n+m:])); err != nil {
		return listing.Position{}, fault
	}
	return p, nil
}

// A cursor of the changes is the log's identity, which is when it was made, and a sequence of it.

// now asks for the changes from now on.
const now = "now"

func changesCursor(born time.Time, seq uint64) string {
	return strconv.FormatInt(born.UnixMilli(), 36) + "-" + strconv.FormatUint(seq, 10)
}

// parseChangesCursor reads a cursor of the log that was made then; other reports one of another log.
func parseChangesCursor(text string, born time.Time) (seq uint64, other, ok bool) {
	of, number, cut := strings.Cut(text, "-")
	made, err := strconv.ParseInt(of, 36, 64)
	seq, err2 := strconv.ParseUint(number, 10, 64)
	if !cut || err != nil || err2 != nil || changesCursor(time.UnixMilli(made), seq) != text {
		return 0, false, false
	}
	return seq, made != born.UnixMilli(), true
}
