package events

import "time"

// Article is the snapshot of one article, as the CMS holds it: the data of a
// [TypePublished] event. It is always whole; Loa never merges it with a former one. The limits
// of every field are in the schema ([PublishedSchema]).
type Article struct {
	// Site is the permanent id of the publishing site, as in Loa's configuration.
	Site string `json:"site"`
	// ID is the article's id in the CMS: any text of at most 256 characters, without control
	// characters. [Parse] gives it in Unicode's NFC.
	ID string `json:"id"`
	// Version grows with every change that the CMS makes, from 1 to 2^53-1 (what every JSON
	// reader holds exactly). A withdrawal counts as a change.
	Version int64 `json:"version"`
	// URL is the article's page on the site: absolute, http or https, without a user name.
	// [Parse] gives it, like every other address, percent-encoded to ASCII.
	URL   string `json:"url"`
	Title string `json:"title"`
	// Summary is plain text. When empty, Loa takes the lede from Body.
	Summary string `json:"summary,omitempty"`
	// Body is HTML. Loa sanitises it and makes its links absolute against URL.
	Body string `json:"body"`
	// Language is a BCP 47 tag; "vi" when empty.
	Language   string     `json:"language,omitempty"`
	Authors    []Author   `json:"authors,omitempty"`
	Categories []Category `json:"categories,omitempty"`
	Tags       []string   `json:"tags,omitempty"`
	// Urgency is IPTC's: 1 (most urgent) to 8; 5 when 0.
	Urgency   int       `json:"urgency,omitzero"`
	Published time.Time `json:"published"`
	// Updated is Published when absent.
	Updated *time.Time `json:"updated,omitempty"`
	// EmbargoUntil keeps this version from being shown before that time.
	EmbargoUntil *time.Time `json:"embargo_until,omitempty"`
	// ExpiresAt withdraws the article at that time. It lies after Published.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Correction is a note to readers, in plain text, of what this version puts right.
	Correction  string       `json:"correction,omitempty"`
	Source      *Source      `json:"source,omitempty"`
	Places      []Place      `json:"places,omitempty"`
	Rights      *Rights      `json:"rights,omitempty"`
	Images      []Image      `json:"images,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
}

// Author is a person or body that wrote the article.
type Author struct {
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	URL   string `json:"url,omitempty"`
}

// Category is a section of the site. Its ID names a feed and a filter; its Label is what
// people read, and is the ID when empty. An ID is of letters without accents, digits, hyphens
// and underscores, at most 64.
type Category struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
}

// Source says where syndicated content was first published.
type Source struct {
	Name string `json:"name"`
	URL  string `json:"url,omitempty"`
}

// Place is what the article is about, geographically.
type Place struct {
	Name string `json:"name"`
	// Code is an administrative unit's code.
	Code string `json:"code,omitempty"`
	// Latitude and Longitude are degrees, WGS 84; both or neither.
	Latitude  *float64 `json:"latitude,omitempty"`
	Longitude *float64 `json:"longitude,omitempty"`
}

// Rights says who owns the article, and on which terms it may be used.
type Rights struct {
	Copyright  string `json:"copyright,omitempty"`
	UsageTerms string `json:"usage_terms,omitempty"`
}

// Roles of an image.
const (
	RoleLead    = "lead"
	RoleInline  = "inline"
	RoleGallery = "gallery"
)

// Image is a picture of the article. It has either a URL, from which Loa fetches it once, or
// Data, never both.
type Image struct {
	// URL is an http or https address, or s3://bucket/key of a bucket that Loa's configuration
	// names.
	URL string `json:"url,omitempty"`
	// Data is the picture's file, base64 in JSON. Body may show it as src="cid:<ContentID>".
	Data      []byte `json:"data,omitempty"`
	ContentID string `json:"content_id,omitempty"`
	Role      string `json:"role"`
	Alt       string `json:"alt,omitempty"`
	Caption   string `json:"caption,omitempty"`
	Credit    string `json:"credit,omitempty"`
	// Focal is what a crop must not lose; the middle when absent.
	Focal *Focal `json:"focal,omitempty"`
}

// Focal is a point of a picture as it is shown, upright: X from 0 (left) to 1 (right), Y from 0
// (top) to 1 (bottom).
type Focal struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Attachment is a file that goes with the article. Loa keeps a copy of it and links to that;
// what it does not take (too large, of another type) is linked where it is.
type Attachment struct {
	// URL is an http or https address, or s3://bucket/key of a bucket that Loa's configuration
	// names.
	URL   string `json:"url"`
	Title string `json:"title,omitempty"`
	// MediaType is what the file is. One that turns out to be something else is not offered.
	MediaType string `json:"media_type,omitempty"`
	// Size is in bytes; 0 when unknown.
	Size int64 `json:"size,omitzero"`
}

// Ways in which a withdrawn article's address answers.
const (
	WithdrawnGone     = "gone"
	WithdrawnRedirect = "redirect"
)

// Withdrawal says that an article must no longer be shown: the data of a [TypeWithdrawn]
// event.
type Withdrawal struct {
	Site string `json:"site"`
	ID   string `json:"id"`
	// Version is that of the withdrawal itself, or the version that is withdrawn.
	Version int64 `json:"version"`
	// Reason is shown to readers, in plain text.
	Reason string `json:"reason"`
	// Status is [WithdrawnGone] or [WithdrawnRedirect].
	Status string `json:"status"`
	// RedirectURL is the replacement's address: with [WithdrawnRedirect], and only then.
	RedirectURL string    `json:"redirect_url,omitempty"`
	WithdrawnAt time.Time `json:"withdrawn_at"`

	// Erase has the article's pictures deleted too, after a grace period, unless another article
	// uses them.
	Erase bool `json:"erase,omitempty"`
}
