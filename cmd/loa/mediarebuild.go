package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
	"github.com/loa-syndication/loa/workers/media"
)

type mediaRebuildCmd struct {
	client
	Jobs int  `default:"2" help:"Articles at the same time: each takes a processor, and memory for a picture."`
	JSON bool `help:"Print as JSON."`
}

// Help is shown by loa media rebuild --help.
func (*mediaRebuildCmd) Help() string {
	return `For use after widths, formats or crops of media were changed in the configuration. Every
picture of the articles in the log is rendered anew from its original, unless that is done
already, and articles whose renditions change by it get a new revision, which feeds and portals
follow. Loa goes on meanwhile. It may be interrupted and run again: it goes on where it was.
Former renditions stay, for those who show them, until the picture is erased.`
}

// maxRebuildJobs bounds the processors and the memory that a rebuild takes.
const maxRebuildJobs = 64

// rebuilt is what a rebuild has done so far.
type rebuilt struct {
	Articles int      `json:"articles"` // live ones with pictures, looked at
	Changed  int      `json:"changed"`
	Failed   []string `json:"failed"` // and why
}

func (c *mediaRebuildCmd) Run(e *env) error {
	if c.Jobs < 1 || c.Jobs > maxRebuildJobs {
		return fmt.Errorf("--jobs: got %d, expected 1 to %d", c.Jobs, maxRebuildJobs)
	}
	return c.withStore(e, func(s *session, store *objects.Store) error { return c.rebuild(e, s, store) })
}

func (c *mediaRebuildCmd) rebuild(e *env, s *session, store *objects.Store) error {
	index, err := s.js.KeyValue(e.ctx, streams.MediaBucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.MediaBucket, err)
	}
	options := pictureOptions(s.cfg)
	options.Objects, options.Index, options.Log = store, index, zerolog.Nop()
	pictures := media.New(options)
	defer pictures.Close()
	in, err := intake.New(e.ctx, intake.Options{JS: s.js, Objects: store, EraseAfter: s.cfg.Media.EraseAfter, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	done := rebuilt{Failed: []string{}}
	var mu sync.Mutex // guards done and told
	told := time.Now()
	one := func(ctx context.Context, key streams.Key, name string) error {
		changed, err := in.Renew(ctx, key, pictures.Renew)
		mu.Lock()
		defer mu.Unlock()
		var permanent *media.PermanentError
		switch {
		case errors.As(err, &permanent):
			done.Failed = append(done.Failed, name+": "+err.Error())
		case err != nil:
			return fmt.Errorf("after %d articles, article %s: %w", done.Articles, name, err)
		case changed:
			done.Changed++
		}
		done.Articles++
		if time.Since(told) > gcTold {
			told = time.Now()
			fmt.Fprintf(e.stderr, "%d articles, %d changed, %d failed\n", done.Articles, done.Changed, len(done.Failed))
		}
		return nil
	}
	group, ctx := errgroup.WithContext(e.ctx)
	group.SetLimit(c.Jobs)
	// The log is walked in the order of change, in which what is revised meanwhile comes again.
	seen := map[streams.Key]bool{}
	for a, err := range s.log.Walk(ctx, "*", 0) {
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		if a.Live() && len(a.Pictures()) > 0 && !seen[a.Key] {
			seen[a.Key] = true
			group.Go(func() error { return one(ctx, a.Key, a.Site+"/"+a.ID) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.report(e, done)
}

func (c *mediaRebuildCmd) report(e *env, done rebuilt) error {
	if c.JSON {
		if err := e.json(done); err != nil {
			return err
		}
	} else {
		e.printf("%d articles with pictures: %d got a new revision\n", done.Articles, done.Changed)
		for _, f := range done.Failed {
			fmt.Fprintln(e.stderr, f)
		}
	}
	if len(done.Failed) > 0 {
		return errSaid
	}
	return nil
}
