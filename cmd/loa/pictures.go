package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/media"
)

type mediaGCCmd struct {
	client
	Yes    bool          `help:"Delete the orphans. Without it, they are only listed."`
	MinAge time.Duration `default:"24h" help:"Leave alone what was stored more recently: an article may be about to use it. At least 1h."`
	JSON   bool          `help:"Print as JSON."`
}

// Help is shown by loa media gc --help.
func (*mediaGCCmd) Help() string {
	return `An orphan is a stored picture that no article in the log uses, and that is not in its time
of grace. They come about when Loa is killed between storing pictures and writing the
article. Nothing else has to be stopped meanwhile, and it may be run any number of times.`
}

// minOrphanAge is how long an article may take from its first picture to the log, and more.
const minOrphanAge = time.Hour

// gcTold is how often progress is shown.
const gcTold = time.Second

func (c *mediaGCCmd) Run(e *env) error {
	if c.MinAge < minOrphanAge {
		return fmt.Errorf("--min-age: got %s, expected at least %s", c.MinAge, minOrphanAge)
	}
	return c.withStore(e, func(s *session, store *objects.Store) error { return c.collect(e, s, store) })
}

func (c *mediaGCCmd) collect(e *env, s *session, store *objects.Store) error {
	eraser, err := media.NewEraser(e.ctx, media.EraserOptions{JS: s.js, Objects: store, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	told := time.Now()
	orphans := []media.Orphan{}
	seen, err := eraser.Survey(e.ctx, c.MinAge, func(s media.Survey) {
		if time.Since(told) > gcTold {
			told = time.Now()
			fmt.Fprintf(e.stderr, "%d articles, %d pictures, %d orphans\n", s.Articles, s.Pictures, s.Orphans)
		}
	}, func(o media.Orphan) error {
		orphans = append(orphans, o)
		return nil
	})
	if err != nil {
		return err
	}
	deleted := 0
	for i, o := range orphans {
		if !c.JSON {
			e.printf("%s  %d files, %d bytes, stored %s\n", o.SHA256, o.Files, o.Bytes, clock(o.Stored))
		}
		if !c.Yes {
			continue
		}
		wait, err := eraser.Erase(e.ctx, o.SHA256)
		if err != nil {
			return fmt.Errorf("after %d of %d orphans: %w", i, len(orphans), err)
		}
		if wait == 0 {
			deleted++
		}
		if time.Since(told) > gcTold {
			told = time.Now()
			fmt.Fprintf(e.stderr, "%d of %d orphans deleted\n", deleted, len(orphans))
		}
	}
	if c.JSON {
		return e.json(struct {
			media.Survey
			Deleted int            `json:"deleted"`
			List    []media.Orphan `json:"list"`
		}{seen, deleted, orphans})
	}
	e.printf("%d articles, %d pictures of %d bytes: %d orphans of %d bytes; %d in their time of grace, %d too young to tell\n",
		seen.Articles, seen.Pictures, seen.Bytes, seen.Orphans, seen.OrphanBytes, seen.Waiting, seen.Young)
	switch {
	case c.Yes:
		e.printf("%d deleted\n", deleted)
	case len(orphans) > 0:
		e.printf("nothing was deleted: add --yes to delete the orphans\n")
	}
	return nil
}

// withStore connects, opens the object store too, and closes both afterwards.
func (c *client) withStore(e *env, do func(*session, *objects.Store) error) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	store, err := c.objects(e.ctx, s)
	if err != nil {
		return err
	}
	defer store.Close()
	return do(s, store)
}

// objects opens the object store of the Loa that the flags name.
func (c *client) objects(ctx context.Context, s *session) (*objects.Store, error) {
	if s.cfg.S3.URL != "" {
		return openS3(ctx, s.cfg)
	}
	running, err := readAddresses(s.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if running.S3 == "" {
		return nil, fmt.Errorf("where the object store is must be known: name Loa's configuration with --config, or its directory with --data")
	}
	login, err := embedded.ReadS3Credentials(s3Dir(s.cfg))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(running.S3)
	if err != nil {
		return nil, fmt.Errorf("address of the object store: %w", err)
	}
	return objects.Open(ctx, objects.Options{Endpoint: u.Host, Region: embedded.Region,
		Bucket: s.cfg.S3.Bucket, AccessKey: login.Name, SecretKey: login.Secret.Reveal()})
}

// pictureState tells of a picture that an article used, and no longer shows.
type pictureState struct {
	SHA256 string `json:"sha256"`
	// State is "kept" by a withdrawal that does not erase, "erased", "being erased", "to be erased",
	// "used by another" article or "unused", which loa media gc deletes.
	State string `json:"state"`
	// At is when it was, or is to be, erased.
	At     time.Time `json:"at,omitzero"`
	UsedBy []string  `json:"used_by,omitempty"`
}

func (p pictureState) String() string {
	text := p.State
	if !p.At.IsZero() {
		text += " " + clock(p.At)
	}
	if len(p.UsedBy) > 0 {
		text += ": " + strings.Join(p.UsedBy, ", ")
	}
	return text
}

// pictureUsers bounds how many other articles are named that use a picture.
const pictureUsers = 5

// formerPictures tells what became of the pictures that the article no longer shows.
func (s *session) formerPictures(ctx context.Context, a streams.Entry) ([]pictureState, error) {
	var all []pictureState
	for _, picture := range a.Kept {
		all = append(all, pictureState{SHA256: picture, State: "kept"})
	}
	if len(a.Released) == 0 {
		return all, nil
	}
	uses, err := streams.OpenUses(ctx, s.js)
	if err != nil {
		return nil, err
	}
	for _, picture := range a.Released {
		p, err := s.formerPicture(ctx, uses, a.Key, picture)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (s *session) formerPicture(ctx context.Context, uses *streams.Uses, key streams.Key, picture string) (pictureState, error) {
	p := pictureState{SHA256: picture}
	life, err := uses.Life(ctx, picture)
	if err != nil {
		return p, err
	}
	switch life.State {
	case streams.Erased:
		p.State, p.At = "erased", life.Since
		return p, nil
	case streams.Erasing:
		p.State = "being erased"
		return p, nil
	}
	own := false
	for use, err := range uses.Of(ctx, picture) {
		if err != nil {
			return p, err
		}
		if use.Article == key { // intake is about to let go of it
			own = true
		} else if len(p.UsedBy) < pictureUsers {
			p.UsedBy = append(p.UsedBy, strings.Replace(string(use.Article), ".", "/", 1))
		}
	}
	if len(p.UsedBy) > 0 {
		p.State = "used by another"
		return p, nil
	}
	waiting, err := streams.NewSchedule(s.js).Waiting(ctx, streams.Erasure, streams.ErasureKey(picture))
	if err != nil {
		return p, err
	}
	switch {
	case waiting != nil:
		p.State, p.At = "to be erased", waiting.At
	case own:
		p.State = "to be erased"
	default:
		p.State = "unused"
	}
	return p, nil
}

func printFormer(e *env, pictures []pictureState) {
	for _, p := range pictures {
		e.printf("  picture    %.12s… %s\n", p.SHA256, p)
	}
}
