package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	// BulletinManifest says that the bulletin is a page of a [Manifest].
	BulletinManifest = "loa.manifest"
	// TypeHoldings marks the answer to one: [Holdings].
	TypeHoldings = "loa.holdings"
)

const (
	// MaxManifestEntries is how many entries a page of a manifest has at most.
	MaxManifestEntries = 200
	// MaxHoldings is how many an answer has at most: a page's, and as many that Loa does not know
	// of. With every field at its limit they are still smaller than [MaxBulletinBytes].
	MaxHoldings = 2 * MaxManifestEntries
)

// Manifest is one page of what a portal is to hold, as Loa sees it. It is sent when an operator
// wants to know whether the portal does, signed like a bulletin. A portal need not answer more
// than 2xx; one that answers with [Holdings] has what differs found, and mended.
type Manifest struct {
	Type string `json:"type"` // BulletinManifest
	// Timestamp is when the comparison began; the same on all its pages.
	Timestamp time.Time    `json:"timestamp"`
	Data      ManifestPage `json:"data"`
}

// ManifestPage is about the articles whose GUID is greater than After and, unless UpTo is empty,
// not greater than UpTo, byte by byte. Together the pages are about all there can be.
type ManifestPage struct {
	Page int `json:"page"` // counts from 1
	// After is empty on the first page, UpTo on the last.
	After string `json:"after"`
	UpTo  string `json:"up_to,omitempty"`
	// Entries are what the portal is to hold of them, in the order of their GUIDs.
	Entries []ManifestEntry `json:"entries"`
}

// Includes reports whether the page is about the article of this GUID.
func (p ManifestPage) Includes(guid string) bool {
	return guid > p.After && (p.UpTo == "" || guid <= p.UpTo)
}

// ManifestEntry is the state in which an article is, or is to be, at a portal.
type ManifestEntry struct {
	GUID     string `json:"guid"`
	Site     string `json:"site"`
	ID       string `json:"id"`
	Version  int64  `json:"version"`
	Revision int64  `json:"revision"`
	Status   string `json:"status"`
	// Hash is that of the content: [BulletinArticle.Hash]. In an answer it may be empty; then
	// contents are not compared.
	Hash string `json:"hash,omitempty"`
}

// Holdings is what a portal answers a page with.
type Holdings struct {
	Type string `json:"type"` // TypeHoldings
	// Holds are the articles that the portal holds and the page is about, whether they are among
	// its entries or not; withdrawn ones may be left out.
	Holds []ManifestEntry `json:"holds"`
	// Compared says that the portal has compared by itself: then Holds are only those that are
	// not as the page says, and Missing the GUIDs of entries of which it holds nothing.
	Compared bool     `json:"compared,omitzero"`
	Missing  []string `json:"missing,omitempty"`
	// UpTo, if it is set, is the GUID up to which the answer goes, since there is more than
	// [MaxHoldings]. Another page follows that begins after it.
	UpTo string `json:"up_to,omitempty"`
}

// Entry is the article's line in a manifest.
func (a BulletinArticle) Entry() ManifestEntry {
	return ManifestEntry{GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Version, Revision: a.Revision, Status: a.Status, Hash: a.Hash()}
}

// Hash is that of what people see of the article: "sha256:" and the hex of the SHA-256 of title,
// url, summary, body, correction and the address of the lead image, in this order, with a byte 0
// between one and the next. What is not there is empty.
func (a BulletinArticle) Hash() string {
	image := ""
	if a.Image != nil {
		image = a.Image.URL
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{a.Title, a.URL, a.Summary, a.Body, a.Correction, image}, "\x00")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseManifest reads a page of a manifest. Like [ParseBulletin] it ignores fields that it does
// not know.
func ParseManifest(body []byte) (Manifest, error) {
	var m Manifest
	if err := parseComparison("manifest", body, &m); err != nil {
		return Manifest{}, err
	}
	if m.Type != BulletinManifest {
		return Manifest{}, fmt.Errorf("parse manifest: type %q, expected %s", cut(m.Type), BulletinManifest)
	}
	return m, nil
}

// ErrNoHoldings is returned by [ParseHoldings], wrapped, for what is no answer to a manifest but
// that to some bulletin.
var ErrNoHoldings = errors.New("not the answer to a manifest")

// ParseHoldings reads the answer to a page of a manifest, and checks that it is one: that nothing
// is named twice, or that the page is not about.
func ParseHoldings(body []byte, page ManifestPage) (Holdings, error) {
	var h Holdings
	err := parseComparison("holdings", body, &h)
	switch {
	case err != nil && (len(body) > MaxBulletinBytes || bytes.Contains(body, []byte(TypeHoldings))):
		return Holdings{}, err
	case err != nil, h.Type != TypeHoldings:
		return Holdings{}, ErrNoHoldings
	}
	if err := h.check(page); err != nil {
		return Holdings{}, fmt.Errorf("parse holdings: %w", err)
	}
	return h, nil
}

func parseComparison(what string, body []byte, into any) error {
	if len(body) > MaxBulletinBytes {
		return fmt.Errorf("parse %s: %d bytes, expected at most %d", what, len(body), MaxBulletinBytes)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("parse %s: %w", what, err)
	}
	return nil
}

func (h Holdings) check(page ManifestPage) error {
	if h.UpTo != "" {
		if !page.Includes(h.UpTo) {
			return fmt.Errorf("up_to %q: expected a guid that the page is about", cut(h.UpTo))
		}
		if len(h.Holds) < MaxManifestEntries { // else there might be no end of pages
			return fmt.Errorf("up_to beside %d articles: expected it only where there are more than %d", len(h.Holds), MaxManifestEntries)
		}
		page.UpTo = h.UpTo
	}
	if len(h.Missing) > 0 && !h.Compared {
		return errors.New("missing: expected only beside compared")
	}
	seen := make(map[string]bool, len(h.Holds)+len(h.Missing))
	once := func(guid string) error {
		if !page.Includes(guid) {
			return fmt.Errorf("guid %q: expected one after %q and up to %q", cut(guid), page.After, page.UpTo)
		}
		if seen[guid] {
			return fmt.Errorf("guid %q: named twice", cut(guid))
		}
		seen[guid] = true
		return nil
	}
	for _, e := range h.Holds {
		if err := once(e.GUID); err != nil {
			return err
		}
		if e.Version < 1 || e.Status != StatusLive && e.Status != StatusWithdrawn {
			return fmt.Errorf("guid %q: version %d, status %q: expected a version and %s or %s", cut(e.GUID), e.Version, cut(e.Status), StatusLive, StatusWithdrawn)
		}
	}
	for _, guid := range h.Missing {
		if err := once(guid); err != nil {
			return err
		}
	}
	return nil
}

// Lister gives what a portal holds of the articles whose GUID is greater than after and, unless
// upTo is empty, not greater than upTo, the smallest first: all of them, or the first most. GUIDs
// are compared byte by byte; in SQL that is the collation "C", or a binary one.
type Lister func(ctx context.Context, after, upTo string, most int) ([]ManifestEntry, error)

// ComparingHandler is [HandlerFor] for a portal that answers manifests with what it holds. Such a
// portal takes a bulletin of the version that it holds in the place of its own where the content
// is another one: Loa sends it to mend what was found to differ.
func ComparingHandler(v *Verifier, parse func(contentType string, body []byte) ([]Bulletin, error), receive func(ctx context.Context, b Bulletin) error, list Lister) http.Handler {
	return handler{v, parse, receive, list}
}

// answer answers a page of a manifest.
func (l Lister) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	m, err := ParseManifest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h := Holdings{Type: TypeHoldings}
	if h.Holds, err = l(r.Context(), m.Data.After, m.Data.UpTo, MaxHoldings); err != nil {
		http.Error(w, "what is held could not be listed", http.StatusInternalServerError)
		return
	}
	if len(h.Holds) >= MaxHoldings {
		h.UpTo = h.Holds[len(h.Holds)-1].GUID
	}
	answer, err := json.Marshal(h)
	if err != nil {
		http.Error(w, "what is held could not be listed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", JSONType)
	w.Write(answer)
}
