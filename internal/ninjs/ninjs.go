// Package ninjs writes and reads articles as ninjs 3.1, IPTC's "news in JSON", which newsroom
// systems import without code of their own.
//
// ninjs is closed: what it has no property for (the verb, Loa's two-part version) is in the
// envelope around the item, [events.NinjsBulletin]. It has no page address, no alternative
// text, no correction and no attachment either; they are mapped so:
//
//	page                 a rendition named "web"
//	alternative text     a description of the picture with the role "alt"
//	correction, reason   descriptions with the roles "correction" and "withdrawal"
//	pictures, files      associations with the rel "lead", "gallery" and "attachment"
//	categories, tags     subjects with the rel "category" and "tag"
package ninjs

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// Item is a ninjs object, as far as Loa uses it.
type Item struct {
	URI                string       `json:"uri"`
	Standard           *standard    `json:"standard,omitempty"`
	Name               string       `json:"name,omitempty"` // of an association
	Rel                string       `json:"rel,omitempty"`  // of an association
	Type               string       `json:"type,omitempty"`
	RepresentationType string       `json:"representationType,omitempty"`
	Version            string       `json:"version,omitempty"`
	FirstCreated       string       `json:"firstCreated,omitempty"`
	VersionCreated     string       `json:"versionCreated,omitempty"`
	Expires            string       `json:"expires,omitempty"`
	PubStatus          string       `json:"pubStatus,omitempty"`
	Urgency            int          `json:"urgency,omitempty"`
	Language           string       `json:"language,omitempty"`
	Headlines          []text       `json:"headlines,omitempty"`
	Descriptions       []text       `json:"descriptions,omitempty"`
	Bodies             []text       `json:"bodies,omitempty"`
	By                 string       `json:"by,omitempty"`
	InfoSources        []infoSource `json:"infoSources,omitempty"`
	CopyrightNotice    string       `json:"copyrightNotice,omitempty"`
	UsageTerms         string       `json:"usageTerms,omitempty"`
	Subjects           []subject    `json:"subjects,omitempty"`
	Places             []place      `json:"places,omitempty"`
	AltIDs             []altID      `json:"altIds,omitempty"`
	Renditions         []rendition  `json:"renditions,omitempty"`
	Associations       []Item       `json:"associations,omitempty"`
}

type standard struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Schema  string `json:"schema"`
}

type text struct {
	Role        string `json:"role,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Value       string `json:"value"`
}

type infoSource struct {
	Name        string    `json:"name,omitempty"`
	Role        string    `json:"role,omitempty"`
	URI         string    `json:"uri,omitempty"`
	Literal     string    `json:"literal,omitempty"`
	ContactInfo []contact `json:"contactInfo,omitempty"`
}

type contact struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type subject struct {
	Name    string `json:"name,omitempty"`
	Rel     string `json:"rel,omitempty"`
	Literal string `json:"literal,omitempty"`
}

type place struct {
	Name    string `json:"name,omitempty"`
	Literal string `json:"literal,omitempty"` // the administrative unit's code
	GeoJSON *point `json:"geoJSON,omitempty"`
}

// point is a GeoJSON position: longitude, then latitude (RFC 7946 §3.1.1).
type point struct {
	Type        string     `json:"type"`
	Coordinates [2]float64 `json:"coordinates"`
}

type altID struct {
	Role  string `json:"role,omitempty"`
	Value string `json:"value,omitempty"`
}

type rendition struct {
	Name        string `json:"name"`
	Href        string `json:"href,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Title       string `json:"title,omitempty"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
	SizeInBytes int64  `json:"sizeInBytes,omitempty"`
}

// The values that ninjs defines.
const (
	typeText, typePicture, typeAudio, typeVideo, typeComponent = "text", "picture", "audio", "video", "component"

	full, partial    = "full", "partial"
	usable, canceled = "usable", "canceled"
)

// The values that ninjs leaves to the provider.
const (
	rolePublisher, roleAuthor, roleOrigin          = "publisher", "author", "origin"
	roleMain, roleSummary                          = "main", "summary"
	roleCorrection, roleWithdrawal                 = "correction", "withdrawal"
	roleCaption, roleAlt                           = "caption", "alt"
	roleSite, roleArticle                          = "loa:site", "loa:article"
	relCategory, relTag                            = "category", "tag"
	relLead, relGallery, relAttachment             = "lead", "gallery", "attachment"
	renditionWeb, renditionSuccessor               = "web", "successor"
	plainText, htmlText                            = "text/plain", "text/html"
	standardName, standardVersion, standardAddress = "ninjs", "3.1", "http://www.iptc.org/std/ninjs/ninjs-schema_3.1.json#"
)

// New makes the item of an article of a site, whose pictures have absolute addresses. A brief
// one has neither the body nor more than the lead picture, and says that it is partial.
func New(a *article.Article, of site.Site, brief bool) Item {
	i := Item{
		URI: a.GUID, Standard: &standard{standardName, standardVersion, standardAddress}, Type: typeText,
		RepresentationType: full, Version: a.Version.String(), PubStatus: usable, Urgency: a.Urgency, Language: a.Language,
		FirstCreated: stamp(a.Published), VersionCreated: stamp(a.Updated), Headlines: texts(roleMain, a.Title),
		AltIDs: []altID{{roleSite, a.Site}, {roleArticle, a.ID}},
	}
	if a.Revision > 0 {
		i.VersionCreated = stamp(a.Accepted) // Updated is the CMS's; this version is Loa's
	}
	if of.Name != "" {
		i.InfoSources = append(i.InfoSources, infoSource{Name: of.Name, Role: rolePublisher, URI: address(of.URL), Literal: a.Site})
	}
	i.Renditions = page(renditionWeb, a.URL)
	for _, c := range a.Categories {
		i.Subjects = append(i.Subjects, subject{Name: cmp.Or(c.Label, c.ID), Rel: relCategory, Literal: c.ID})
	}
	for _, tag := range a.Tags {
		i.Subjects = append(i.Subjects, subject{Name: tag, Rel: relTag})
	}
	if !a.Live() {
		i.PubStatus, i.RepresentationType = canceled, partial
		if w := a.Withdrawal; w != nil {
			i.VersionCreated = stamp(w.WithdrawnAt)
			i.Descriptions = texts(roleWithdrawal, w.Reason)
			i.Renditions = append(i.Renditions, page(renditionSuccessor, w.RedirectURL)...)
		}
		return i
	}
	i.Descriptions = append(texts(roleSummary, a.Summary), texts(roleCorrection, a.Correction)...)
	if a.ExpiresAt != nil {
		i.Expires = stamp(*a.ExpiresAt)
	}
	i.by(a)
	if a.Source != nil {
		i.InfoSources = append(i.InfoSources, infoSource{Name: a.Source.Name, Role: roleOrigin, URI: address(a.Source.URL)})
	}
	if a.Rights != nil {
		i.CopyrightNotice, i.UsageTerms = a.Rights.Copyright, a.Rights.UsageTerms
	}
	for _, p := range a.Places {
		one := place{Name: p.Name, Literal: p.Code}
		if p.Latitude != nil && p.Longitude != nil {
			one.GeoJSON = &point{"Point", [2]float64{*p.Longitude, *p.Latitude}}
		}
		i.Places = append(i.Places, one)
	}
	lead := a.Lead()
	if lead != nil {
		i.associate(picture(lead, relLead, a.Language))
	}
	if brief {
		i.RepresentationType = partial
		return i
	}
	if a.Body != "" {
		i.Bodies = []text{{roleMain, htmlText, a.Body}}
	}
	for n := range a.Images {
		if img := &a.Images[n]; img != lead && img.Stored() && img.Role == events.RoleGallery {
			i.associate(picture(img, relGallery, a.Language))
		}
	}
	for _, file := range a.Offered() {
		i.associate(attachment(file))
	}
	return i
}

// by names the authors, and says how they are reached.
func (i *Item) by(a *article.Article) {
	names := make([]string, len(a.Authors))
	for n, author := range a.Authors {
		names[n] = author.Name
		source := infoSource{Name: author.Name, Role: roleAuthor, URI: address(author.URL)}
		if author.Email != "" {
			source.ContactInfo = []contact{{"email", author.Email}}
		}
		i.InfoSources = append(i.InfoSources, source)
	}
	i.By = strings.Join(names, ", ")
}

// associate adds an item. Its names are numbered: they are the keys in a receiver's table.
func (i *Item) associate(one Item) {
	if one.URI == "" {
		return
	}
	one.Name = one.Rel
	if one.Rel != relLead {
		one.Name += "-" + strconv.Itoa(len(i.Associations)+1)
	}
	i.Associations = append(i.Associations, one)
}

func picture(img *article.Image, rel, language string) Item {
	p := Item{
		URI: address(img.Original.URL), Rel: rel, Type: typePicture, PubStatus: usable, Language: language, By: img.Credit,
		Descriptions: append(texts(roleCaption, img.Caption), texts(roleAlt, img.Alt)...),
		Renditions:   file("original", img.Original),
	}
	for _, r := range img.Renditions {
		p.Renditions = append(p.Renditions, file(strconv.Itoa(r.Width)+"w", r)...)
	}
	return p
}

func attachment(f events.Attachment) Item {
	kind := typeComponent
	switch major, _, _ := strings.Cut(f.MediaType, "/"); major {
	case "audio":
		kind = typeAudio
	case "video":
		kind = typeVideo
	case "image":
		kind = typePicture
	}
	r := file("original", events.Rendition{URL: f.URL, MediaType: f.MediaType, Size: f.Size})
	return Item{URI: address(f.URL), Rel: relAttachment, Type: kind, PubStatus: usable, Headlines: texts(roleMain, f.Title), Renditions: r}
}

func file(name string, r events.Rendition) []rendition {
	href := address(r.URL)
	if href == "" {
		return nil
	}
	return []rendition{{Name: name, Href: href, ContentType: r.MediaType, Width: r.Width, Height: r.Height, SizeInBytes: r.Size}}
}

func page(name, href string) []rendition {
	if href = address(href); href == "" {
		return nil
	}
	return []rendition{{Name: name, Href: href, ContentType: htmlText}}
}

func texts(role, value string) []text {
	if value == "" {
		return nil
	}
	return []text{{role, plainText, value}}
}

// address is s if it is an absolute http or https address, in ASCII as ninjs wants it.
func address(s string) string {
	s, _ = article.ResolveLink(nil, s)
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Encode gives the item's JSON.
func (i Item) Encode() (json.RawMessage, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it would make a body of many tags twice as large
	if err := enc.Encode(i); err != nil {
		return nil, err
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n")), nil
}
