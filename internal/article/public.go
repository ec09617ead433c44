package article

import (
	"time"

	"github.com/loa-syndication/loa/events"
)

// Public is an article as readers see it, without what is ours alone: digests, selections of the
// past, pictures that did not arrive and from where they were to come.
type Public struct {
	GUID     string `json:"guid" doc:"The permanent identifier, a URN; the same in every feed."`
	Site     string `json:"site" doc:"The site's id."`
	SiteName string `json:"site_name,omitempty" doc:"What people call the site."`
	ID       string `json:"id" doc:"The article's id at its site."`
	Version
	Status string `json:"status" enum:"live,withdrawn" doc:"Whether the article may be shown."`

	URL         string              `json:"url" doc:"The article's page."`
	Title       string              `json:"title" doc:"Text, without markup."`
	Summary     string              `json:"summary,omitempty" doc:"Text, without markup."`
	Body        string              `json:"body,omitempty" doc:"Sanitised HTML whose addresses are absolute."`
	Language    string              `json:"language" doc:"A BCP 47 tag."`
	Authors     []events.Author     `json:"authors,omitempty" doc:"Who wrote it."`
	Categories  []events.Category   `json:"categories,omitempty" doc:"Sections of the site: id and label."`
	Tags        []string            `json:"tags,omitempty" doc:"Free words."`
	Urgency     int                 `json:"urgency" doc:"IPTC's: 1 is the most urgent, 5 normal, 8 the least."`
	Published   time.Time           `json:"published" doc:"When it was published first."`
	Updated     time.Time           `json:"updated" doc:"When it was changed last."`
	ExpiresAt   *time.Time          `json:"expires_at,omitempty" doc:"When it withdraws itself."`
	Correction  string              `json:"correction,omitempty" doc:"What this version puts right, for readers."`
	Source      *events.Source      `json:"source,omitempty" doc:"Where it was published first, if elsewhere."`
	Places      []events.Place      `json:"places,omitempty" doc:"What it is about, geographically."`
	Rights      *events.Rights      `json:"rights,omitempty" doc:"Who owns it, and on which terms it may be used."`
	Images      []PublicImage       `json:"images,omitempty" doc:"Pictures, with their sizes, captions and alternative texts."`
	Attachments []events.Attachment `json:"attachments,omitempty" doc:"Files that go with it."`

	Withdrawal *events.BulletinWithdrawal `json:"withdrawal,omitempty" doc:"Why it must no longer be shown, and what replaces it."`
}

// PublicImage is a stored picture.
type PublicImage struct {
	Role string `json:"role" enum:"lead,inline,gallery"`
	events.BulletinImage
	Focal *events.Focal `json:"focal,omitempty" doc:"The point that a crop must not lose."`
	Crops []Crop        `json:"crops,omitempty"`
	// Thumbhash and Colour are what a page may show until the picture is there.
	Thumbhash []byte `json:"thumbhash,omitempty" doc:"What a page may show until the picture is there."`
	Colour    string `json:"colour,omitempty" doc:"The dominant colour, as #rrggbb."`
}

// Public makes the form that readers see of an article whose media have absolute addresses
// ([Article.WithMedia]). siteName is what people call its site.
func (a *Article) Public(siteName string) Public {
	p := Public{
		GUID: a.GUID, Site: a.Site, SiteName: siteName, ID: a.ID, Version: a.Version, Status: a.Status,
		URL: a.URL, Title: a.Title, Summary: a.Summary, Body: a.Body, Language: a.Language,
		Authors: a.Authors, Categories: a.Categories, Tags: a.Tags, Urgency: a.Urgency,
		Published: a.Published, Updated: a.Updated, ExpiresAt: a.ExpiresAt, Correction: a.Correction,
		Source: a.Source, Places: a.Places, Rights: a.Rights, Attachments: a.Offered(),
		Withdrawal: a.Withdrawal,
	}
	for _, img := range a.Images {
		if img.Stored() {
			p.Images = append(p.Images, PublicImage{Role: img.Role, BulletinImage: events.BulletinImage{
				Rendition: img.Original, Alt: img.Alt, Caption: img.Caption, Credit: img.Credit, Renditions: img.Renditions,
			}, Focal: img.Focal, Crops: img.Crops, Thumbhash: img.Thumbhash, Colour: img.Colour})
		}
	}
	return p
}

// Brief is p as those see it who are shown summaries: without the text, the attachments, and all
// pictures but the lead one.
func (p Public) Brief() Public {
	p.Body, p.Attachments = "", nil
	lead := 0
	for i, img := range p.Images {
		if img.Role == events.RoleLead {
			lead = i
			break
		}
	}
	if len(p.Images) > 0 {
		p.Images = p.Images[lead : lead+1 : lead+1]
	}
	return p
}
