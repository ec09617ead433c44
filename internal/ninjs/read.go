package ninjs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/loa-syndication/loa/events"
)

// Read gives what an enveloped item says as the bulletin that would have said it. What is not
// there, or not as Loa writes it, stays empty: all that counts, the article and its version,
// is in the envelope.
func Read(env events.NinjsBulletin) (events.Bulletin, error) {
	var i Item
	if err := json.Unmarshal(env.Data.Ninjs, &i); err != nil {
		return events.Bulletin{}, fmt.Errorf("read ninjs item: %w", err)
	}
	if i.URI != env.Data.GUID {
		return events.Bulletin{}, fmt.Errorf("read ninjs item: uri %q in the envelope of %q", i.URI, env.Data.GUID)
	}
	d := events.BulletinArticle{
		GUID: env.Data.GUID, Site: env.Data.Site, ID: env.Data.ID, Version: env.Data.Version, Revision: env.Data.Revision,
		Status: env.Data.Status, Withdrawal: env.Data.Withdrawal,
		Title: ofRole(i.Headlines, roleMain), Summary: ofRole(i.Descriptions, roleSummary), Body: ofRole(i.Bodies, roleMain),
		Correction: ofRole(i.Descriptions, roleCorrection), Language: i.Language, Urgency: i.Urgency,
		Published: moment(i.FirstCreated), Updated: moment(i.VersionCreated),
	}
	d.BodyOmitted = env.Data.Status == events.StatusLive && i.RepresentationType == partial
	for _, r := range i.Renditions {
		if r.Name == renditionWeb {
			d.URL = r.Href
		}
	}
	for _, s := range i.Subjects {
		switch s.Rel {
		case relCategory:
			d.Categories = append(d.Categories, events.Category{ID: cmp.Or(s.Literal, s.Name), Label: s.Name})
		case relTag:
			d.Tags = append(d.Tags, s.Name)
		}
	}
	for _, s := range i.InfoSources {
		switch s.Role {
		case rolePublisher:
			d.SiteName = s.Name
		case roleOrigin:
			d.Source = &events.Source{Name: s.Name, URL: s.URI}
		case roleAuthor:
			a := events.Author{Name: s.Name, URL: s.URI}
			for _, c := range s.ContactInfo {
				a.Email = cmp.Or(a.Email, c.Value)
			}
			d.Authors = append(d.Authors, a)
		}
	}
	for _, p := range i.Places {
		one := events.Place{Name: p.Name, Code: p.Literal}
		if p.GeoJSON != nil {
			one.Longitude, one.Latitude = &p.GeoJSON.Coordinates[0], &p.GeoJSON.Coordinates[1]
		}
		d.Places = append(d.Places, one)
	}
	if i.CopyrightNotice != "" || i.UsageTerms != "" {
		d.Rights = &events.Rights{Copyright: i.CopyrightNotice, UsageTerms: i.UsageTerms}
	}
	if t := moment(i.Expires); !t.IsZero() {
		d.ExpiresAt = &t
	}
	for _, one := range i.Associations {
		switch one.Rel {
		case relLead:
			img := one.image()
			d.Image = &img
		case relGallery:
			d.Gallery = append(d.Gallery, one.image())
		case relAttachment:
			for _, r := range one.Renditions {
				d.Attachments = append(d.Attachments, events.Attachment{URL: r.Href, Title: ofRole(one.Headlines, roleMain), MediaType: r.ContentType, Size: r.SizeInBytes})
			}
		}
	}
	return events.Bulletin{Type: env.Type, Timestamp: env.Timestamp, Data: d}, nil
}

func (i Item) image() events.BulletinImage {
	img := events.BulletinImage{Caption: ofRole(i.Descriptions, roleCaption), Alt: ofRole(i.Descriptions, roleAlt), Credit: i.By}
	for n, r := range i.Renditions {
		one := events.Rendition{URL: r.Href, MediaType: r.ContentType, Width: r.Width, Height: r.Height, Size: r.SizeInBytes}
		if n == 0 { // the original
			img.Rendition = one
		} else {
			img.Renditions = append(img.Renditions, one)
		}
	}
	return img
}

func ofRole(all []text, role string) string {
	for _, t := range all {
		if t.Role == role {
			return t.Value
		}
	}
	return ""
}

func moment(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s) // zero if it is none
	return t
}
