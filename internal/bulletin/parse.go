package bulletin

import (
	"encoding/json"
	"fmt"
	"mime"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/atom"
	"github.com/loa-syndication/loa/internal/ninjs"
	"github.com/loa-syndication/loa/internal/site"
)

// Entry is the article's line in the manifest of a portal that is sent it in a form: what the
// portal knows of it, read from the very document.
func Entry(a *article.Article, of site.Site, f Form) (events.ManifestEntry, error) {
	d, err := Render(a, of, f)
	if err != nil {
		return events.ManifestEntry{}, err
	}
	all, err := Parse(d.ContentType, d.Body)
	if err != nil {
		return events.ManifestEntry{}, fmt.Errorf("read what was made of article %s/%s, version %s: %w", a.Site, a.ID, a.Version, err)
	}
	return all[0].Data.Entry(), nil
}

// Parse reads a document in whatever form it is, for [events.HandlerFor].
func Parse(contentType string, body []byte) ([]events.Bulletin, error) {
	kind := events.JSONType // that of a client that does not say
	if contentType != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, fmt.Errorf("content type %q: %w", contentType, err)
		}
	}
	switch kind {
	case "application/atom+xml", "application/atomdeleted+xml":
		b, err := atom.Read(body)
		return []events.Bulletin{b}, err
	case events.JSONType:
	default:
		return nil, fmt.Errorf("content type %q: expected %s, or Atom", kind, events.JSONType)
	}
	all, err := events.ParseBulletins(body)
	if err != nil || all[0].Data.GUID == "" {
		return all, err
	}
	var env events.NinjsBulletin
	if err := json.Unmarshal(body, &env); err != nil {
		return nil, fmt.Errorf("read envelope: %w", err)
	}
	if env.Data.Ninjs == nil {
		return all, nil
	}
	b, err := ninjs.Read(env)
	return []events.Bulletin{b}, err
}
