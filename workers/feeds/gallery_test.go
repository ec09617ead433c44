package feeds

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
)

// withGallery is the article with so many more pictures in its gallery.
func withGallery(a *article.Article, names ...string) *article.Article {
	b := *a
	b.Images = slices.Clone(a.Images)
	for _, name := range names {
		folder := "loa-media:media/" + strings.Repeat(name, 64)
		b.Images = append(b.Images, article.Image{
			Image:    events.Image{Role: events.RoleGallery, Alt: "Ảnh " + name, Caption: "Lễ hội <" + name + "> & rước đèn", Credit: "Trần Bình"},
			SHA256:   strings.Repeat(name, 64),
			Original: events.Rendition{URL: folder + "/original.jpg", MediaType: "image/jpeg", Width: 4000, Height: 3000, Size: 2_000_000},
			Renditions: []events.Rendition{
				{URL: folder + "/w320.jpg", MediaType: "image/jpeg", Width: 320, Height: 240, Size: 24_000},
				{URL: folder + "/w1280.jpg", MediaType: "image/jpeg", Width: 1280, Height: 960, Size: 250_000},
				{URL: folder + "/w1280.webp", MediaType: "image/webp", Width: 1280, Height: 960, Size: 180_000},
			},
		})
	}
	b.Ever.Gallery = true
	return &b
}

const gallery = ward + separator + ofGallery

func TestGalleryShowsPicturesNewestFirst(t *testing.T) {
	c := city(t, Settings{})
	all := many(t, ward, 3)
	old, none, late := withGallery(all[0], "a", "b", "a"), all[1], withGallery(all[2], "a")
	if concerned := c.Concerned(old); !slices.Contains(concerned, gallery) {
		t.Errorf("an article with a gallery concerns %v", concerned)
	}
	if concerned := c.Concerned(none); slices.Contains(concerned, gallery) {
		t.Errorf("an article without a gallery concerns %v", concerned)
	}
	docs, _ := rendered(t, c, gallery, []*article.Article{old, none, late})
	ids := map[string]bool{}
	for format, doc := range docs {
		wellFormed(t, format, doc)
		f := parse(t, doc)
		if len(f.Items) != 3 {
			t.Fatalf("%s shows %d pictures\n%s", formats[format].label, len(f.Items), doc)
		}
		for i, want := range []struct{ name, link string }{{"a", late.URL}, {"a", old.URL}, {"b", old.URL}} {
			item := f.Items[i]
			ids[item.GUID] = true
			if item.Link != want.link || item.Title != "Lễ hội <"+want.name+"> & rước đèn" ||
				!strings.Contains(item.Content, "media/"+strings.Repeat(want.name, 64)+"/w1280.jpg") ||
				!strings.Contains(item.Content, `href="`+want.link+`"`) || !strings.Contains(item.Content, "Trần Bình") {
				t.Errorf("%s, picture %d: %s %s %s %q", formats[format].label, i, item.GUID, item.Link, item.Title, item.Content)
			}
		}
	}
	items := parse(t, docs[formatAtom]).Items
	if first, second := items[1], items[2]; !second.UpdatedParsed.Before(*first.UpdatedParsed) || !second.PublishedParsed.Before(*first.PublishedParsed) {
		t.Errorf("an article's pictures are of the times %s, %s; readers sort by them", first.Updated, second.Updated)
	}
	if len(ids) != 3 {
		t.Errorf("the pictures are known by %d identifiers: %v", len(ids), ids)
	}
	rss := string(docs[formatRSS])
	for _, want := range []string{`medium="image" fileSize="250000" width="1280" height="960"`, "<media:credit>Trần Bình</media:credit>", `/w320.jpg" width="320"`} {
		if !strings.Contains(rss, want) {
			t.Errorf("no %s in\n%s", want, rss)
		}
	}
	var feed struct {
		Items []struct {
			Image       string
			Attachments []struct {
				MIME string `json:"mime_type"`
				Size int64  `json:"size_in_bytes"`
			}
		}
	}
	if err := json.Unmarshal(docs[formatJSON], &feed); err != nil || !strings.HasSuffix(feed.Items[0].Image, "/w1280.jpg") ||
		len(feed.Items[0].Attachments) != 1 || feed.Items[0].Attachments[0].Size != 250_000 {
		t.Errorf("JSON Feed: %+v, %v", feed, err)
	}
}

func TestGalleryFollowsItsArticles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 2)
	one, two := withGallery(all[0], "a", "b"), withGallery(all[1], "c")
	w.level(gallery, one, two)
	w.level(ward, one, two) // whose entries are others
	shows := func(want ...string) {
		t.Helper()
		var titles []string
		for _, name := range want {
			titles = append(titles, "Lễ hội <"+name+"> & rước đèn")
		}
		if got := w.shows(gallery); !slices.Equal(got, titles) {
			t.Errorf("shows %q, want %q", got, titles)
		}
	}
	shows("c", "a", "b")
	w.mustShow(ward, two, one)

	fewer := changed(one, one.Title)
	fewer.Images = fewer.Images[:len(fewer.Images)-1]
	w.level(gallery, fewer)
	shows("c", "a")
	none := changed(fewer, one.Title)
	none.Images = nil
	if !slices.Contains(w.catalog.Concerned(none), gallery) {
		t.Error("the gallery does not learn that the article left it")
	}
	w.level(gallery, none)
	shows("c")
}

// Readers know each picture by itself, and are to be rid of each.
func TestWithdrawnArticlesPicturesLeaveTheGallery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 2)
	one, other := withGallery(all[0], "a", "b"), withGallery(all[1], "c")
	w.level(gallery, one, other)
	before := parse(t, w.object(gallery, formatAtom).Body).Items
	w.level(gallery, withdrawn(one))
	tombs := w.tombstonesOf(gallery)
	if len(tombs) != 2 {
		t.Fatalf("tombstones %+v", tombs)
	}
	for i, format := range formats {
		doc := w.object(gallery, i).Body
		wellFormed(t, i, doc)
		items := parse(t, doc).Items
		if len(items) != 3 || items[0].GUID != before[0].GUID {
			t.Fatalf("%s shows %d entries, the first of them %s", format.name, len(items), items[0].GUID)
		}
		for n, stub := range items[1:] {
			was := before[1+n]
			if stub.GUID != was.GUID || stub.Title != "Đã gỡ: "+one.Title || stub.Image != nil || !stub.UpdatedParsed.After(*was.UpdatedParsed) || tombs[n].Ref != was.GUID {
				t.Errorf("%s: %s is %+v, its tombstone %+v", format.name, was.GUID, stub, tombs[n])
			}
		}
		if bytes.Contains(doc, []byte(strings.Repeat("a", 64))) || bytes.Contains(doc, []byte(strings.Repeat("b", 64))) {
			t.Errorf("%s has a picture that was withdrawn", format.name)
		}
	}
	again := changed(one, one.Title)
	again.Number += 2
	w.level(gallery, again)
	if got, tombs := w.shows(gallery), w.tombstonesOf(gallery); len(got) != 3 || len(tombs) > 0 {
		t.Errorf("published again: shows %q, tombstones %+v", got, tombs)
	}
}
