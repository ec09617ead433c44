package atom

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/loa-syndication/loa/events"
)

// Read reads an entry or a tombstone as the bulletin that would have said the same. It wants
// the article and its version; what else is not there, or not as Loa writes it, stays empty.
func Read(data []byte) (events.Bulletin, error) {
	b, err := read(data)
	if err != nil {
		return events.Bulletin{}, fmt.Errorf("read atom entry: %w", err)
	}
	if b.Data.GUID == "" || b.Data.Version < 1 {
		return events.Bulletin{}, fmt.Errorf("read atom entry: id %q, version %d: expected both", b.Data.GUID, b.Data.Version)
	}
	return b, nil
}

func read(data []byte) (b events.Bulletin, err error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var root xml.StartElement
	for root.Name.Local == "" {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b, errors.New("no element")
		}
		if err != nil {
			return b, err
		}
		root, _ = token.(xml.StartElement)
	}
	if root.Name.Local == "deleted-entry" {
		var t tombstone
		if err := d.DecodeElement(&t, &root); err != nil {
			return b, err
		}
		return t.bulletin(), nil
	}
	var e entry
	if err := d.DecodeElement(&e, &root); err != nil {
		return b, err
	}
	return e.bulletin(), nil
}

func (e *entry) bulletin() events.Bulletin {
	b := e.State.bulletin(events.BulletinPublished, events.StatusLive)
	d := &b.Data
	d.GUID, d.Title, d.Language = e.ID, e.Title.Value, e.Lang
	d.Published, d.Updated = moment(e.Published), moment(e.Updated)
	for _, p := range e.Authors {
		d.Authors = append(d.Authors, events.Author{Name: p.Name, Email: p.Email, URL: p.URI})
	}
	for _, c := range e.Categories {
		if c.Scheme == tagScheme {
			d.Tags = append(d.Tags, c.Term)
		} else {
			d.Categories = append(d.Categories, events.Category{ID: c.Term, Label: c.Label})
		}
	}
	if e.Summary != nil {
		d.Summary = e.Summary.Value
	}
	if e.Content != nil {
		d.Body, d.BodyOmitted = e.Content.Value, e.Content.Src != ""
	}
	if e.Rights != nil || e.State.UsageTerms != "" {
		d.Rights = &events.Rights{UsageTerms: e.State.UsageTerms}
		if e.Rights != nil {
			d.Rights.Copyright = e.Rights.Value
		}
	}
	pictures := map[string]bool{}
	for i, g := range e.Pictures {
		img := events.BulletinImage{Alt: g.Title, Caption: g.Description, Credit: g.Credit}
		for n, m := range g.Forms {
			r := events.Rendition{URL: m.URL, MediaType: m.Type, Width: m.Width, Height: m.Height, Size: m.Size}
			if n == 0 {
				img.Rendition = r
			} else {
				img.Renditions = append(img.Renditions, r)
			}
		}
		pictures[img.URL] = true
		if i == 0 {
			d.Image = &img
		} else {
			d.Gallery = append(d.Gallery, img)
		}
	}
	for _, l := range e.Links {
		switch {
		case l.Rel == relAlternate:
			d.URL = l.Href
		case l.Rel == relVia:
			d.Source = &events.Source{Name: l.Title, URL: l.Href}
		case l.Rel == relEnclosure && !pictures[l.Href]:
			d.Attachments = append(d.Attachments, events.Attachment{URL: l.Href, Title: l.Title, MediaType: l.Type, Size: l.Length})
		}
	}
	return b
}

func (t *tombstone) bulletin() events.Bulletin {
	b := t.State.bulletin(events.BulletinWithdrawn, events.StatusWithdrawn)
	d := &b.Data
	d.GUID, d.Title, d.Language = t.Ref, t.State.Title, t.Lang
	d.Published, d.Updated = moment(t.State.Published), moment(t.State.Updated)
	d.Withdrawal = &events.BulletinWithdrawal{Reason: t.Comment, WithdrawnAt: moment(t.When)}
	for _, l := range t.Links {
		switch l.Rel {
		case relAlternate:
			d.URL = l.Href
		case relSuccessor:
			d.Withdrawal.RedirectURL = l.Href
		}
	}
	return b
}

func (s *state) bulletin(kind, status string) events.Bulletin {
	d := events.BulletinArticle{
		Site: s.Site, SiteName: s.SiteName, ID: s.Article, Version: s.Version, Revision: s.Revision, Status: status,
		Urgency: s.Urgency, Correction: s.Correction,
	}
	if t := moment(s.Expires); !t.IsZero() {
		d.ExpiresAt = &t
	}
	for _, p := range s.Places {
		d.Places = append(d.Places, events.Place{Name: p.Name, Code: p.Code, Latitude: p.Latitude, Longitude: p.Longitude})
	}
	return events.Bulletin{Type: kind, Timestamp: moment(s.Accepted), Data: d}
}

func moment(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s) // zero if it is none
	return t
}
