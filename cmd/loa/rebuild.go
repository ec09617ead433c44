package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

type rebuildCmd struct {
	client
	DryRun bool `help:"Tell what the log lacks, and write nothing."`
	JSON   bool `help:"Print as JSON."`
}

// Help is shown by loa rebuild --help.
func (*rebuildCmd) Help() string {
	return `For use after NATS has lost what it stored, or came back from a backup. Every article has
a copy in the object store, withdrawn ones too. Where the log has no version of it, or an
older one, the copy goes back into the log, and the workers make its feeds from that. Loa
runs meanwhile; start it first, with the configuration it had. The command may be
interrupted and run again.

What only NATS has is gone: events that had not been dealt with, embargoed articles,
portals and feeds' subscribers that are not in the configuration, API keys, dead letters,
and the receipts. Without receipts, portals are sent all live articles again, of which a
receiver drops what it holds; and it is not known who shows an article that is withdrawn.
So after this, compare each portal with "loa portals verify NAME --repair".`
}

const (
	// rebuildAtOnce is how many articles are read and written at the same time: the disk is waited for.
	rebuildAtOnce = 16
	// articleObjects is where the copies are: see [streams.Key.Object].
	articleObjects = "articles/"
)

// restored is what a rebuild has done so far.
type restored struct {
	Copies   int      `json:"copies"`   // in the object store
	Restored int      `json:"restored"` // that the log lacked
	Failed   []string `json:"failed"`   // and why
}

func (c *rebuildCmd) Run(e *env) error {
	return c.withStore(e, func(s *session, store *objects.Store) error { return c.rebuild(e, s, store) })
}

func (c *rebuildCmd) rebuild(e *env, s *session, store *objects.Store) error {
	in, err := intake.New(e.ctx, intake.Options{JS: s.js, Objects: store, EraseAfter: s.cfg.Media.EraseAfter, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	var copies []objects.Info
	for info, err := range store.List(e.ctx, articleObjects) {
		if err != nil {
			return fmt.Errorf("list the articles in the object store: %w", err)
		}
		copies = append(copies, info)
	}
	// The log is in the order of change; the copies were written in nearly that.
	slices.SortStableFunc(copies, func(a, b objects.Info) int { return a.Modified.Compare(b.Modified) })
	done := restored{Failed: []string{}}
	var mu sync.Mutex // guards done and told
	told := time.Now()
	group, ctx := errgroup.WithContext(e.ctx)
	group.SetLimit(rebuildAtOnce)
	for _, info := range copies {
		group.Go(func() error {
			lacked, err := c.restore(ctx, store, in, s.log, info.Key)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errNoCopy):
				done.Failed = append(done.Failed, fmt.Sprintf("%s: %v", info.Key, err))
			case err != nil:
				return fmt.Errorf("restore %s: %w; %d articles were restored before, run it again", info.Key, err, done.Restored)
			case lacked:
				done.Restored++
			}
			done.Copies++
			if time.Since(told) > resyncTold {
				told = time.Now()
				fmt.Fprintf(e.stderr, "%d of %d articles, %d restored, %d failed\n", done.Copies, len(copies), done.Restored, len(done.Failed))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.report(e, done)
}

// errNoCopy says that an object is not the copy of an article that its name promises.
var errNoCopy = errors.New("not an article's copy")

// restore puts one article back, and reports whether the log lacked it.
func (c *rebuildCmd) restore(ctx context.Context, store *objects.Store, in *intake.Intake, log *streams.Log, name string) (bool, error) {
	o, err := store.Get(ctx, name, streams.MaxMessage)
	if err != nil {
		return false, err
	}
	a, err := article.Parse(o.Body)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errNoCopy, err)
	}
	key := streams.KeyOf(a.Site, a.ID)
	if key.Object() != name || a.Number < 1 {
		return false, fmt.Errorf("%w: got article %q of site %q, version %d", errNoCopy, a.ID, a.Site, a.Number)
	}
	if !c.DryRun {
		return in.Restore(ctx, a)
	}
	cur, err := log.Latest(ctx, key)
	if errors.Is(err, streams.ErrNotFound) {
		return true, nil
	}
	return err == nil && cur.Version.Compare(a.Version) < 0, err
}

func (c *rebuildCmd) report(e *env, done restored) error {
	slices.Sort(done.Failed)
	if c.JSON {
		if err := e.json(done); err != nil {
			return err
		}
	} else {
		what := "put back into the log"
		if c.DryRun {
			what = "missing in the log, or newer than there"
		}
		e.printf("%d articles in the object store: %d %s\n", done.Copies, done.Restored, what)
		if len(done.Failed) > 0 {
			fmt.Fprintf(e.stderr, "not usable:\n  %s\n", strings.Join(done.Failed, "\n  "))
		}
		if done.Restored > 0 && !c.DryRun {
			e.printf("The receipts are not there: compare each portal with \"loa portals verify NAME --repair\".\n")
		}
	}
	if len(done.Failed) > 0 {
		return errSaid
	}
	return nil
}
