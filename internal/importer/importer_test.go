package importer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/importer"
)

func items(list ...importer.Item) func(func(importer.Item, error) bool) {
	return func(yield func(importer.Item, error) bool) {
		for _, item := range list {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func item(id, title string) importer.Item {
	return importer.Item{Where: id, Article: events.Article{Site: ward, ID: id, URL: "https://caugo.example.vn/" + id, Title: title, Body: "<p>Nội dung</p>", Published: now.Add(-time.Hour)}}
}

func TestRepeatedRunsChangeNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	const source = "https://caugo.example.vn/rss"
	run := func(want string, list ...importer.Item) outcome {
		t.Helper()
		out := b.run(source, items(list...))
		if out.err != nil || out.counts != want {
			t.Fatalf("%s, %v; want %s", out.counts, out.err, want)
		}
		return out
	}
	a, c := item("a", "Lịch cắt nước"), item("c", "Họp tổ dân phố")
	undated := item("khong-ngay", "Thông báo")
	undated.Article.Published = time.Time{}

	dry := b.run(source, items(a, c), func(o *importer.Options) { o.DryRun = true })
	if dry.counts != "2 imported" {
		t.Errorf("dry run: %s", dry.counts)
	}
	dated := func(o *importer.Options) { o.Dated = true }
	if out := b.run(source, items(undated), dated); out.counts != "1 set aside" || !strings.Contains(out.results["khong-ngay"].Reason, "no time") {
		t.Errorf("dated ones alone: %s %+v", out.counts, out.results)
	}
	run("3 imported", a, c, undated)
	run("3 unchanged", a, c, undated)
	if out := b.run(source, items(undated), dated); out.counts != "1 unchanged" {
		t.Errorf("of what is there, the time is known: %s", out.counts)
	}

	moved := a
	later := now.Add(-time.Minute)
	moved.Article.Published, moved.Article.Updated = later, &later
	run("1 unchanged", moved) // many portals write the time of the request

	changed := a
	changed.Article.Title = "Lịch cắt nước, có sửa đổi"
	run("1 updated, 1 unchanged", changed, c)
	if e := b.last("a"); e.Version() != 2 || e.Article.Title != changed.Article.Title || e.Source != source {
		t.Errorf("%+v", e)
	}
	run("1 updated", a) // back to what it was: that is a third version
	if out := run("1 unchanged", a); out.results["a"].Version != 3 {
		t.Errorf("%+v", out.results["a"])
	}

	gone := importer.Item{Article: events.Article{Site: ward, ID: "c"}, Gone: &importer.Gone{}}
	unknown := importer.Item{Article: events.Article{Site: ward, ID: "chua-tung-co"}, Gone: &importer.Gone{}}
	run("1 withdrawn", gone, unknown)
	run("", gone)
	if e := b.last("c"); e.Version() != 2 || e.Withdrawal == nil || e.Withdrawal.Reason == "" {
		t.Errorf("%+v", e)
	}
	run("1 updated", c) // its source has it again
}

func TestWhatLoaHasDecides(t *testing.T) {
	t.Parallel()
	b := open(t)
	put := func(id string, version int64, status string, digests ...string) {
		t.Helper()
		_, err := b.log.Put(t.Context(), &article.Article{Site: ward, ID: id, Title: "x", Status: status, Version: article.Version{Number: version}, Digests: digests, Published: now.Add(-time.Hour), Updated: now.Add(-time.Hour)}, 0)
		if err != nil {
			t.Fatal(err)
		}
	}
	same := item("nhu-cu", "Như cũ")
	same.Article.Version = 7
	put("nhu-cu", 7, events.StatusLive, events.NewPublished("/cms", same.Article).Digest)
	put("khac", 7, events.StatusLive, "digest")
	put("da-go", 7, events.StatusWithdrawn, "digest")
	out := b.run("https://x.example/", items(same, item("khac", "Khác"), item("da-go", "Đã gỡ")))
	if out.counts != "1 updated, 1 unchanged, 1 kept withdrawn" || out.results["khac"].Version != 8 {
		t.Errorf("%s, %+v", out.counts, out.results["khac"])
	}
	out = b.run("https://x.example/", items(item("da-go", "Đã gỡ")), func(o *importer.Options) { o.Restore = true })
	if out.counts != "1 updated" || b.last("da-go").Version() != 8 {
		t.Errorf("restored: %s", out.counts)
	}
}

func TestWhatCannotBeImportedIsSetAside(t *testing.T) {
	t.Parallel()
	b := open(t)
	future := item("tuong-lai", "Tương lai")
	future.Article.Published = now.AddDate(0, 2, 0)
	huge := item("to", "To")
	huge.Article.Body = strings.Repeat("x", 1_000_001)
	bad := item("hong", "Hỏng")
	bad.Problem = "it has no address"
	out := b.run("https://x.example/", items(future, huge, bad, item("tot", "Tốt")))
	if out.err != nil || out.counts != "1 imported, 3 set aside" {
		t.Fatalf("%s, %v", out.counts, out.err)
	}
	for id, want := range map[string]string{"tuong-lai": "in the future", "to": "/data/body", "hong": "no address"} {
		if got := out.results[id].Reason; !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	out = b.run("https://x.example/", items(item("1", "Một"), item("2", "Hai"), item("3", "Ba")), func(o *importer.Options) { o.Limit = 2 })
	if out.counts != "2 imported" {
		t.Errorf("limit of 2: %s", out.counts)
	}
}

func TestCategoriesHaveIDs(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{"Thông báo": "thong-bao", "Đời sống & Xã hội": "doi-song-xa-hoi", "  Y tế  ": "y-te", "TIN TỨC": "tin-tuc", "新闻": importer.Slug("新闻")} {
		got := importer.Slug(label)
		if got != want || got == "" || len(got) > 64 || strings.ContainsFunc(got, func(r rune) bool { return !slices.Contains([]rune("abcdefghijklmnopqrstuvwxyz0123456789-"), r) }) {
			t.Errorf("%s: %s, want %s", label, got, want)
		}
	}
	if got := importer.Slug(strings.Repeat("dài ", 100)); len(got) > 64 {
		t.Error(fmt.Sprint(len(got), " characters"))
	}
}
