package portal_test

import (
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/site"
)

// sites is a city with two districts, one of which has a ward.
func sites(t testing.TB) *site.Tree {
	t.Helper()
	tree, err := site.New([]site.Site{
		{ID: "city", Name: "Thành phố"}, {ID: "east", Name: "Quận Đông", Parent: "city"},
		{ID: "west", Name: "Quận Tây", Parent: "city"}, {ID: "ward", Name: "Phường Bến Đò", Parent: "east"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestFilterSelects(t *testing.T) {
	t.Parallel()
	published := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	a := &article.Article{
		Site: "ward", Urgency: 3, Published: published, Tags: []string{"cấp nước"}, Categories: []events.Category{{ID: "thong-bao"}, {ID: "do-thi"}},
		Ever: article.Selections{Categories: []string{"thong-bao", "van-hoa"}, Tags: []string{"cấp nước", "lễ hội"}, Urgency: 2},
	}
	for name, c := range map[string]struct {
		filter    portal.Filter
		now, ever bool
	}{
		"nothing asked":                {portal.Filter{}, true, true},
		"the site itself":              {portal.Filter{Sites: []string{"ward"}}, true, true},
		"the site's ancestor":          {portal.Filter{Sites: []string{"west", "city"}}, true, true},
		"another branch":               {portal.Filter{Sites: []string{"west"}}, false, false},
		"one of its categories":        {portal.Filter{Categories: []string{"y-te", "do-thi"}}, true, false},
		"a former category":            {portal.Filter{Categories: []string{"van-hoa"}}, false, true},
		"a tag":                        {portal.Filter{Tags: []string{"cấp nước"}}, true, true},
		"a former tag":                 {portal.Filter{Tags: []string{"lễ hội"}}, false, true},
		"another tag":                  {portal.Filter{Tags: []string{"giao thông"}}, false, false},
		"as urgent":                    {portal.Filter{Urgency: 3}, true, true},
		"more urgent than it is":       {portal.Filter{Urgency: 2}, false, true},
		"more urgent than it ever was": {portal.Filter{Urgency: 1}, false, false},
		"published at the time":        {portal.Filter{Since: published}, true, true},
		"published before the time":    {portal.Filter{Since: published.Add(time.Second)}, false, true}, // it may have had another
		"all criteria":                 {portal.Filter{Sites: []string{"city"}, Categories: []string{"thong-bao"}, Tags: []string{"cấp nước"}, Urgency: 4}, true, true},
		"all criteria but one":         {portal.Filter{Sites: []string{"city"}, Categories: []string{"thong-bao"}, Tags: []string{"giao thông"}}, false, false},
	} {
		if got := c.filter.Matches(a, sites(t)); got != c.now {
			t.Errorf("%s: matches %v", name, got)
		}
		if got := c.filter.MatchedEver(a, sites(t)); got != c.ever {
			t.Errorf("%s: matched ever %v", name, got)
		}
	}
}

func TestFilterKnowsASiteThatLeftTheTreeByItsId(t *testing.T) {
	t.Parallel()
	a := &article.Article{Site: "merged"}
	if !(portal.Filter{Sites: []string{"merged"}}).Matches(a, sites(t)) {
		t.Error("not selected by its own site")
	}
	if (portal.Filter{Sites: []string{"city"}}).Matches(a, sites(t)) {
		t.Error("selected by a site it is not under")
	}
}
