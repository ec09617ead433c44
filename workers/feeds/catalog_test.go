package feeds

import (
	"slices"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
)

func TestArticleConcernsItsSitesFeedsAndAllAbove(t *testing.T) {
	a := many(t, ward, 1)[0]
	a.Categories = []events.Category{{ID: "y-te", Label: "Y tế"}, {ID: "Tin tức"}}
	a.Tags = []string{"cap-nuoc"}
	a.Authors = []events.Author{{Name: "Lan"}}
	a.Urgency = 4
	a.Ever = article.Selections{Categories: []string{"thong-bao", "y-te"}, Tags: []string{"le-hoi"}, Authors: []string{"Minh"}, Urgency: 3}
	want := []string{
		ward, ward + "--all", ward + "--by--Lan", ward + "--by--Minh", ward + "--in--" + events.Token("Tin tức"), ward + "--in--thong-bao", ward + "--in--y-te",
		ward + "--tag--cap-nuoc", ward + "--tag--le-hoi", ward + "--urgency--3", ward + "--urgency--4",
		sample.BenSong + "--all", sample.City + "--all",
	}
	c := city(t, Settings{})
	if got := c.Concerned(a); !slices.Equal(got, want) {
		t.Errorf("concerned are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, id := range want {
		if f, ok := c.Parse(id); !ok || f.ID != id {
			t.Errorf("%s is not a feed: %+v", id, f)
		}
	}
	a.Site = "la"
	if got := c.Concerned(a); got != nil {
		t.Errorf("an article of an unknown site concerns %q", got)
	}
}

func TestFeedIDs(t *testing.T) {
	c := city(t, Settings{})
	for id, want := range map[string]Feed{
		ward:                  {ward, ward, OfSite, ""},
		ward + "--all":        {ward + "--all", ward, OfSubtree, ""},
		ward + "--gallery":    {ward + "--gallery", ward, OfGallery, ""},
		ward + "--in--all":    {ward + "--in--all", ward, OfCategory, "all"},
		ward + "--in----x":    {ward + "--in----x", ward, OfCategory, "--x"},
		ward + "--tag--x":     {ward + "--tag--x", ward, OfTag, "x"},
		ward + "--by--x":      {ward + "--by--x", ward, OfAuthor, "x"},
		ward + "--urgency--1": {ward + "--urgency--1", ward, OfUrgency, "1"},
		ward + "--urgency--4": {ward + "--urgency--4", ward, OfUrgency, "4"},
		ward + "--in--in--":   {ward + "--in--in--", ward, OfCategory, "in--"},
	} {
		if got, ok := c.Parse(id); !ok || got != want {
			t.Errorf("%s is %+v", id, got)
		}
	}
	for _, id := range []string{"", "--all", "la", ward + "-", ward + "--", ward + "--in--", ward + "--in--a.b", ward + "--ALL",
		ward + "--tag--", ward + "--by--", ward + "--urgency--0", ward + "--urgency--5", ward + "--urgency--11", ward + "--urgency--",
		ward + "--in--" + strings.Repeat("x", 65), ward + "--in--../x", strings.ToUpper(ward)} {
		if got, ok := c.Parse(id); ok {
			t.Errorf("%q is %+v", id, got)
		}
	}
}

func TestFeedTitles(t *testing.T) {
	c := city(t, Settings{})
	for id, want := range map[string]string{
		ward:                     "Phường Cầu Gỗ",
		ward + "--in--y-te":      "Phường Cầu Gỗ – Y tế",
		ward + "--gallery":       "Phường Cầu Gỗ – Thư viện ảnh",
		sample.BenSong + "--all": "Quận Bến Sông và các đơn vị trực thuộc",
	} {
		f, _ := c.Parse(id)
		if got := c.Title(f, f.label(&article.Article{Categories: []events.Category{{ID: "y-te", Label: "Y tế\u202e"}}})); got != want {
			t.Errorf("%s is titled %q, want %q", id, got, want)
		}
	}
	f, _ := c.Parse(ward + "--in--y-te")
	if got := c.Title(f, ""); got != "Phường Cầu Gỗ – y-te" {
		t.Errorf("a category without a label: %q", got)
	}
}

func TestCatalogRefusesWhatCannotBeAFeed(t *testing.T) {
	for _, id := range []string{"a--b", "A", "-a", "a-", "a.b", "phường", strings.Repeat("a", 65)} {
		tree, err := site.New([]site.Site{{ID: id, Name: "X"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewCatalog(tree, Settings{PublicURL: "https://loa.example"}); err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("site %q: error %v", id, err)
		}
	}
	tree, _ := site.New(nil)
	for what, s := range map[string]Settings{
		"no address":       {},
		"relative address": {PublicURL: "/loa"},
		"another scheme":   {PublicURL: "ftp://loa.example"},
		"query":            {PublicURL: "https://loa.example?x=1"},
		"media":            {PublicURL: "https://loa.example", MediaURL: "media"},
		"hub":              {PublicURL: "https://loa.example", Hubs: []string{"hub"}},
		"page":             {PublicURL: "https://loa.example", Shape: Shape{Page: 501}},
		"page of a kind":   {PublicURL: "https://loa.example", Kinds: map[Kind]Shape{OfGallery: {Page: -1}}},
		"content":          {PublicURL: "https://loa.example", Shape: Shape{Content: "half"}},
		"content at home":  {PublicURL: "https://loa.example", Sites: map[string]Shape{ward: {Content: "half"}}},
		"ttl":              {PublicURL: "https://loa.example", TTL: 1},
	} {
		if _, err := NewCatalog(tree, s); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
