package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

type articleShowCmd struct {
	client
	Article string `arg:"" help:"SITE/ID." placeholder:"SITE/ID"`
	JSON    bool   `help:"Print the whole article as JSON."`
}

func (c *articleShowCmd) Run(e *env) error {
	key, err := articleKey(c.Article)
	if err != nil {
		return err
	}
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.log.Get(e.ctx, key, 0)
	if errors.Is(err, streams.ErrNotFound) {
		return fmt.Errorf("no article %s; if it was published, loa dead ls may tell why it did not arrive", c.Article)
	}
	if err != nil {
		return err
	}
	former, err := s.formerPictures(e.ctx, a)
	if err != nil {
		return err
	}
	if c.JSON {
		return e.json(struct {
			*article.Article
			Former []pictureState `json:"former_pictures,omitempty"`
		}{a.Article, former})
	}
	e.printf("%s\n  article    %s/%s, version %s, %s\n  guid       %s\n  address    %s\n", a.Title, a.Site, a.ID, a.Version, a.Status, a.GUID, a.URL)
	e.printf("  published  %s\n  updated    %s\n  in the log %s, sequence %d\n", clock(a.Published), clock(a.Updated), clock(a.Accepted), a.Seq)
	if a.ExpiresAt != nil {
		e.printf("  expires    %s\n", clock(*a.ExpiresAt))
	}
	if a.Withdrawal != nil {
		e.printf("  withdrawn  %s: %s\n", clock(a.Withdrawal.WithdrawnAt), a.Withdrawal.Reason)
	}
	if a.Correction != "" {
		e.printf("  correction %s\n", a.Correction)
	}
	if len(a.Categories) > 0 {
		var labels []string
		for _, c := range a.Categories {
			labels = append(labels, c.Label)
		}
		e.printf("  categories %s\n", strings.Join(labels, ", "))
	}
	for _, img := range a.Images {
		state := fmt.Sprintf("%d × %d, %d renditions", img.Original.Width, img.Original.Height, len(img.Renditions))
		if !img.Stored() {
			state = "missing: " + img.Fault
		}
		e.printf("  image      %s (%s): %s\n", img.Role, state, img.Alt)
	}
	printFormer(e, former)
	if a.Summary != "" {
		e.printf("\n%s\n", a.Summary)
	}
	return nil
}

// articleKey reads SITE/ID.
func articleKey(s string) (streams.Key, error) {
	site, id, ok := strings.Cut(s, "/")
	if !ok || site == "" || id == "" || events.Token(site) != site {
		return "", fmt.Errorf("got %q, expected SITE/ID, such as phuong-cau-go/thong-bao-12", s)
	}
	return streams.KeyOf(site, id), nil
}
