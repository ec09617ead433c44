package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// custom is a [Custom] in a tree of sites.
type custom struct {
	Custom
	site  string   // whose feed it is
	sites []string // whose articles it may show
	// selection is a digest of the filter.
	selection []byte
}

func (c Custom) check() error {
	if !sitePattern.MatchString(c.ID) || len(c.ID) > maxSite {
		return fmt.Errorf("id %q: expected at most %d small letters and digits, in groups joined by single hyphens", c.ID, maxSite)
	}
	if article.Text(c.Title, maxTitle) == "" {
		return fmt.Errorf("expected a title")
	}
	return c.Shape.check()
}

func newCustom(one Custom, tree *site.Tree) (*custom, error) {
	one.Filter = one.Filter.Canonical()
	one.Title = article.Text(one.Title, maxTitle)
	filter, err := json.Marshal(one.Filter)
	if err != nil {
		return nil, fmt.Errorf("feed %s: digest its filter: %w", one.ID, err)
	}
	c := &custom{Custom: one, selection: filter}
	var above []string // those that lie above all of its sites, the nearest first
	for i, s := range tree.All() {
		if i == 0 {
			c.site = s.ID // where no site lies above all others
		}
		if len(one.Filter.Sites) > 0 && !slices.ContainsFunc(one.Filter.Sites, func(root string) bool { return tree.Under(s.ID, root) }) {
			continue
		}
		c.sites = append(c.sites, s.ID)
		if chain := tree.Ancestors(s.ID); len(c.sites) == 1 {
			above = chain
		} else {
			above = slices.DeleteFunc(above, func(id string) bool { return !slices.Contains(chain, id) })
		}
	}
	if len(above) > 0 {
		c.site = above[0]
	}
	return c, nil
}

// off is the selection of a feed that is to show nothing.
const off = "off"

// selection is a digest of what decides, beside the articles, which of them the feed selects: an
// index of another selection is made anew from the log. It is empty where nothing but the feed's
// id does: of a site that has not come to show what others published.
func (c *Catalog) selection(f Feed) string {
	switch {
	case c.off(f.Kind):
		return off
	case f.Kind != OfSubtree && f.Kind != OfCustom && len(c.sitesOf(f)) == 1:
		return ""
	}
	var filter []byte
	if f.Kind == OfCustom {
		filter = c.custom[f.ID].selection
	}
	return digest([]byte(c.digests(f).sites), filter)
}

// wasCustom reports whether the index of a feed that is not known, or no longer, was a custom one's.
func wasCustom(id, selection string) bool {
	return selection != "" && selection != off && !strings.Contains(id, separator)
}

// drop removes a custom feed that the configuration no longer has: what it shows would stay as it
// is whatever becomes of its articles. The feeds of a site that was removed stay readable.
func (f *Feeds) drop(ctx context.Context, id string) error {
	h, err := f.readIndex(ctx, id)
	if err != nil {
		return err
	}
	if !wasCustom(id, h.Selection) {
		f.events.Debug().Str("target", id).Msg("flags of an unknown feed dropped")
		return nil
	}
	for o, err := range f.objects.List(ctx, Feed{ID: id}.object("")) {
		if err == nil {
			err = f.objects.Delete(ctx, o.Key)
		}
		if err != nil {
			return fmt.Errorf("remove feed %s: %w", id, err)
		}
	}
	if err := f.bucket.Delete(ctx, id, jetstream.LastRevision(h.revision)); err != nil {
		return fmt.Errorf("remove the index of feed %s: %w", id, err)
	}
	f.marks.put(id, marks{})
	f.events.Info().Str("target", id).Msg("feed removed, which is no longer in the configuration")
	return nil
}
