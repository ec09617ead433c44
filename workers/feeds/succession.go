package feeds

import (
	"fmt"
	"slices"
	"strings"
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
