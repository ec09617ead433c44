package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/objects"
)

func TestFeedOfASucceededSiteLeadsToTheOneThatGoesOn(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) {
		o.Successors = func(feed string) []string {
			site, rest, _ := strings.Cut(feed, "--")
			if rest != "" {
				rest = "--" + rest
			}
			var all []string
			for _, next := range map[string][]string{"merged": {"between"}, "between": {"heir"}, "split": {"heir", "other"}}[site] {
				all = append(all, next+rest)
			}
			return all
		}
	})
	for _, feed := range []string{"merged", "between", "heir", "other", "split", "split--in--a", "other--in--a", "split--in--b"} {
		for _, ending := range []string{"rss", "atom", "json"} {
			b.put("feeds/"+feed+"/feed."+ending, "document of "+feed, objects.Meta{})
		}
	}
	b.put("feeds/merged/archive/2025-06.atom", "archive of merged", objects.Meta{})
	for path, want := range map[string]string{
		"/feeds/merged/feed.rss":             "/feeds/heir/feed.rss",
		"/feeds/between/feed.json":           "/feeds/heir/feed.json",
		"/feeds/split--in--a/feed.atom":      "/feeds/other--in--a/feed.atom",
		"/feeds/split/feed.rss":              "", // both go on
		"/feeds/split--in--b/feed.rss":       "", // none does
		"/feeds/heir/feed.rss":               "",
		"/feeds/merged/archive/2025-06.atom": "",
	} {
		a := b.get(path)
		if want == "" {
			if a.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", path, a.Status)
			}
			continue
		}
		status := http.StatusMovedPermanently
		if strings.Contains(path, "split") {
			status = http.StatusTemporaryRedirect
		}
		if a.StatusCode != status || a.Header.Get("Location") != strings.TrimSuffix(public, "/")+want {
			t.Errorf("%s: %s to %s", path, a.Status, a.Header.Get("Location"))
		}
		a.want(t, "Cache-Control", "public, max-age=3600")
	}
	if a := b.get("/feeds/unknown/feed.rss"); a.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown feed: %s", a.Status)
	}
}
