package article

import (
	"slices"
	"strings"

	"github.com/loa-syndication/loa/events"
)

// MediaScheme begins the address of a stored picture inside an article: it is followed by the
// picture's object key. Stored articles do not know under which host they will be served, so
// the address becomes absolute only when a document is made for somebody.
const MediaScheme = "loa-media:"

// ResolveMedia gives s, a piece of HTML or an address, with the pictures' addresses made
// absolute against base, such as "https://loa.example.vn/": the object keys follow it.
func ResolveMedia(s, base string) string {
	return strings.ReplaceAll(s, MediaScheme, withSlash(base))
}

// WithMedia returns a shallow copy of a whose body, images and attachments point
// below base. a itself stays as it is.
func (a *Article) WithMedia(base string) *Article {
	base = withSlash(base)
	c := *a
	c.Body = ResolveMedia(a.Body, base)
	c.Images = slices.Clone(a.Images)
	for i := range c.Images {
		img := &c.Images[i]
		img.Original = resolveRendition(img.Original, base)
		img.Renditions = slices.Clone(img.Renditions)
		for j, r := range img.Renditions {
			img.Renditions[j] = resolveRendition(r, base)
		}
		img.Crops = slices.Clone(img.Crops)
		for j, crop := range img.Crops {
			img.Crops[j].Rendition = resolveRendition(crop.Rendition, base)
		}
	}
	c.Attachments = slices.Clone(a.Attachments)
	for i := range c.Attachments {
		c.Attachments[i].URL = ResolveMedia(c.Attachments[i].URL, base)
	}
	return &c
}

// resolveRendition makes the address of r, an object key with or without the scheme, absolute.
func resolveRendition(r events.Rendition, base string) events.Rendition {
	if r.URL != "" && !strings.Contains(r.URL, "://") {
		r.URL = base + strings.TrimPrefix(r.URL, MediaScheme)
	}
	return r
}

func withSlash(base string) string {
	if base == "" || strings.HasSuffix(base, "/") {
		return base
	}
	return base + "/"
}
