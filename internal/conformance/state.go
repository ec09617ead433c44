package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/outbound"
)

// list is what a receiver holds, as that of `loa receive` lists it at /bulletins.json.
type list struct {
	Bulletins []struct {
		Bulletin events.Bulletin `json:"bulletin"`
	} `json:"bulletins"`
}

func (s *session) list(ctx context.Context) (l list, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.State, nil)
	if err != nil {
		return l, err
	}
	resp, err := s.lister.Do(req)
	if err != nil {
		return l, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return l, fmt.Errorf("%s answered %d", s.o.State, resp.StatusCode)
	}
	body, err := outbound.ReadBody(resp.Body, stateBytes)
	if err == nil {
		err = json.Unmarshal(body, &l)
	}
	if err != nil {
		return l, fmt.Errorf("read %s: %w", s.o.State, err)
	}
	return l, nil
}

// seen waits until what is held under the article's GUID is as wanted; nil stands for nothing.
// Where there is no list, it takes that for granted.
func (s *session) seen(ctx context.Context, a *article.Article, want func(held *events.BulletinArticle) error) error {
	if s.o.State == "" {
		return nil
	}
	deadline := time.Now().Add(s.o.StateWait)
	for {
		l, err := s.list(ctx)
		if err != nil {
			return fmt.Errorf("what is held: %w", err)
		}
		var held *events.BulletinArticle
		n := 0
		for i := range l.Bulletins {
			if b := &l.Bulletins[i].Bulletin.Data; b.GUID == a.GUID {
				held = b
				n++
			}
		}
		if n > 1 {
			err = fmt.Errorf("holds the article %d times", n)
		} else {
			err = want(held)
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(stateEvery):
		}
	}
}

// shows is that the article is held in this version, live and with its title.
func (s *session) shows(ctx context.Context, a *article.Article) error {
	return s.seen(ctx, a, func(held *events.BulletinArticle) error {
		switch {
		case held == nil:
			return fmt.Errorf("%s, but does not hold version %s", s.last, a.Version)
		case held.Version != a.Number || held.Revision != a.Revision || held.Status != events.StatusLive:
			return fmt.Errorf("%s, but holds %s, expected version %s, live", s.last, describe(held), a.Version)
		case held.Title != a.Title:
			return fmt.Errorf("%s, but holds the title %q, expected %q", s.last, held.Title, a.Title)
		}
		return nil
	})
}

// hides is that the article is held as withdrawn, or is not listed.
func (s *session) hides(ctx context.Context, a *article.Article) error {
	return s.seen(ctx, a, func(held *events.BulletinArticle) error {
		if held != nil && held.Status != events.StatusWithdrawn {
			return fmt.Errorf("%s, but holds %s, expected it withdrawn", s.last, describe(held))
		}
		return nil
	})
}

// lacks is that nothing of the article is held.
func (s *session) lacks(ctx context.Context, a *article.Article) error {
	return s.seen(ctx, a, func(held *events.BulletinArticle) error {
		if held != nil {
			return fmt.Errorf("%s, but holds %s all the same", s.last, describe(held))
		}
		return nil
	})
}

func describe(held *events.BulletinArticle) string {
	return fmt.Sprintf("version %s, %s", article.Version{Number: held.Version, Revision: held.Revision}, held.Status)
}
