package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/frontmatter"
	"github.com/loa-syndication/loa/internal/streams"
)

// sourceCLI is the CloudEvents source of events that a person publishes.
const sourceCLI = "urn:loa:cli"

type publishCmd struct {
	client
	Files []string      `arg:"" name:"file" type:"existingfile" help:"Events (.json), or articles with front matter (.md, .html) and their pictures beside them."`
	Wait  time.Duration `default:"30s" help:"How long to wait until the article is in the log; 0 not at all."`
	JSON  bool          `help:"Print one object a file."`
}

// Help is shown by loa publish --help.
func (*publishCmd) Help() string {
	return `An article with front matter looks like this:

  ---
  site: phuong-cau-go
  id: thong-bao-12
  url: https://caugo.example.vn/thong-bao-12
  title: Lịch cắt nước ngày 12/11
  categories: [{id: thong-bao, label: Thông báo}]
  images: [{file: anh.jpg, alt: Đường ống trên phố Trần Phú}]
  ---
  Công ty cấp nước thông báo …

Without a version it becomes the next one, without a time of publication it keeps
the former one, or takes now. An event is a CloudEvents 1.0 object; see events/.`
}

func (c *publishCmd) Run(e *env) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	failed := 0
	for _, file := range c.Files {
		ev, err := readEvent(e.ctx, s, file)
		if err == nil {
			err = announce(e, s, ev, c.Wait, c.JSON)
		}
		if err != nil {
			failed++
			fmt.Fprintf(e.stderr, "loa: %s: %v\n", file, err)
		}
	}
	if failed > 0 {
		return errSaid
	}
	return nil
}

// readEvent makes an event of a file.
func readEvent(ctx context.Context, s *session, file string) (events.Event, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return events.Event{}, err
	}
	if strings.EqualFold(filepath.Ext(file), ".json") {
		return events.Parse(nil, data)
	}
	a, local, err := frontmatter.Parse(filepath.Base(file), data)
	if err != nil {
		return events.Event{}, err
	}
	var files fs.FS = os.DirFS(filepath.Dir(file))
	if err := frontmatter.Embed(&a, local, files); err != nil {
		return events.Event{}, err
	}
	if err := complete(ctx, s, &a); err != nil {
		return events.Event{}, err
	}
	return events.NewPublished(sourceCLI, a), nil
}

// complete gives an article what a person need not write: the next version, and the time of
// its first publication.
func complete(ctx context.Context, s *session, a *events.Article) error {
	if a.Version != 0 && !a.Published.IsZero() {
		return nil
	}
	now := time.Now().In(local).Truncate(time.Second)
	cur, err := s.log.Latest(ctx, streams.KeyOf(a.Site, a.ID))
	known := err == nil
	if err != nil && !errors.Is(err, streams.ErrNotFound) {
		return err
	}
	if a.Version == 0 {
		a.Version = 1
		if known {
			a.Version = cur.Number + 1
		}
	}
	if a.Published.IsZero() {
		a.Published = now
		if known {
			a.Published = cur.Published
			a.Updated = &now
		}
	}
	return nil
}

type withdrawCmd struct {
	client
	Article  string        `arg:"" help:"SITE/ID." placeholder:"SITE/ID"`
	Reason   string        `required:"" help:"Why, as readers are to read it."`
	Redirect string        `help:"Address of what replaces it." placeholder:"URL"`
	Erase    bool          `help:"Delete its pictures too, after the time of grace, unless another article uses them."`
	Version  int64         `help:"Version of the withdrawal; by default the one after the current."`
	Wait     time.Duration `default:"30s" help:"How long to wait until the withdrawal is in the log; 0 not at all."`
	JSON     bool          `help:"Print as JSON."`
}

func (c *withdrawCmd) Run(e *env) error {
	key, err := articleKey(c.Article)
	if err != nil {
		return err
	}
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	site, id, _ := strings.Cut(c.Article, "/")
	if c.Version == 0 {
		cur, err := s.log.Latest(e.ctx, key)
		if errors.Is(err, streams.ErrNotFound) {
			return fmt.Errorf("no article %s in the log; to withdraw one that may still come, give --version", c.Article)
		}
		if err != nil {
			return err
		}
		c.Version = cur.Number + 1
	}
	w := events.Withdrawal{Site: site, ID: id, Version: c.Version, Reason: c.Reason, Status: events.WithdrawnGone,
		Erase: c.Erase, WithdrawnAt: time.Now().In(local).Truncate(time.Second)}
	if c.Redirect != "" {
		w.Status, w.RedirectURL = events.WithdrawnRedirect, c.Redirect
	}
	return announce(e, s, events.NewWithdrawn(sourceCLI, w), c.Wait, c.JSON)
}

// announce publishes an event and tells what became of it.
func announce(e *env, s *session, ev events.Event, wait time.Duration, asJSON bool) error {
	ack, err := events.NewPublisher(s.js).Publish(e.ctx, ev)
	if err != nil {
		return err
	}
	outcome := "stored in the inbox"
	if wait > 0 {
		if outcome, err = s.follow(e.ctx, ev, wait); err != nil {
			return err
		}
	}
	if asJSON {
		return e.json(map[string]any{"article": ev.Site() + "/" + ev.ArticleID(), "version": ev.Version(), "event": ev.ID,
			"sequence": ack.Sequence, "duplicate": ack.Duplicate, "outcome": outcome})
	}
	e.printf("%s/%s version %d: %s\n", ev.Site(), ev.ArticleID(), ev.Version(), outcome)
	return nil
}

// followEvery is how often a command looks whether its event has arrived.
const followEvery = 50 * time.Millisecond

// follow waits until an event is in the log, is scheduled, or has become a dead letter.
func (s *session) follow(ctx context.Context, ev events.Event, wait time.Duration) (string, error) {
	key := streams.KeyOf(ev.Site(), ev.ArticleID())
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	scheduled := ev.Article != nil && ev.Article.EmbargoUntil != nil && ev.Article.EmbargoUntil.After(time.Now())
	for {
		cur, err := s.log.Latest(ctx, key)
		switch {
		case err == nil && cur.Number > ev.Version():
			return fmt.Sprintf("dropped, the log has version %s", cur.Version), nil
		case err == nil && cur.Number == ev.Version() && slices.Contains(cur.Digests, ev.Digest):
			return fmt.Sprintf("in the log as version %s", cur.Version), nil
		}
		if scheduled {
			if w, err := streams.NewSchedule(s.js).Waiting(ctx, streams.Embargo, key); err == nil && w != nil {
				return "waits for the end of its embargo, " + clock(*ev.Article.EmbargoUntil), nil
			}
		}
		for l, err := range s.dead.List(ctx, "intake", string(key)) {
			if err == nil && l.Event == ev.ID {
				return "", fmt.Errorf("set aside as dead letter %d: %s %s", l.Seq, l.Reason, strings.Join(l.Faults, "; "))
			}
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return "", fmt.Errorf("the event is stored, but was not taken in within %s: is a Loa with the role intake running?", wait)
		}
	}
}
