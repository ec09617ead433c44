package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/workers/feeds"
)

type resyncCmd struct {
	client
	Portal []string `placeholder:"NAME" help:"Only these portals, and no feeds unless --feeds is given."`
	Feeds  bool     `help:"Only feeds, and no portals unless --portal is given."`
	Site   []string `placeholder:"SITE" help:"Only the articles that these sites publish."`
	DryRun bool     `help:"Tell what is missing, and raise nothing."`
	JSON   bool     `help:"Print as JSON."`
}

// Help is shown by loa resync --help.
func (*resyncCmd) Help() string {
	return `For every article in the log and every portal that is to show it, or may hold it, the
receipt is compared; for every feed that may show it, the feed's index. Where they are
behind and no flag is up, one is raised, and the workers do the rest: nothing is sent to
a portal that holds the current version. They also look whether what the object store
has of each feed and its archives is what they left there. It may run while everything
runs, and any number of times.

Use it when flags or receipts were lost, when the object store lost something or came back
from a backup, when somebody repaired something by hand, and
when a portal's filter became wider and it is to have older articles as well. (Feeds follow
the configuration by themselves at the next start: other filters, pages, sites.)
What is set aside as a dead letter stays there: see loa dead ls.`
}

// resyncTold is how often progress is shown.
const resyncTold = time.Second

func (c *resyncCmd) Run(e *env) error {
	return c.withSources(e, func(src reach.Sources) error {
		var indexes *feeds.Indexes
		o := reach.ResyncOptions{Portals: c.Portal, NoPortals: c.Feeds && c.Portal == nil, Sites: c.Site, DryRun: c.DryRun}
		for _, name := range c.Portal {
			if !src.Portals.Known(name) {
				return fmt.Errorf("portal %q: %w", name, portal.ErrNotFound)
			}
		}
		for _, id := range c.Site {
			if _, ok := src.Tree.Get(id); !ok {
				return fmt.Errorf("site %q is not in the configuration; there are %v", id, src.Tree.Names())
			}
		}
		if c.Feeds || c.Portal == nil {
			cfg, err := c.config()
			if err != nil {
				return err
			}
			catalog, err := feedCatalog(src.Tree, cfg)
			if err != nil {
				return err
			}
			indexes = feeds.NewIndexes(src.JS, catalog)
			o.Feeds = indexes
		}
		last := time.Now()
		o.Progress = func(articles int) {
			if time.Since(last) > resyncTold {
				last = time.Now()
				fmt.Fprintf(e.stderr, "%d articles compared\n", articles)
			}
		}
		began := time.Now()
		r, err := src.Resync(e.ctx, o)
		if err != nil {
			return errors.Join(err, fmt.Errorf("%d articles were compared before; what was raised stays, run it again", r.Articles))
		}
		if indexes != nil && !c.DryRun {
			made, err := indexes.Made(e.ctx, c.Site)
			if err == nil {
				err = feeds.Look(e.ctx, src.JS, made)
			}
			if err != nil {
				return err
			}
		}
		if c.JSON {
			return e.json(r)
		}
		c.print(e, r, time.Since(began))
		return nil
	})
}

func (c *resyncCmd) print(e *env, r reach.ResyncResult, took time.Duration) {
	raised := "RAISED"
	if c.DryRun {
		raised = "MISSING"
	}
	row := func(name string, n reach.Compared) []string {
		return []string{name, strconv.Itoa(n.Compared), strconv.Itoa(n.Level), strconv.Itoa(n.Flagged), strconv.Itoa(n.SetAside), strconv.Itoa(n.Raised)}
	}
	for _, of := range []struct {
		what string
		all  map[string]reach.Compared
	}{{"PORTAL", r.Portals}, {"FEED", r.Feeds}} {
		if len(of.all) == 0 {
			continue
		}
		var rows [][]string
		for _, name := range slices.Sorted(maps.Keys(of.all)) {
			// Thousands of feeds are level as a rule.
			if n := of.all[name]; of.what == "PORTAL" || n.Level != n.Compared {
				rows = append(rows, row(name, n))
			}
		}
		rows = append(rows, row(fmt.Sprintf("all %d", len(of.all)), reach.Total(of.all)))
		e.table([]string{of.what, "COMPARED", "LEVEL", "FLAGGED ALREADY", "SET ASIDE", raised}, rows)
		e.printf("\n")
	}
	e.printf("%d articles compared in %s.\n", r.Articles, took.Round(time.Millisecond))
}

// feedCatalog is that of the feeds that a configuration makes.
func feedCatalog(tree *site.Tree, cfg *config.Config) (*feeds.Catalog, error) {
	shape := func(page int, content string) feeds.Shape {
		return feeds.Shape{Page: page, Content: feeds.Content(content)}
	}
	f := cfg.Feeds
	s := feeds.Settings{PublicURL: cfg.PublicURL, MediaURL: cfg.MediaURL, Shape: shape(f.Page, f.Content),
		Kinds: map[feeds.Kind]feeds.Shape{}, Sites: map[string]feeds.Shape{},
		Hubs: hubs(cfg), TTL: f.TTL, Language: f.Language, Image: f.Image, StubFor: f.WithdrawnStubFor, WithdrawnFor: f.WithdrawnFor}
	for name, kind := range f.Kinds {
		s.Kinds[feeds.Kind(name)] = shape(kind.Page, kind.Content)
		if kind.Off {
			s.Off = append(s.Off, feeds.Kind(name))
		}
	}
	for _, one := range cfg.Sites {
		s.Sites[one.ID] = shape(one.Feeds.Page, one.Feeds.Content)
	}
	for _, custom := range f.Custom {
		s.Custom = append(s.Custom, feeds.Custom{ID: custom.ID, Title: custom.Title, Filter: portalFilter(custom.Filter), Shape: shape(custom.Page, custom.Content)})
	}
	return feeds.NewCatalog(tree, s)
}
