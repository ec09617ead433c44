package reach

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Feeds compares feeds with articles.
type Feeds interface {
	// Compare calls each for every article and every feed that it may concern: level, if the
	// feed's index agrees with the article.
	Compare(ctx context.Context, entries []streams.Entry, each func(feed string, e streams.Entry, level bool)) error
}

// ResyncOptions say what is compared.
type ResyncOptions struct {
	// Portals are the names of those to compare; nil: all. With NoPortals, none.
	Portals   []string
	NoPortals bool
	// Feeds compares feeds too; nil: no.
	Feeds Feeds
	// Only, if set, selects feeds.
	Only func(feed string) bool
	// Sites are whose articles are compared; nil: those of all.
	Sites []string
	// DryRun raises nothing.
	DryRun bool
	// Progress, if set, is told now and then how many articles were compared.
	Progress func(articles int)
}

// Compared is what was found about one target, in articles.
type Compared struct {
	Compared int `json:"compared"`
	Level    int `json:"level"`
	Flagged  int `json:"flagged"`   // behind, and a flag is up already
	SetAside int `json:"set_aside"` // behind, and a dead letter says why
	Raised   int `json:"raised"`    // behind, and a flag was raised (or would be, in a dry run)
}

func (c *Compared) add(d Compared) {
	c.Compared += d.Compared
	c.Level += d.Level
	c.Flagged += d.Flagged
	c.SetAside += d.SetAside
	c.Raised += d.Raised
}

// ResyncResult is what [Sources.Resync] found and did.
type ResyncResult struct {
	Articles int                 `json:"articles"`
	Portals  map[string]Compared `json:"portals,omitempty"`
	Feeds    map[string]Compared `json:"feeds,omitempty"`
}

// Total adds up what was found about all targets of a kind.
func Total(of map[string]Compared) Compared {
	var sum Compared
	for _, c := range of {
		sum.add(c)
	}
	return sum
}

const (
	// resyncPage is how many articles are compared together; with their bodies they take a few
	// megabytes.
	resyncPage = 500
	// askAll is up to how many portals receipts are asked for without first finding out whom an
	// article concerns: 500 pairs cost one question, whom an article concerns costs one as well.
	askAll = 50
	// raiseAtOnce is how many flags share an atomic batch.
	raiseAtOnce = 1000
)

// Resync compares every article with every target that is to show it or may hold it, and raises
// the flags that are missing. It may run at any time, any number of times: a flag too many costs
// one look at a receipt. What others do meanwhile, their own flags tell of.
func (s Sources) Resync(ctx context.Context, o ResyncOptions) (ResyncResult, error) {
	w := &resync{Sources: s, o: o, result: ResyncResult{Portals: map[string]Compared{}, Feeds: map[string]Compared{}}}
	if !o.NoPortals {
		w.names = o.Portals
		if w.names == nil && len(s.Portals.All())+len(s.Portals.Malformed()) <= askAll {
			for _, p := range s.Portals.All() {
				w.names = append(w.names, p.Name)
			}
			for name := range s.Portals.Malformed() {
				w.names = append(w.names, name)
			}
		}
		var err error
		if w.dead, err = s.setAside(ctx, ""); err != nil {
			return w.result, err
		}
	}
	sites := o.Sites
	if sites == nil {
		sites = []string{"*"}
	}
	for _, site := range sites {
		if err := w.walk(ctx, site); err != nil {
			return w.result, err
		}
	}
	return w.result, nil
}

// resync is one run of [Sources.Resync].
type resync struct {
	Sources
	o      ResyncOptions
	names  []string // of the portals to ask about every article; nil: of those concerned
	dead   map[string]streams.DeadLetter
	result ResyncResult
}

func (w *resync) walk(ctx context.Context, site string) error {
	return w.pages(ctx, site, func(page []streams.Entry) error {
		err := w.page(ctx, page)
		w.result.Articles += len(page)
		if w.o.Progress != nil {
			w.o.Progress(w.result.Articles)
		}
		return err
	})
}

// pages gives the articles of a site, or of all ("*"), some at a time and without their bodies,
// which what is compared does not need.
func (s Sources) pages(ctx context.Context, site string, each func([]streams.Entry) error) error {
	page := make([]streams.Entry, 0, resyncPage)
	for e, err := range s.Log.Walk(ctx, site, 0) {
		if err != nil {
			return err
		}
		e.Body = ""
		if page = append(page, e); len(page) == cap(page) {
			if err := each(page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	return each(page)
}

func (w *resync) page(ctx context.Context, page []streams.Entry) error {
	if len(page) == 0 {
		return nil
	}
	if !w.o.NoPortals {
		if err := w.portals(ctx, page); err != nil {
			return fmt.Errorf("compare portals: %w", err)
		}
	}
	if w.o.Feeds != nil {
		if err := w.feeds(ctx, page); err != nil {
			return fmt.Errorf("compare feeds: %w", err)
		}
	}
	return nil
}

// behind is a target that an article has not reached.
type behind struct {
	target string
	entry  streams.Entry
	class  string
}

func (w *resync) portals(ctx context.Context, page []streams.Entry) error {
	var pairs []portal.Receipt
	var entries []streams.Entry // of each pair
	var late []behind
	check := func() error {
		receipts, err := w.Receipts.GetMany(ctx, pairs)
		if err != nil {
			return err
		}
		for i, r := range receipts {
			p, ok := w.Portals.Get(r.Portal)
			w.count(w.result.Portals, r.Portal, Compared{Compared: 1})
			if ok && !p.Due(entries[i].Article, r, w.Tree) {
				w.count(w.result.Portals, r.Portal, Compared{Level: 1})
				continue
			}
			late = append(late, behind{r.Portal, entries[i], class(entries[i], r)})
		}
		pairs, entries = pairs[:0], entries[:0]
		return nil
	}
	for _, e := range page {
		names := w.names
		if names == nil {
			var err error
			if names, err = w.Portals.Concerned(ctx, e); err != nil {
				return err
			}
		}
		for _, name := range names {
			pairs = append(pairs, portal.Receipt{Portal: name, Key: e.Key})
			entries = append(entries, e)
			if len(pairs) < raiseAtOnce {
				continue
			}
			if err := check(); err != nil {
				return err
			}
			if err := w.raise(ctx, portalKind, w.result.Portals, late); err != nil {
				return err
			}
			late = late[:0]
		}
	}
	if err := check(); err != nil {
		return err
	}
	return w.raise(ctx, portalKind, w.result.Portals, late)
}

// class of the flag by which a portal catches up: what it shows and should not overtakes others,
// old news do not.
func class(e streams.Entry, r portal.Receipt) string {
	if e.Express() && r.Touched() {
		return streams.Express
	}
	return streams.Normal
}

func (w *resync) feeds(ctx context.Context, page []streams.Entry) error {
	var late []behind
	err := w.o.Feeds.Compare(ctx, page, func(feed string, e streams.Entry, level bool) {
		if w.o.Only != nil && !w.o.Only(feed) {
			return
		}
		w.count(w.result.Feeds, feed, Compared{Compared: 1})
		if level {
			w.count(w.result.Feeds, feed, Compared{Level: 1})
			return
		}
		late = append(late, behind{feed, e, streams.Normal})
	})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(late, raiseAtOnce) {
		if err := w.raise(ctx, feedKind, w.result.Feeds, part); err != nil {
			return err
		}
	}
	return nil
}

// feedKind is that of feeds' flags.
const feedKind = "feed"

// raise raises the flags that are not up, but for what was set aside.
func (w *resync) raise(ctx context.Context, kind string, counts map[string]Compared, late []behind) error {
	pairs := make([]reconcile.Pair, len(late))
	for i, b := range late {
		pairs[i] = reconcile.Pair{Target: b.target, Key: string(b.entry.Key)}
	}
	up, err := reconcile.Up(ctx, w.JS, kind, pairs)
	if err != nil {
		return err
	}
	var flags []reconcile.Flag
	for i, b := range late {
		if _, ok := up[pairs[i]]; ok {
			w.count(counts, b.target, Compared{Flagged: 1})
			continue
		}
		if l, ok := w.dead[b.target+"."+string(b.entry.Key)]; ok && kind == portalKind && !l.At.Before(b.entry.Accepted) {
			w.count(counts, b.target, Compared{SetAside: 1})
			continue
		}
		w.count(counts, b.target, Compared{Raised: 1})
		flags = append(flags, reconcile.Flag{Class: b.class, Kind: kind, Target: b.target, Key: string(b.entry.Key),
			Seq: b.entry.Seq, Raised: raised(b.entry)})
	}
	if w.o.DryRun || len(flags) == 0 {
		return nil
	}
	return reconcile.Raise(ctx, w.JS, flags)
}

// raised is since when a target is behind: when the version entered the log.
func raised(e streams.Entry) time.Time {
	if e.Accepted.IsZero() {
		return time.Now()
	}
	return e.Accepted
}

func (w *resync) count(of map[string]Compared, target string, c Compared) {
	sum := of[target]
	sum.add(c)
	of[target] = sum
}
