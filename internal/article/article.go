// Package article is the domain: the canonical, sanitised state of one article, and the text
// rules that make it (Unicode, HTML, summaries).
//
// An [Article] is what the log holds, one message per article, and what every target is kept
// level with. It is made by workers/intake from an event, and only read after that. The
// package knows nothing of NATS, S3 or HTTP.
package article

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loa-syndication/loa/events"
)

// Article is one article's current version.
type Article struct {
	// GUID is the public identifier, fixed at first publication.
	GUID string `json:"guid"`
	Site string `json:"site"`
	ID   string `json:"id"`
	Version
	// Status is [events.StatusLive] or [events.StatusWithdrawn].
	Status string `json:"status"`
	// Digests are the hashes of the events of this Version that were applied (the snapshot,
	// and a withdrawal of the same version): by them a repeat is told from a contradiction.
	Digests []string `json:"digests"`

	URL        string            `json:"url"`
	Title      string            `json:"title"`
	Summary    string            `json:"summary,omitempty"` // plain text
	Body       string            `json:"body,omitempty"`    // sanitised HTML, absolute links
	Language   string            `json:"language"`
	Authors    []events.Author   `json:"authors,omitempty"`
	Categories []events.Category `json:"categories,omitempty"`
	Tags       []string          `json:"tags,omitempty"`
	Urgency    int               `json:"urgency"` // 1 to 8
	Published  time.Time         `json:"published"`
	Updated    time.Time         `json:"updated"`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty"`
	Correction string            `json:"correction,omitempty"`
	Source     *events.Source    `json:"source,omitempty"`
	Places     []events.Place    `json:"places,omitempty"`
	Rights     *events.Rights    `json:"rights,omitempty"`
	Images     []Image           `json:"images,omitempty"`

	Attachments []Attachment `json:"attachments,omitempty"`

	// Withdrawal is set when Status is [events.StatusWithdrawn]. A withdrawn article keeps its
	// title, address and selections, but not its content.
	Withdrawal *events.BulletinWithdrawal `json:"withdrawal,omitempty"`

	// Expired says that Loa itself withdrew the article, at the time that the CMS had set.
	Expired bool `json:"expired,omitempty"`

	// Kept are the pictures, by SHA-256, that a withdrawn article no longer shows and that were not
	// to be erased. Released are those that former versions used and this one does not, the latest
	// last: each is erased after a grace period, unless another article uses it.
	Kept     []string `json:"kept,omitempty"`
	Released []string `json:"released,omitempty"`
	// Gallery are the pictures, by SHA-256, that a withdrawn article showed in its site's gallery,
	// where each has an entry of its own, which readers are to be rid of.
	Gallery []string `json:"gallery,omitempty"`

	// Accepted is when this version entered the log.
	Accepted time.Time `json:"accepted"`

	// Ever remembers every selection that a former version was part of, so that what showed
	// it learns of the new one.
	Ever Selections `json:"ever"`
}

// Version orders the states of an article: by the CMS's number, then by Loa's revision of it.
type Version struct {
	Number int64 `json:"version" doc:"The site's number of this state of the article; it only grows."`
	// Revision counts what Loa changed by itself since the CMS's version: an image that came
	// late, an expiry.
	Revision int64 `json:"revision" doc:"How often Loa itself changed that version: a late picture, an expiry."`
}

// Compare is negative when v is older than w, positive when it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Number, w.Number), cmp.Compare(v.Revision, w.Revision))
}

// String gives "7", or "7.1" for the first revision of version 7.
func (v Version) String() string {
	if v.Revision == 0 {
		return fmt.Sprint(v.Number)
	}
	return fmt.Sprintf("%d.%d", v.Number, v.Revision)
}

// Selections are the categories, tags, authors, languages and the greatest urgency (lowest number)
// an article ever had, and what else decides where it was shown.
type Selections struct {
	Categories []string `json:"categories,omitempty"` // ids, sorted
	Tags       []string `json:"tags,omitempty"`       // sorted
	Authors    []string `json:"authors,omitempty"`    // names, sorted
	Languages  []string `json:"languages,omitempty"`  // sorted
	Urgency    int      `json:"urgency,omitempty"`
	// Gallery says that it once showed pictures of a gallery.
	Gallery bool `json:"gallery,omitempty"`
	// Published are the times at which it ever was published, the one that came last at the end.
	Published []time.Time `json:"published,omitempty"`
}

// Image is a picture of the article. One without SHA256 has not arrived (yet): it is shown
// nowhere.
type Image struct {
	events.Image // without Data
	// SHA256 is the hex digest of the original: its name in the object store.
	SHA256 string `json:"sha256,omitempty"`
	// Original is the stored original; its URL, like those of the renditions, is an object key
	// until a document is made for somebody, who is given an absolute address.
	Original   events.Rendition   `json:"original,omitzero"`
	Renditions []events.Rendition `json:"renditions,omitempty"`
	// Crops are cut to a ratio about the focal point.
	Crops []Crop `json:"crops,omitempty"`
	// Thumbhash (https://evanw.github.io/thumbhash/) and Colour, the dominant one as "#rrggbb",
	// are what a page may show until the picture is there.
	Thumbhash []byte `json:"thumbhash,omitempty"`
	Colour    string `json:"colour,omitempty"`
	// Fault says why the picture is missing; Pending, that it is still being tried.
	Fault   string `json:"fault,omitempty"`
	Pending bool   `json:"pending,omitempty"`
}

// Crop is a rendition of a part of the picture.
type Crop struct {
	Ratio string `json:"ratio"` // of width to height, "1:1" or "16:9"
	events.Rendition
}

// Stored reports whether the picture is in the object store.
func (i Image) Stored() bool { return i.SHA256 != "" }

// Pictures are the stored pictures and attachments that the article uses, by SHA-256, sorted: those
// it shows, and those that a withdrawal left in place.
func (a *Article) Pictures() []string {
	all := slices.Clone(a.Kept)
	for _, img := range a.Images {
		if img.Stored() {
			all = append(all, img.SHA256)
		}
	}
	for _, at := range a.Attachments {
		if at.SHA256 != "" {
			all = append(all, at.SHA256)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// HasGallery reports whether the article shows pictures of a gallery.
func (a *Article) HasGallery() bool {
	return slices.ContainsFunc(a.Images, func(i Image) bool { return i.Role == events.RoleGallery && i.Stored() })
}

// GalleryPictures are the stored pictures, by SHA-256, that the article shows in its site's gallery, or
// did until it was withdrawn, each once and in its order.
func (a *Article) GalleryPictures() []string {
	all := slices.Clone(a.Gallery)
	for _, img := range a.Images {
		if img.Role == events.RoleGallery && img.Stored() && !slices.Contains(all, img.SHA256) {
			all = append(all, img.SHA256)
		}
	}
	return all
}

// maxReleased bounds how many pictures an article remembers that it no longer uses: more than
// one version can have.
const maxReleased = 200

// Release has the article, which is to follow cur (or nothing), remember the pictures that it no
// longer uses.
func (a *Article) Release(cur *Article) {
	if cur == nil {
		return
	}
	used := a.Pictures()
	a.Released = nil
	for _, picture := range append(slices.Clone(cur.Released), cur.Pictures()...) {
		if !slices.Contains(used, picture) && !slices.Contains(a.Released, picture) {
			a.Released = append(a.Released, picture)
		}
	}
	a.Released = a.Released[max(len(a.Released)-maxReleased, 0):]
}

// Attachment is a file that goes with the article. Once it is stored, its URL is an object key,
// as a picture's is, and its type and size are those of the file; until then, and if that cannot
// be, they are what the CMS said.
type Attachment struct {
	events.Attachment
	// Source is the CMS's address of a stored file.
	Source string `json:"source,omitempty"`
	// SHA256 is the hex digest of the stored file.
	SHA256 string `json:"sha256,omitempty"`
	// Fault says why the file is not stored; Pending, that it is still being tried.
	Fault   string `json:"fault,omitempty"`
	Pending bool   `json:"pending,omitempty"`
	// Refused says that the file is not what it was said to be: it is offered to nobody.
	Refused bool `json:"refused,omitempty"`
}

// Offered reports whether readers are offered the file: it is stored, or linked where it is. One
// in somebody's bucket has no address for readers.
func (at Attachment) Offered() bool {
	return !at.Refused && (at.SHA256 != "" || !strings.HasPrefix(at.URL, "s3:"))
}

// Offered are the attachments that readers are offered.
func (a *Article) Offered() []events.Attachment {
	var all []events.Attachment
	for _, at := range a.Attachments {
		if at.Offered() {
			all = append(all, at.Attachment)
		}
	}
	return all
}

// Lead is the article's lead image: the first with that role that is stored, else the first
// stored; nil when there is none.
func (a *Article) Lead() *Image {
	var first *Image
	for i := range a.Images {
		img := &a.Images[i]
		if !img.Stored() {
			continue
		}
		if img.Role == events.RoleLead {
			return img
		}
		if first == nil {
			first = img
		}
	}
	return first
}

// Live reports whether the article may be shown.
func (a *Article) Live() bool { return a.Status == events.StatusLive }

// urgentAtMost is the urgency from which an article is called urgent (IPTC: 1 is the most
// urgent, 5 is normal).
const urgentAtMost = 3

// Express reports whether this version must overtake others on its way to a target: a
// withdrawal, a correction, an urgent article.
func (a *Article) Express() bool {
	return !a.Live() || a.Correction != "" || a.Urgency <= urgentAtMost
}

// guidSpace is the name space of article identifiers (RFC 9562 §5.5).
var guidSpace = uuid.MustParse("6f1e6c1e-5d0b-5b0e-9a3c-6c6f61000001")

// NewGUID is the public identifier of the article that site first published as id.
func NewGUID(site, id string) string {
	return uuid.NewSHA1(guidSpace, []byte(site+"\x00"+id)).URN()
}

// Parse reads an article as [Article.Encode] wrote it.
func Parse(data []byte) (*Article, error) {
	var a Article
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, fmt.Errorf("parse article: %w", err)
	}
	return &a, nil
}

// Encode gives the article's canonical JSON. HTML in it is not escaped, which would make a body
// of many tags twice as large.
func (a *Article) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil {
		return nil, fmt.Errorf("encode article %s/%s: %w", a.Site, a.ID, err)
	}
	return b.Bytes(), nil
}
