package feeds

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// succeeded is the sample's city in which sites are succeeded by others from a day on.
func succeeded(t testing.TB, day time.Time, by map[string][]string) *Catalog {
	t.Helper()
	var sites []site.Site
	for _, one := range city(t, Settings{}).tree.All() {
		if one.Successors = by[one.ID]; one.Successors != nil {
			one.Succeeded = day
		}
		sites = append(sites, one)
	}
	tree, err := site.New(sites)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCatalog(tree, Settings{PublicURL: "https://loa.example"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHeirShowsWhatTheSitePublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	day := sample.Base.Add(24 * time.Hour)
	old, own := many(t, ward, 2), many(t, sample.ChoMoi, 1)[0]
	own.Title = "Của Chợ Mới"
	old[0].Tags, own.Tags = []string{"cu"}, nil
	c := succeeded(t, day, map[string][]string{ward: {sample.ChoMoi}})
	now := day.Add(-time.Second)
	c.now = func() time.Time { return now }
	w.anew(c)
	w.level(ward, old...)
	w.level(sample.ChoMoi, own)
	w.mustShow(sample.ChoMoi, own)
	if got := c.Concerned(old[0]); slices.Contains(got, sample.ChoMoi) || c.Successors(ward) != nil {
		t.Errorf("the day before it concerns %q, and %q go on", got, c.Successors(ward))
	}

	now = day
	if got := w.anew(c); !slices.Contains(got, ward) || !slices.Contains(got, sample.ChoMoi) {
		t.Errorf("outdated are %q", got)
	}
	shown := w.shows(sample.ChoMoi)
	for _, a := range append(slices.Clone(old), own) {
		if !slices.Contains(shown, a.Title) {
			t.Errorf("the heir does not show %q", a.Title)
		}
	}
	w.mustShow(ward, newestFirst(old)...) // for who reads it from the bucket
	for i, format := range formats {
		was, is := parse(t, w.object(ward, i).Body), parse(t, w.object(sample.ChoMoi, i).Body)
		if want := "Lưu trữ: ngừng đăng từ ngày " + day.In(zone).Format("02/01/2006") + ", tiếp nối là Phường Chợ Mới. "; !strings.HasPrefix(was.Description, want) {
			t.Errorf("%s says %q", format.name, was.Description)
		}
		for _, item := range is.Items {
			for _, a := range old {
				if item.Title == a.Title && item.GUID != a.GUID {
					t.Errorf("%s: %q has the identifier %s, had %s", format.name, a.Title, item.GUID, a.GUID)
				}
			}
		}
		if body := string(w.object(sample.ChoMoi, i).Body); !strings.Contains(body, "Phường Cầu Gỗ") || i == formatJSON && !strings.Contains(body, `"site":"`+ward+`","publisher":"Phường Cầu Gỗ"`) {
			t.Errorf("%s: no word of where an article is from", format.name)
		}
	}
	var doc struct{ Expired bool }
	if err := json.Unmarshal(w.object(ward, formatJSON).Body, &doc); err != nil || !doc.Expired {
		t.Errorf("JSON Feed does not say that it has ended: %v", err)
	}

	// A tag that the heir itself never had comes to have a feed.
	lack, err := NewIndexes(w.js, c).Lacking(t.Context())
	if tag := sample.ChoMoi + "--tag--cu"; err != nil || !lack.Has(c, tag) || !slices.Contains(c.Concerned(old[0]), tag) {
		t.Errorf("feeds lack %+v, error %v", lack, err)
	}
	if err := NewIndexes(w.js, c).Filled(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lack, err := NewIndexes(w.js, c).Lacking(t.Context()); err != nil || len(lack.Heirs) > 0 {
		t.Errorf("feeds lack again %+v, error %v", lack, err)
	}
	// Withdrawals still reach both.
	gone := withdrawn(old[1])
	w.level(ward, gone)
	w.level(sample.ChoMoi, gone)
	for _, feed := range []string{ward, sample.ChoMoi} {
		if !slices.Contains(c.Concerned(gone), feed) || strings.Contains(string(w.object(feed, formatRSS).Body), "<p>"+old[1].Body) {
			t.Errorf("%s does not learn of a withdrawal", feed)
		}
	}
}

// Readers who are led from one feed to another had learnt of the first what it is that was withdrawn last.
func TestHeirTellsOfWithdrawalsBeforeItsDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	day := time.Now()
	all, own := many(t, ward, 4), many(t, sample.ChoMoi, 1)[0]
	own.Tags = nil
	all[0].Tags, all[1].Tags = []string{"cu"}, []string{"cu"}
	for _, a := range all {
		a.Ever.Tags = a.Tags
	}
	c := succeeded(t, day, map[string][]string{ward: {sample.ChoMoi}})
	now := day.Add(-time.Second)
	c.now = func() time.Time { return now }
	w.anew(c)
	w.level(ward, all...)
	w.level(sample.ChoMoi, own)
	old := withdrawn(all[3])
	old.Accepted = day.Add(-c.settings.WithdrawnFor)
	never := withdrawn(all[3])
	never.ID, never.URL, never.GUID = "chua-tung", "", "urn:uuid:d9a3a1f4-6a0a-4a5b-9a39-0f6f4be34b4f"
	gone := withdrawn(all[1])
	w.level(ward, gone, old, never)

	now = day
	w.anew(c)
	tag := sample.ChoMoi + "--tag--cu" // which had no index
	if err := w.Reconcile(t.Context(), tag, w.behind(tag)); err != nil {
		t.Fatal(err)
	}
	for _, feed := range []string{sample.ChoMoi, tag, sample.ChoMoi + "--all"} {
		if err := w.Reconcile(t.Context(), feed, w.behind(feed)); err != nil {
			t.Fatal(err)
		}
		if got := w.tombstonesOf(feed); len(got) != 1 || got[0].Ref != gone.GUID {
			t.Errorf("%s has the tombstones %+v, want that of %s", feed, got, gone.GUID)
		}
		if got := w.shows(feed); !slices.Contains(got, "Đã gỡ: "+gone.Title) {
			t.Errorf("%s shows %q", feed, got)
		}
		if flags := w.behind(feed); len(flags) > 0 {
			t.Errorf("%s still misses %v", feed, flags)
		}
	}
}

func TestSplitSiteHasNoHeir(t *testing.T) {
	c := succeeded(t, sample.Base, map[string][]string{ward: {sample.ChoMoi, sample.BenSong}})
	a := many(t, ward, 1)[0]
	for _, feed := range c.Concerned(a) {
		if strings.HasPrefix(feed, sample.ChoMoi) {
			t.Errorf("an article of the site concerns %s", feed)
		}
	}
	if got := c.Successors(ward + "--in--y-te"); !slices.Equal(got, []string{sample.ChoMoi + "--in--y-te", sample.BenSong + "--in--y-te"}) {
		t.Errorf("%q go on", got)
	}
	if got := c.Successors(ward); got != nil {
		t.Errorf("%q go on, of which each goes on with a part", got)
	}
	f, _ := c.Parse(ward)
	if got := c.ended(f); !strings.Contains(got, "tiếp nối là Phường Chợ Mới, Quận Bến Sông.") {
		t.Errorf("the feed says %q", got)
	}
}

func TestHeirsOfHeirsShowAll(t *testing.T) {
	c := succeeded(t, sample.Base, map[string][]string{ward: {sample.ChoMoi}, sample.ChoMoi: {sample.BenSong}})
	a := &article.Article{Site: ward, ID: "x", Status: events.StatusLive}
	for _, id := range []string{ward, sample.ChoMoi, sample.BenSong, sample.BenSong + "--all", sample.City + "--all"} {
		f, _ := c.Parse(id)
		if !slices.Contains(c.Concerned(a), id) || !c.Matches(f, a) || !slices.Contains(c.sitesOf(f), ward) {
			t.Errorf("%s does not show it", id)
		}
	}
	if f, _ := c.Parse(sample.City); c.Matches(f, a) || streams.KeyOf(a.Site, a.ID) == "" {
		t.Error("the city's own feed shows it")
	}
}
