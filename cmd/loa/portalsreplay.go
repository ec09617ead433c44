package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

type portalsReplayCmd struct {
	client
	Name   string   `arg:"" help:"The portal's name."`
	Since  string   `required:"" placeholder:"DURATION|DATE" help:"The articles whose current version Loa took since then."`
	Site   []string `placeholder:"SITE" help:"Only those that these sites publish."`
	DryRun bool     `help:"Tell how many there are, and send nothing."`
	JSON   bool     `help:"Print as JSON."`
}

// Help is shown by loa portals replay --help.
func (*portalsReplayCmd) Help() string {
	return `For a portal that has lost what it had: the articles that it is to show are sent again,
each once, at its current version, with the same webhook-id as the first time. So a
portal that still has one drops it as a repeat. Withdrawals are sent again as well,
where the article was received.

What was not delivered at all needs no replay: it waits, or loa resync finds it.`
}

// replayAtOnce is how many receipts are written at once: they share the fsyncs.
const replayAtOnce = 200

// replayed counts what a replay has done.
type replayed struct {
	Portal   string `json:"portal"`
	Articles int    `json:"articles"` // looked at
	Again    int    `json:"again"`    // to be sent again
	DryRun   bool   `json:"dry_run,omitempty"`
}

func (c *portalsReplayCmd) Run(e *env) error {
	since, err := parseSince("since", c.Since)
	if err != nil {
		return err
	}
	return c.withReceipts(e, func(s *session, receipts *portal.Receipts) error {
		portals, err := s.openPortals(e.ctx)
		if err != nil {
			return err
		}
		defer portals.Close()
		if _, ok := portals.Get(c.Name); !ok {
			return fmt.Errorf("portal %q: %w; loa portals ls lists those there are", c.Name, portal.ErrNotFound)
		}
		done := replayed{Portal: c.Name, DryRun: c.DryRun}
		told := time.Now()
		for page, err := range c.pages(e.ctx, s, since) {
			if err != nil {
				return err
			}
			again, err := c.replay(e.ctx, s, receipts, page)
			if err != nil {
				return err
			}
			done.Articles += len(page)
			done.Again += again
			if time.Since(told) > resyncTold {
				told = time.Now()
				fmt.Fprintf(e.stderr, "%d articles looked at, %d to be sent again\n", done.Articles, done.Again)
			}
		}
		if c.JSON {
			return e.json(done)
		}
		what := "are sent again"
		if c.DryRun {
			what = "would be sent again"
		}
		e.printf("%d of %d articles %s to %s.\n", done.Again, done.Articles, what, c.Name)
		return nil
	})
}

// pages gives the articles in question, some at a time.
func (c *portalsReplayCmd) pages(ctx context.Context, s *session, since time.Time) func(func([]streams.Entry, error) bool) {
	return func(yield func([]streams.Entry, error) bool) {
		sites := c.Site
		if len(sites) == 0 {
			sites = []string{"*"}
		}
		var page []streams.Entry
		for _, site := range sites {
			for a, err := range s.log.Walk(ctx, site, 0) {
				if err != nil {
					yield(nil, err)
					return
				}
				if a.Accepted.Before(since) {
					continue
				}
				a.Body = "" // not needed, and the large part
				if page = append(page, a); len(page) == raisePage {
					if !yield(page, nil) {
						return
					}
					page = nil
				}
			}
		}
		if len(page) > 0 {
			yield(page, nil)
		}
	}
}

// replay has what the portal acknowledged of a page sent again: its receipts say from now on that
// it may hold that, no longer that it does.
func (c *portalsReplayCmd) replay(ctx context.Context, s *session, receipts *portal.Receipts, page []streams.Entry) (int, error) {
	of := make([]portal.Receipt, len(page))
	for i, a := range page {
		of[i] = portal.Receipt{Portal: c.Name, Key: a.Key}
	}
	have, err := receipts.GetMany(ctx, of)
	if err != nil {
		return 0, err
	}
	var flags []reconcile.Flag
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(replayAtOnce)
	for i, r := range have {
		if r.Holds == (article.Version{}) {
			continue
		}
		f := reconcile.FlagsFor(bulletins.Kind, []string{c.Name}, nil, page[i])
		f[0].Class = streams.Normal // it is not new
		flags = append(flags, f...)
		if !c.DryRun {
			group.Go(func() error { return receipts.Doubt(writing, r) })
		}
	}
	if err := group.Wait(); err != nil || c.DryRun {
		return len(flags), err
	}
	return len(flags), reconcile.Raise(ctx, s.js, flags)
}
