package feeds

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
)

// water is a custom feed of the sample's district.
func water(f portal.Filter) Settings {
	return Settings{Custom: []Custom{{ID: "cap-nuoc", Title: "Tin cấp nước", Filter: f}}}
}

// anew has every feed made as the catalog has it, as at the start of a process.
func (w *world) anew(c *Catalog) (outdated []string) {
	w.t.Helper()
	w.Feeds = w.another(c)
	outdated, err := NewIndexes(w.js, c).Outdated(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range outdated {
		if err := w.Reconcile(w.t.Context(), id, []reconcile.Flag{{Kind: FlagKind, Target: id, Key: Anew}}); err != nil {
			w.t.Fatal(err)
		}
	}
	return outdated
}

func TestArticleLeavesEveryFeedThatNoLongerSelectsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, water(portal.Filter{Sites: []string{sample.BenSong}, Tags: []string{"cấp nước"}, Languages: []string{"vi"}}))
	a := many(t, ward, 1)[0]
	a.Tags, a.Authors, a.Urgency = []string{"cấp nước"}, []events.Author{{Name: "Lê Thu Hà"}}, 2
	for name, change := range map[string]func(*article.Article){
		ward + "--tag--" + events.Token("cấp nước"): func(a *article.Article) { a.Tags = nil },
		ward + "--by--" + events.Token("Lê Thu Hà"): func(a *article.Article) { a.Authors = nil },
		ward + "--urgency--3":                       func(a *article.Article) { a.Urgency = 4 },
		"cap-nuoc":                                  func(a *article.Article) { a.Language = "en" },
	} {
		before := changed(a, name)
		w.level(name, before)
		w.mustShow(name, before)
		after := changed(before, name)
		after.Ever = article.Selections{Tags: a.Tags, Authors: []string{"Lê Thu Hà"}, Urgency: 2, Languages: []string{"vi"}}
		change(after)
		if !slices.Contains(w.catalog.Concerned(after), name) {
			t.Errorf("%s does not learn that the article left it", name)
		}
		w.level(name, after)
		w.mustShow(name)
	}
}

func TestCustomFeedFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 6)
	for i, a := range all {
		a.Tags = [][]string{{"cấp nước"}, {"lễ hội"}}[i%2]
	}
	w.put(all...)

	step := func(what string, s Settings, want ...*article.Article) {
		t.Helper()
		if got := w.anew(city(t, s)); !slices.Equal(got, []string{"cap-nuoc"}) {
			t.Errorf("%s: outdated are %q", what, got)
		}
		w.mustShow("cap-nuoc", want...)
		if got := w.anew(city(t, s)); len(got) > 0 {
			t.Errorf("%s: outdated again are %q", what, got)
		}
	}
	step("one that is new", water(portal.Filter{Tags: []string{"cấp nước"}}), all[4], all[2], all[0])
	step("another filter", water(portal.Filter{Tags: []string{"lễ hội"}, Not: portal.Exclusion{Sites: []string{"khong-co"}}}), all[5], all[3], all[1])
	step("a filter that nothing meets", water(portal.Filter{Sites: []string{sample.ChoMoi}}))
	smaller := water(portal.Filter{Languages: []string{"vi-VN", "vi"}})
	smaller.Custom[0].Shape = Shape{Page: 2, Content: Summary}
	step("a page of two summaries", smaller, all[5], all[4])
	for i := range formats {
		if got := parse(t, w.object("cap-nuoc", i).Body); got.Title != "Tin cấp nước" || got.Items[0].Content != "<p>"+all[5].Summary+"</p>" {
			t.Errorf("%s: title %q, content %.80q", formats[i].name, got.Title, got.Items[0].Content)
		}
	}

	for _, a := range all[:3] {
		a.Number, a.Language = 2, "en"
	}
	w.put(all[:3]...)
	step("one of another language", water(portal.Filter{Languages: []string{"en"}}), all[2], all[1], all[0])
	if got := parse(t, w.object("cap-nuoc", formatRSS).Body).Language; got != "en" {
		t.Errorf("a feed in English says it is in %q", got)
	}

	if got := w.anew(city(t, Settings{})); !slices.Equal(got, []string{"cap-nuoc"}) {
		t.Errorf("outdated are %q", got)
	}
	if _, err := w.objects.Stat(t.Context(), "feeds/cap-nuoc/feed.rss"); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("a feed that is no longer configured: %v", err)
	}
	if got := w.anew(city(t, Settings{})); len(got) > 0 {
		t.Errorf("outdated are %q", got)
	}
}

func TestFeedsFollowTheSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 2}})
	all := many(t, ward, 4)
	w.level(ward, all...)
	w.level(ward+"--all", all...)
	w.mustShow(ward, all[3], all[2])

	larger := Settings{Shape: Shape{Page: 2}, Kinds: map[Kind]Shape{OfSite: {Page: 3}}}
	if got := w.anew(city(t, larger)); !slices.Equal(got, []string{ward}) {
		t.Errorf("outdated are %q", got)
	}
	w.mustShow(ward, all[3], all[2], all[1])
	w.mustShow(ward+"--all", all[3], all[2])

	without := Settings{Shape: Shape{Page: 2}, Off: []Kind{OfSite}}
	w.anew(city(t, without))
	w.mustShow(ward)
	w.level(ward, changed(all[3], "Sửa"))
	w.mustShow(ward)
	w.anew(city(t, larger))
	w.mustShow(ward, changed(all[3], "Sửa"), all[2], all[1])
}

func TestCustomFeedBelongsToTheNearestSiteAboveAllOfItsSites(t *testing.T) {
	for _, c := range []struct {
		sites []string
		want  string
	}{
		{nil, sample.City}, {[]string{ward}, ward}, {[]string{ward, sample.ChoMoi}, ""}, {[]string{sample.BenSong, ward}, sample.BenSong},
	} {
		cat := city(t, water(portal.Filter{Sites: c.sites}))
		f, ok := cat.Parse("cap-nuoc")
		if c.want == "" {
			c.want = above(cat, c.sites)
		}
		if !ok || f.Site != c.want || f.Kind != OfCustom {
			t.Errorf("of %q: %+v, want that of %s", c.sites, f, c.want)
		}
	}
}

// above is the first ancestor of the first site that all have.
func above(c *Catalog, sites []string) string {
	for _, id := range c.tree.Ancestors(sites[0]) {
		if !slices.ContainsFunc(sites, func(s string) bool { return !c.tree.Under(s, id) }) {
			return id
		}
	}
	return ""
}

func TestCatalogRefusesCustomFeedsThatCannotBe(t *testing.T) {
	for what, all := range map[string][]Custom{
		"no title":      {{ID: "x"}},
		"a site's id":   {{ID: ward, Title: "X"}},
		"a kind's id":   {{ID: "a--all", Title: "X"}},
		"twice":         {{ID: "x", Title: "X"}, {ID: "x", Title: "Y"}},
		"a page of 501": {{ID: "x", Title: "X", Shape: Shape{Page: 501}}},
	} {
		c := city(t, Settings{})
		if _, err := NewCatalog(c.tree, Settings{PublicURL: "https://loa.example", Custom: all}); err == nil || !strings.Contains(err.Error(), "feed ") {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

func TestSubtreeFollowsTheTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 2}})
	feed := sample.BenSong + "--all"
	mine, others := many(t, sample.BenSong, 4), many(t, ward, 4)
	for i, a := range mine {
		a.Title = fmt.Sprintf("Của quận %d", i)
	}
	w.level(feed, append(slices.Clone(mine), others...)...)
	if !strings.Contains(w.archived(feed), others[0].GUID) {
		t.Fatal("nothing is archived of a ward")
	}

	// The ward leaves the district.
	var sites []site.Site
	for _, one := range w.catalog.tree.All() {
		if one.ID == ward {
			one.Parent = sample.City
		}
		sites = append(sites, one)
	}
	tree, err := site.New(sites)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := NewCatalog(tree, w.catalog.settings)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.anew(moved); !slices.Equal(got, []string{feed}) {
		t.Errorf("outdated are %q", got)
	}
	w.mustShow(feed, mine[3], mine[2])
	if got := w.archived(feed); strings.Contains(got, others[0].GUID) || !strings.Contains(got, mine[0].GUID) || !strings.Contains(got, mine[1].GUID) {
		t.Error("archives do not follow the tree")
	}
}

// archived is all archives of a feed, one after the other.
func (w *world) archived(feed string) string {
	w.t.Helper()
	var all strings.Builder
	for o, err := range w.objects.List(w.t.Context(), Feed{ID: feed}.object(archivePrefix)) {
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := w.objects.Get(w.t.Context(), o.Key, 64<<20)
		if err != nil {
			w.t.Fatal(err)
		}
		all.Write(body.Body)
	}
	return all.String()
}
