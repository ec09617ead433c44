package events

import (
	"slices"
	"time"

	"golang.org/x/text/unicode/norm"
)

// normalize puts the keys and addresses of an article into their one form, in place: the id in
// Unicode's NFC, since it is a key, and addresses in ASCII. All other text stays as the CMS
// wrote it.
func (a *Article) normalize() {
	a.ID = norm.NFC.String(a.ID)
	a.URL = asciiURL(a.URL)
	for i := range a.Authors {
		a.Authors[i].URL = asciiURL(a.Authors[i].URL)
	}
	if a.Source != nil {
		a.Source.URL = asciiURL(a.Source.URL)
	}
	for i := range a.Images {
		a.Images[i].URL = asciiURL(a.Images[i].URL)
	}
	for i := range a.Attachments {
		a.Attachments[i].URL = asciiURL(a.Attachments[i].URL)
	}
}

func (w *Withdrawal) normalize() {
	w.ID = norm.NFC.String(w.ID)
	w.RedirectURL = asciiURL(w.RedirectURL)
}

// canonicalArticle is a copy in which what means the same looks the same, but for the
// composition of its text.
func canonicalArticle(a Article) Article {
	a.Authors, a.Images, a.Attachments = slices.Clone(a.Authors), slices.Clone(a.Images), slices.Clone(a.Attachments)
	if a.Source != nil {
		source := *a.Source
		a.Source = &source
	}
	a.normalize()
	a.Published = a.Published.UTC()
	a.Updated, a.EmbargoUntil, a.ExpiresAt = utc(a.Updated), utc(a.EmbargoUntil), utc(a.ExpiresAt)
	return a
}

func canonicalWithdrawal(w Withdrawal) Withdrawal {
	w.normalize()
	w.WithdrawnAt = w.WithdrawnAt.UTC()
	return w
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
