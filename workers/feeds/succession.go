package feeds

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A site may be succeeded by others, from a day on. One that is merged into another, or renamed,
// has an heir: the heir's feeds show what the site has published too, with its name and the same
// identifiers, so that readers who are sent there find again what they know, and learn of its
// corrections and withdrawals. One that is split has none; its feeds stay as they are, but for what
// is corrected and withdrawn. Either says who goes on.

// lineage is which sites go on with which, until a time.
type lineage struct {
	until time.Time // zero: for ever
	// homes are the sites in whose feeds a site's articles are: its own, its heir's, and those of
	// all that came between.
	homes map[string][]string
	// of are the sites whose articles a site's feeds show, and under those of the feeds of its
	// subtree.
	of, under map[string][]string
	// seen are the digests of the sites that a feed shows, made when they were first asked for: a
	// city has thousands.
	seen sync.Map // of digests, by the feed's sites
}

// digests are of the sites whose articles a feed shows: which they are, and what is shown of them.
type digests struct{ sites, names string }

func (c *Catalog) digests(f Feed) digests {
	l, key := c.lineage(), f.Site
	switch f.Kind {
	case OfSubtree:
		key += separator + ofAll
	case OfCustom:
		key = f.ID
	}
	if d, ok := l.seen.Load(key); ok {
		return d.(digests)
	}
	var names []byte
	ids := slices.Sorted(slices.Values(c.sitesOf(f)))
	for _, id := range ids {
		s, _ := c.tree.Get(id)
		names = fmt.Appendf(names, "%s %s %s\n", s.ID, s.Name, s.URL)
	}
	d := digests{digest([]byte(strings.Join(ids, " "))), digest(names)}
	l.seen.Store(key, d)
	return d
}

// lineage is the current one.
func (c *Catalog) lineage() *lineage {
	now := c.now()
	if l := c.current.Load(); l != nil && (l.until.IsZero() || now.Before(l.until)) {
		return l
	}
	l := &lineage{until: c.tree.NextSuccession(now), homes: map[string][]string{}, of: map[string][]string{}, under: map[string][]string{}}
	for _, one := range c.tree.All() {
		homes := c.tree.Line(one.ID, now)
		l.homes[one.ID] = homes
		var roots []string
		for _, home := range homes {
			l.of[home] = append(l.of[home], one.ID)
			roots = append(roots, c.tree.Ancestors(home)...)
		}
		slices.Sort(roots)
		for _, root := range slices.Compact(roots) {
			l.under[root] = append(l.under[root], one.ID)
		}
	}
	c.current.Store(l)
	return l
}

// heirs are the sites that have come to show what others published.
func (c *Catalog) heirs() (all []string) {
	for home, of := range c.lineage().of {
		if len(of) > 1 {
			all = append(all, home)
		}
	}
	slices.Sort(all)
	return all
}

// succession is a digest of who shows what of whom.
func (c *Catalog) succession() string {
	var all []string
	for _, heir := range c.heirs() {
		all = append(all, heir+"="+strings.Join(c.lineage().of[heir], ","))
	}
	return strings.Join(all, " ")
}

// Successors are the ids of the feeds that may go on with a feed: those of the same kind of each
// site that goes on with its own. They need not exist (yet). What every site has, no one of several
// goes on with.
func (c *Catalog) Successors(id string) []string {
	f, ok := c.Parse(id)
	if !ok || f.Kind == OfCustom {
		return nil
	}
	sites := c.tree.Successors(f.Site, c.now())
	if len(sites) > 1 && (f.Of == "" || f.Kind == OfUrgency) {
		return nil
	}
	var all []string
	for _, next := range sites {
		all = append(all, next+strings.TrimPrefix(id, f.Site))
	}
	return all
}

// ended says in a feed of a site that has been succeeded what it is, and who goes on; empty for
// any other.
func (c *Catalog) ended(f Feed) string {
	var names []string
	for _, id := range c.tree.Successors(f.Site, c.now()) {
		names = append(names, c.Title(Feed{Site: id, Kind: OfSite}, ""))
	}
	if len(names) == 0 || f.Kind == OfCustom {
		return ""
	}
	of, _ := c.tree.Get(f.Site)
	return fmt.Sprintf("Lưu trữ: ngừng đăng từ ngày %s, tiếp nối là %s. ", of.Succeeded.In(zone).Format("02/01/2006"), strings.Join(names, ", "))
}
