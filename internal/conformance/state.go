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

// list is what a receiver holds, as that of `loa receive` lists it at /bulletins.json, in so far
// as it is looked at.
type list struct {
	Bulletins []struct {
		Bulletin struct {
			Data held `json:"data"`
		} `json:"bulletin"`
	} `json:"bulletins"`
}

// held is an article that a receiver holds.
type held struct {
	GUID     string `json:"guid"`
	Version  int64  `json:"version"`
	Revision int64  `json:"revision"`
	Status   string `json:"status"`
	Title    string `json:"title"`
}

func (h *held) String() string {
	return fmt.Sprintf("version %s, %s", article.Version{Number: h.Version, Revision: h.Revision}, h.Status)
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
func (s *session) seen(ctx context.Context, a *article.Article, want func(h *held) error) error {
	if s.o.State == "" {
		return nil
	}
	deadline := time.Now().Add(s.o.StateWait)
	for {
		l, err := s.list(ctx)
		if err != nil {
			return fmt.Errorf("what is held: %w", err)
		}
		var found *held
		n := 0
		for i := range l.Bulletins {
			if b := &l.Bulletins[i].Bulletin.Data; b.GUID == a.GUID {
				found = b
				n++
			}
		}
		if n > 1 {
			err = fmt.Errorf("holds the article %d times", n)
		} else {
			err = want(found)
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
	return s.seen(ctx, a, func(h *held) error {
		switch {
		case h == nil:
			return fmt.Errorf("%s, but does not hold version %s", s.last, a.Version)
		case h.Version != a.Number || h.Revision != a.Revision || h.Status != events.StatusLive:
			return fmt.Errorf("%s, but holds %s, expected version %s, live", s.last, h, a.Version)
		case h.Title != a.Title:
			return fmt.Errorf("%s, but holds the title %q, expected %q", s.last, h.Title, a.Title)
		}
		return nil
	})
}

// hides is that the article is held as withdrawn, or is not listed.
func (s *session) hides(ctx context.Context, a *article.Article) error {
	return s.seen(ctx, a, func(h *held) error {
		if h != nil && h.Status != events.StatusWithdrawn {
			return fmt.Errorf("%s, but holds %s, expected it withdrawn", s.last, h)
		}
		return nil
	})
}

// lacks is that nothing of the article is held.
func (s *session) lacks(ctx context.Context, a *article.Article) error {
	return s.seen(ctx, a, func(h *held) error {
		if h != nil {
			return fmt.Errorf("%s, but holds %s all the same", s.last, h)
		}
		return nil
	})
}
