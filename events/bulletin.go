package events

import (
	"encoding/json"
	"time"
)

// Bulletin types: the "type" member of a [Bulletin].
const (
	// BulletinPublished says that the article is to be shown, as it is in this bulletin:
	// a first publication, an update or a correction alike.
	BulletinPublished = "article.published"
	// BulletinWithdrawn says that the article must no longer be shown.
	BulletinWithdrawn = "article.withdrawn"
	// BulletinPing is a test; it concerns no article.
	BulletinPing = "loa.ping"
)

// Article states in a [Bulletin].
const (
	StatusLive      = "live"
	StatusWithdrawn = "withdrawn"
)

// Bulletin is what a portal receives: the body of a signed POST, in the form of Standard
// Webhooks. A portal keeps an article's bulletin if it is newer than the one that it holds
// ([BulletinArticle.Newer]), and answers 2xx in any case.
type Bulletin struct {
	Type string `json:"type"`
	// Timestamp is when this version of the article entered Loa's log; the same in every retry.
	Timestamp time.Time       `json:"timestamp"`
	Data      BulletinArticle `json:"data"`
}

// BulletinArticle is the summary of one article.
type BulletinArticle struct {
	// GUID identifies the article for ever, everywhere; feeds use it too.
	GUID string `json:"guid"`
	Site string `json:"site"`
	ID   string `json:"id"`
	// Version is the CMS's; Revision counts what Loa itself changed since (a late image, an
	// expiry). Together they only grow.
	Version  int64  `json:"version"`
	Revision int64  `json:"revision"`
	Status   string `json:"status"`

	Title      string     `json:"title"`
	Summary    string     `json:"summary,omitempty"`
	URL        string     `json:"url"`
	Language   string     `json:"language,omitempty"`
	SiteName   string     `json:"site_name,omitempty"`
	Authors    []Author   `json:"authors,omitempty"`
	Categories []Category `json:"categories,omitempty"`
	Tags       []string   `json:"tags,omitempty"`
	Urgency    int        `json:"urgency,omitzero"`
	Published  time.Time  `json:"published"`
	Updated    time.Time  `json:"updated"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Correction string     `json:"correction,omitempty"`
	Source     *Source    `json:"source,omitempty"`
	Places     []Place    `json:"places,omitempty"`
	Rights     *Rights    `json:"rights,omitempty"`
	// Image is the lead image, once it is stored.
	Image *BulletinImage `json:"image,omitempty"`

	// Body is the article's sanitised HTML with absolute addresses. It, Gallery and Attachments
	// are there for portals whose content is "full".
	Body string `json:"body,omitempty"`
	// BodyOmitted says that Body, Gallery and Attachments are missing because the bulletin would
	// have been larger than [MaxBulletinBytes]: the whole article is at URL.
	BodyOmitted bool            `json:"body_omitted,omitzero"`
	Gallery     []BulletinImage `json:"gallery,omitempty"`
	Attachments []Attachment    `json:"attachments,omitempty"`

	// Withdrawal is present when Status is [StatusWithdrawn]; Title and URL remain, the rest
	// of the content does not.
	Withdrawal *BulletinWithdrawal `json:"withdrawal,omitempty"`
}

// BulletinImage is a picture with its resized forms.
type BulletinImage struct {
	Rendition
	Alt        string      `json:"alt,omitempty"`
	Caption    string      `json:"caption,omitempty"`
	Credit     string      `json:"credit,omitempty"`
	Renditions []Rendition `json:"renditions,omitempty"`
}

// Rendition is one stored file of a picture.
type Rendition struct {
	URL       string `json:"url"`
	MediaType string `json:"media_type"`
	// Width and Height are pixels; Size is bytes.
	Width  int   `json:"width"`
	Height int   `json:"height"`
	Size   int64 `json:"size"`
}

// BulletinWithdrawal says why an article went, and what replaces it.
type BulletinWithdrawal struct {
	Reason string `json:"reason"`
	// RedirectURL is the replacement's address, if there is one.
	RedirectURL string    `json:"redirect_url,omitempty"`
	WithdrawnAt time.Time `json:"withdrawn_at"`
}

// NinjsBulletin is what a portal with the format "ninjs" receives: an envelope with what ninjs
// has no place for, around the item.
type NinjsBulletin struct {
	Type      string       `json:"type"` // as in a [Bulletin]
	Timestamp time.Time    `json:"timestamp"`
	Data      NinjsArticle `json:"data"`
}

// NinjsArticle identifies an article and its version as [BulletinArticle] does.
type NinjsArticle struct {
	GUID       string              `json:"guid"`
	Site       string              `json:"site"`
	ID         string              `json:"id"`
	Version    int64               `json:"version"`
	Revision   int64               `json:"revision"`
	Status     string              `json:"status"`
	Withdrawal *BulletinWithdrawal `json:"withdrawal,omitempty"`
	// Ninjs is an object of IPTC's ninjs 3.1, whose uri is GUID.
	Ninjs json.RawMessage `json:"ninjs"`
}

// Newer reports whether a is a later state of its article than b.
func (a BulletinArticle) Newer(b BulletinArticle) bool {
	if a.Version != b.Version {
		return a.Version > b.Version
	}
	return a.Revision > b.Revision
}
