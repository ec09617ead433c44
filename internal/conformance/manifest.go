package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
)

// ask sends a page of a manifest that is about one article and its neighbours alone, and gives what
// is held of it; nil: nothing. [errNotDone] if the receiver does not compare.
func (s *session) ask(ctx context.Context, a *article.Article, p post) (*events.ManifestEntry, error) {
	entry, err := bulletin.Entry(a, testSite, s.o.Form)
	if err != nil {
		return nil, err
	}
	// A part of a GUID is less than it, and greater than nearly all others that are.
	m := events.Manifest{Type: events.BulletinManifest, Timestamp: time.Now(),
		Data: events.ManifestPage{Page: 1, After: a.GUID[:len(a.GUID)-1], UpTo: a.GUID, Entries: []events.ManifestEntry{entry}}}
	p.Document = jsonPost(m).Document
	answer, err := s.post(ctx, p)
	if err != nil {
		return nil, err
	}
	if !answer.ok() {
		return nil, errNotDone // which is said of its types elsewhere
	}
	h, err := events.ParseHoldings([]byte(answer.body), m.Data)
	if errors.Is(err, events.ErrNoHoldings) {
		return nil, errNotDone
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.last, err)
	}
	for i, e := range h.Holds {
		if e.GUID == a.GUID {
			return &h.Holds[i], nil
		}
	}
	if h.Compared && len(h.Missing) == 0 {
		return &entry, nil
	}
	return nil, nil
}

// lists is that a manifest is answered with the article as it was sent.
func (s *session) lists(ctx context.Context, a *article.Article) error {
	want, err := bulletin.Entry(a, testSite, s.o.Form)
	if err != nil {
		return err
	}
	got, err := s.ask(ctx, a, post{})
	switch {
	case err != nil:
		return err
	case got == nil && !a.Live():
		return nil
	case got == nil:
		return fmt.Errorf("%s, but does not name version %s, which it was sent", s.last, a.Version)
	case got.Version != want.Version || got.Revision != want.Revision || got.Status != want.Status:
		return fmt.Errorf("%s, but names version %s, %s, expected %s, %s", s.last,
			article.Version{Number: got.Version, Revision: got.Revision}, got.Status, a.Version, a.Status)
	case got.Hash != "" && got.Hash != want.Hash && a.Live():
		return fmt.Errorf("%s, but names the hash %.80q, expected %s", s.last, got.Hash, want.Hash)
	}
	return nil
}
