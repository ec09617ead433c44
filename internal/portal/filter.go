package portal

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// Filter selects the articles that a portal is to show: those that meet every one of its
// criteria. An empty criterion is met by all, so the zero Filter selects everything.
type Filter struct {
	// Sites are the roots of subtrees: articles of these sites and of those under them.
	Sites []string `json:"sites,omitempty"`
	// Categories are ids; the article has one of them.
	Categories []string `json:"categories,omitempty"`
	// Tags: the article has one of them.
	Tags []string `json:"tags,omitempty"`
	// Urgency is the highest number, that is the least urgent, that passes; any when 0.
	Urgency int `json:"urgency,omitempty"`
	// Languages are tags (BCP 47), each with those under it: "vi" is met by "vi-VN" too.
	Languages []string `json:"languages,omitempty"`
	// Since: the article was published then or later; whenever, when zero.
	Since time.Time `json:"since,omitzero"`
	// Not excludes some of what the other criteria select.
	Not Exclusion `json:"not,omitzero"`
}

// Exclusion names articles that a portal is not to show: those that meet any of its criteria.
type Exclusion struct {
	Sites      []string `json:"sites,omitempty"` // and those under them
	Categories []string `json:"categories,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Languages  []string `json:"languages,omitempty"`
}

// Matches reports whether the filter selects the article as it is now. It looks at what the
// article is about, not at whether it is live.
func (f Filter) Matches(a *article.Article, tree *site.Tree) bool {
	return f.now(a, tree.Ancestors(a.Site))
}

// MatchedEver reports whether the filter may have selected a former version of the article. It
// may err on the side of yes.
func (f Filter) MatchedEver(a *article.Article, tree *site.Tree) bool {
	return f.ever(a, tree.Ancestors(a.Site))
}

// now is Matches, for an article whose site's ancestors, itself included, are known.
func (f Filter) now(a *article.Article, ancestors []string) bool {
	return f.site(a, ancestors) &&
		(f.Urgency == 0 || a.Urgency <= f.Urgency) &&
		(len(f.Tags) == 0 || meet(f.Tags, a.Tags)) &&
		(len(f.Categories) == 0 || categorised(a, f.Categories)) &&
		(len(f.Languages) == 0 || spoken(a.Language, f.Languages)) &&
		!a.Published.Before(f.Since) &&
		!meet(f.Not.Tags, a.Tags) && !categorised(a, f.Not.Categories) && !spoken(a.Language, f.Not.Languages)
}

// ever leaves aside what a former version may have been without: the tags, categories and
// languages that are excluded, and the time of publication.
func (f Filter) ever(a *article.Article, ancestors []string) bool {
	return f.site(a, ancestors) &&
		(f.Urgency == 0 || a.Ever.Urgency != 0 && a.Ever.Urgency <= f.Urgency) &&
		(len(f.Tags) == 0 || meet(f.Tags, a.Ever.Tags)) &&
		(len(f.Categories) == 0 || meet(f.Categories, a.Ever.Categories)) &&
		(len(f.Languages) == 0 || slices.ContainsFunc(a.Ever.Languages, func(l string) bool { return spoken(l, f.Languages) }))
}

// site also knows an article whose site is not in the tree (any more) by its own id.
func (f Filter) site(a *article.Article, ancestors []string) bool {
	under := func(roots []string) bool { return meet(roots, ancestors) || slices.Contains(roots, a.Site) }
	return (len(f.Sites) == 0 || under(f.Sites)) && !under(f.Not.Sites)
}

func categorised(a *article.Article, ids []string) bool {
	return slices.ContainsFunc(a.Categories, func(c events.Category) bool { return slices.Contains(ids, c.ID) })
}

// spoken is basic filtering (RFC 4647 §3.3.1): a range is met by the same tag, and by a longer
// one that goes on with a hyphen.
func spoken(language string, ranges []string) bool {
	return slices.ContainsFunc(ranges, func(r string) bool {
		n := len(r)
		return len(language) >= n && strings.EqualFold(language[:n], r) && (len(language) == n || language[n] == '-')
	})
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// Canonical brings the filter to the form in which articles have their words.
func (f Filter) Canonical() Filter {
	f.Sites = composed(f.Sites)
	f.Categories = composed(f.Categories)
	f.Tags = composed(f.Tags)
	f.Not.Sites = composed(f.Not.Sites)
	f.Not.Categories = composed(f.Not.Categories)
	f.Not.Tags = composed(f.Not.Tags)
	f.Since = f.Since.UTC()
	return f
}

func composed(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = norm.NFC.String(w)
	}
	return out
}
