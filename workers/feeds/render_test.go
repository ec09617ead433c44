package feeds

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rendered is the feed of the articles in every format, as a worker with nothing in memory
// renders it.
func rendered(t testing.TB, c *Catalog, feed string, articles []*article.Article) ([formatCount][]byte, *held) {
	t.Helper()
	f, ok := c.Parse(feed)
	if !ok {
		t.Fatalf("no feed %s", feed)
	}
	h := &held{}
	h.Revision = 7
	bySeq := map[uint64]*article.Article{}
	var changes []change
	for i, a := range articles {
		seq := uint64(i + 1)
		bySeq[seq] = a
		changes = append(changes, c.change(f, streams.Entry{Article: a, Key: streams.KeyOf(a.Site, a.ID), Seq: seq}))
	}
	h.apply(changes)
	h.trim(c.Page(f) + reserve)
	h.Updated = h.accepted
	var items []*item
	for _, r := range h.page(c.Page(f)) {
		it, err := c.item(c.look(f), bySeq[r.Seq], r.Seq)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	docs, err := c.render(f, &h.index, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	return docs, h
}

func rich(t testing.TB) *Catalog {
	return city(t, Settings{
		MediaURL: "https://media.loa.example/", Hubs: []string{"https://hub.example/"}, Image: "https://loa.example/logo.png",
	})
}

func TestFormatsAsTheyWere(t *testing.T) {
	docs, _ := rendered(t, rich(t), sample.BenSong+"--all", samples(t))
	for i, format := range formats {
		name := filepath.Join("testdata", format.name)
		if *update {
			if err := os.WriteFile(name, docs[i], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(docs[i], want) {
			t.Errorf("%s is not as it was; see with -update and git diff what changed", format.name)
		}
	}
}

func TestRenderingIsTheSameEverywhere(t *testing.T) {
	first, _ := rendered(t, rich(t), sample.City+"--all", samples(t))
	for range 5 {
		again, _ := rendered(t, rich(t), sample.City+"--all", samples(t))
		if !reflect.DeepEqual(first, again) {
			t.Fatal("the same state rendered differently")
		}
	}
}

// linked are attachments that are not stored.
func linked(all ...events.Attachment) (attachments []article.Attachment) {
	for _, at := range all {
		attachments = append(attachments, article.Attachment{Attachment: at})
	}
	return attachments
}

func TestAStoredAttachmentIsTheEnclosure(t *testing.T) {
	a := samples(t)[0]
	if a.Lead() == nil {
		t.Fatal("no lead image")
	}
	const source = "https://anhoa.example/quyet-dinh.pdf"
	stored := article.Attachment{Attachment: events.Attachment{URL: "loa-media:media/" + strings.Repeat("a", 64) + "/file.pdf",
		Title: "Quyết định", MediaType: "application/pdf", Size: 182_044}, Source: source, SHA256: strings.Repeat("a", 64)}
	refused := article.Attachment{Attachment: events.Attachment{URL: "https://anhoa.example/refused.pdf"}, Refused: true}
	bucket := article.Attachment{Attachment: events.Attachment{URL: "s3://kho/cho.pdf"}, Pending: true}
	sound := article.Attachment{Attachment: events.Attachment{URL: "https://anhoa.example/phat-thanh.mp3", MediaType: "audio/mpeg"}}
	a.Attachments = []article.Attachment{refused, bucket, stored, sound}
	docs, _ := rendered(t, city(t, Settings{}), a.Site, []*article.Article{a})
	for i, f := range formats {
		format := f.name
		doc := string(docs[i])
		url := "/media/" + strings.Repeat("a", 64) + "/file.pdf"
		for _, want := range []string{url, "182044", "application/pdf", "Quyết định"} {
			if !strings.Contains(doc, want) {
				t.Errorf("%s: no %s", format, want)
			}
		}
		for _, bad := range []string{"refused.pdf", "s3://", source} {
			if strings.Contains(doc, bad) {
				t.Errorf("%s: offers %s", format, bad)
			}
		}
		if i == formatRSS && !regexp.MustCompile(`<enclosure url="[^"]*`+url+`" length="182044" type="application/pdf"`).MatchString(doc) {
			t.Errorf("RSS: another enclosure: %s", regexp.MustCompile(`<enclosure.*`).FindString(doc))
		}
		if i == formatRSS && !strings.Contains(doc, `type="audio/mpeg" medium="audio"`) {
			t.Error("RSS: no sound")
		}
	}
}

// TestReadersSeeTheSameInEveryFormat reads each format back as feed readers do.
func TestReadersSeeTheSameInEveryFormat(t *testing.T) {
	c := rich(t)
	articles := samples(t)
	articles[0].Attachments = linked(events.Attachment{URL: "https://anhoa.example/a b.pdf", Title: "Quyết định", MediaType: "application/pdf", Size: 3 << 30})
	articles[1].Images = nil
	articles[1].Attachments = linked(events.Attachment{URL: "https://anhoa.example/x.pdf"},
		events.Attachment{URL: "https://anhoa.example/y.pdf", MediaType: "application/pdf", Size: 12_345})
	articles[2].Source = &events.Source{Name: "Báo An Hòa", URL: "https://bao.example/tin/1"}
	byGUID := map[string]*article.Article{}
	for _, a := range articles {
		byGUID[a.GUID] = a
	}
	docs, h := rendered(t, c, sample.City+"--all", articles)
	for i, format := range formats {
		f := parse(t, docs[i])
		if got, want := f.FeedLink, "https://loa.example/feeds/"+sample.City+"--all/"+format.name; got != want {
			t.Errorf("%s: self is %s, want %s", format.name, got, want)
		}
		if f.Title != "Cổng thông tin điện tử TP. An Hòa và các đơn vị trực thuộc" || f.Language != "vi" || f.Link != "https://anhoa.example/" {
			t.Errorf("%s: title %q, language %q, link %q", format.name, f.Title, f.Language, f.Link)
		}
		if i != formatJSON && (f.UpdatedParsed == nil || !f.UpdatedParsed.Equal(h.Updated)) {
			t.Errorf("%s: updated %v, want %v", format.name, f.UpdatedParsed, h.Updated)
		}
		if i != formatAtom && (f.Image == nil || f.Image.URL != c.settings.Image) {
			t.Errorf("%s: image %v", format.name, f.Image)
		}
		if !bytes.Contains(docs[i], []byte(`"https://hub.example/"`)) {
			t.Errorf("%s names no hub", format.name)
		}
		if len(f.Items) != len(articles) {
			t.Fatalf("%s: %d entries of %d", format.name, len(f.Items), len(articles))
		}
		for n, item := range f.Items {
			a := byGUID[item.GUID]
			if a == nil || h.Refs[n].GUID != item.GUID {
				t.Errorf("%s: entry %d has id %q", format.name, n, item.GUID)
				continue
			}
			sameItem(t, format.name, i, item, a.WithMedia(c.settings.MediaURL))
		}
	}
}

func sameItem(t *testing.T, where string, format int, item *gofeed.Item, a *article.Article) {
	t.Helper()
	if item.Title != a.Title || item.Link != a.URL {
		t.Errorf("%s: %q at %s, want %q at %s", where, item.Title, item.Link, a.Title, a.URL)
	}
	if !item.PublishedParsed.Equal(a.Published) || !item.UpdatedParsed.Equal(a.Updated) {
		t.Errorf("%s: %s: published %s, updated %s; want %s, %s", where, a.ID, item.Published, item.Updated, a.Published, a.Updated)
	}
	if !strings.HasSuffix(strings.ReplaceAll(item.Published, ":", ""), "+0700") {
		t.Errorf("%s: %s: offset of %q", where, a.ID, item.Published)
	}
	if item.Description != plainHTML.Replace(a.Summary) && item.Description != a.Summary {
		t.Errorf("%s: %s: summary %q, want %q", where, a.ID, item.Description, a.Summary)
	}
	if !strings.HasSuffix(item.Content, a.Body) {
		t.Errorf("%s: %s: content %q, want %q", where, a.ID, item.Content, a.Body)
	}
	if note := `<p class="correction"><strong>Đính chính:</strong> `; (a.Correction != "") != strings.HasPrefix(item.Content, note) {
		t.Errorf("%s: %s: correction %q, content %.200q", where, a.ID, a.Correction, item.Content)
	}

	var authors, wantAuthors []string
	for _, p := range item.Authors {
		authors = append(authors, p.Name)
	}
	if format == formatRSS { // gofeed takes the first for the author; all of them are there
		authors = item.DublinCoreExt.Creator
	}
	for _, p := range a.Authors {
		wantAuthors = append(wantAuthors, p.Name)
	}
	if !slices.Equal(authors, wantAuthors) {
		t.Errorf("%s: %s: authors %q, want %q", where, a.ID, authors, wantAuthors)
	}
	var labels []string
	for _, l := range append(slices.Clone(a.Categories), tagsOf(a)...) {
		if !slices.Contains(labels, categoryLabel(l)) {
			labels = append(labels, categoryLabel(l))
		}
	}
	if !slices.Equal(item.Categories, labels) {
		t.Errorf("%s: %s: categories %q, want %q", where, a.ID, item.Categories, labels)
	}

	switch lead := a.Lead(); {
	case lead != nil:
		wide := lead.Renditions[2]
		if format != formatAtom && (item.Image == nil || item.Image.URL != wide.URL) {
			t.Errorf("%s: %s: image %v, want %s", where, a.ID, item.Image, wide.URL)
		}
		if len(item.Enclosures) == 0 || item.Enclosures[0].URL != wide.URL || item.Enclosures[0].Type != "image/jpeg" ||
			item.Enclosures[0].Length != strconv.FormatInt(wide.Size, 10) {
			t.Errorf("%s: %s: enclosures %v, want %s first", where, a.ID, item.Enclosures, wide.URL)
		}
	case len(a.Attachments) == 2:
		n := 2 // Atom and JSON have both, in their order of use; RSS the one whose size is known
		if format == formatRSS {
			n = 1
		}
		if len(item.Enclosures) != n || item.Enclosures[0].URL != a.Attachments[1].URL || item.Enclosures[0].Length != "12345" {
			t.Errorf("%s: %s: enclosures %v", where, a.ID, item.Enclosures)
		}
	}
}

func tagsOf(a *article.Article) (tags []events.Category) {
	for _, t := range a.Tags {
		tags = append(tags, events.Category{ID: t})
	}
	return tags
}

func TestArticleWithoutAuthorIsItsSites(t *testing.T) {
	a := many(t, ward, 1)[0]
	a.Authors = nil
	docs, _ := rendered(t, city(t, Settings{}), sample.City+"--all", []*article.Article{a})
	for i, format := range formats {
		if got := parse(t, docs[i]).Items[0].Authors[0].Name; got != "Phường Cầu Gỗ" {
			t.Errorf("%s: author %q", format.name, got)
		}
	}
}

func TestLatePictureMakesTheEntryNewer(t *testing.T) {
	a := many(t, ward, 1)[0]
	a.Revision = 1
	a.Accepted = a.Updated.Add(time.Hour)
	docs, _ := rendered(t, city(t, Settings{}), ward, []*article.Article{a})
	for i, format := range formats {
		if got := parse(t, docs[i]).Items[0]; !got.UpdatedParsed.Equal(a.Accepted) || !got.PublishedParsed.Equal(a.Published) {
			t.Errorf("%s: published %s, updated %s", format.name, got.Published, got.Updated)
		}
	}
}

func TestOldestEntriesOfALargeFeedAreSummaries(t *testing.T) {
	all := many(t, ward, 12)
	for _, a := range all {
		a.Body = strings.Repeat("<p>Một đoạn dài.</p>", 200<<10/20)
	}
	docs, _ := rendered(t, city(t, Settings{}), ward, all)
	full := -1
	for i, format := range formats {
		n := 0
		for at, item := range parse(t, docs[i]).Items {
			switch {
			case len(item.Content) > 100<<10 && n == at:
				n++
			case item.Content != "<p>"+all[11-at].Summary+"</p>":
				t.Errorf("%s: entry %d: content %.100q", format.name, at, item.Content)
			}
		}
		if len(docs[i]) > 3<<20 || n < 3 || full >= 0 && n != full {
			t.Errorf("%s: %d bytes, %d full entries, another format %d", format.name, len(docs[i]), n, full)
		}
		full = n
	}
}

func TestFeedOfSummariesHasNoFullContent(t *testing.T) {
	a := many(t, ward, 1)[0]
	docs, _ := rendered(t, city(t, Settings{Shape: Shape{Content: Summary}}), ward, []*article.Article{a})
	for i, format := range formats {
		if got := parse(t, docs[i]).Items[0].Content; got != "<p>"+a.Summary+"</p>" {
			t.Errorf("%s: content %q", format.name, got)
		}
	}
}

func TestFeedsHaveTheShapeThatIsNearestToThem(t *testing.T) {
	c := city(t, Settings{
		Shape: Shape{Page: 30}, Kinds: map[Kind]Shape{OfSubtree: {Page: 100, Content: Summary}}, Sites: map[string]Shape{sample.BenSong: {Page: 70}},
	})
	for id, want := range map[string]Shape{
		ward:                     {30, Full},
		sample.City + "--all":    {100, Summary},
		sample.BenSong:           {70, Full},
		sample.BenSong + "--all": {70, Summary},
	} {
		f, _ := c.Parse(id)
		if got := c.shape(f); got != want {
			t.Errorf("%s shows %+v, want %+v", id, got, want)
		}
	}
	plain := city(t, Settings{Shape: Shape{Page: 30}})
	for _, id := range []string{ward, sample.BenSong, sample.City + "--all"} {
		f, _ := c.Parse(id)
		if same := c.form(f) == plain.form(f); same != (id == ward) {
			t.Errorf("%s: form as before is %t", id, same)
		}
	}
}

// TestHostileArticleIsNeutralised holds what intake would never let through, but an older
// version of it may have.
func TestHostileArticleIsNeutralised(t *testing.T) {
	if testing.Short() {
		t.Skip("renders megabytes")
	}
	a := many(t, ward, 1)[0]
	huge := strings.Repeat("Đ", 1<<20)
	a.Title = "]]><script>alert(1)</script> \u202egnol\u2066 \x0b\x00\ufffe\xff " + huge
	a.Summary = "]]>\x0b<script>alert(2)</script> & \u202e" + huge
	a.Body = "<p>Trước \x0b\x1f\ufffe\xff]]>\u202esau</p>" + "<p>]]&gt;</p>"
	a.URL = "javascript:alert(3)"
	a.GUID = ""
	a.Language = "vi\x00\"><x>"
	a.Authors = []events.Author{{Name: "\u202e<b>A</b>]]>", URL: "data:text/html,x"}}
	a.Categories = []events.Category{{ID: "a/../b\x00", Label: "\u202e"}}
	a.Tags = slices.Repeat([]string{"<i>\x01"}, 1000)
	a.Correction = "<script>\x02"
	a.Published = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	a.Updated = time.Time{}
	a.Attachments = linked(events.Attachment{URL: "jav\tascript:alert(4)"}, events.Attachment{URL: "//x/y"},
		events.Attachment{URL: "https://anhoa.example/\x00.pdf", MediaType: "a\x0b<", Size: -1})
	docs, _ := rendered(t, city(t, Settings{}), ward, []*article.Article{a})
	for i, format := range formats {
		wellFormed(t, i, docs[i])
		if len(docs[i]) > 64<<10 {
			t.Errorf("%s has %d bytes", format.name, len(docs[i]))
		}
		item := parse(t, docs[i]).Items[0]
		if want := article.Text(a.Title, maxTitle); item.Title != want || !strings.HasPrefix(want, "]]><script>") {
			t.Errorf("%s: title %q, want %q", format.name, item.Title, want)
		}
		if strings.Contains(item.Content, "<script") {
			t.Errorf("%s: content %q", format.name, item.Content)
		}
		if i == formatRSS && strings.Contains(item.Description, "<") {
			t.Errorf("%s: description %.100q holds markup", format.name, item.Description)
		}
		if item.GUID != article.NewGUID(a.Site, a.ID) || item.Link != "" || !item.PublishedParsed.Equal(a.Accepted) {
			t.Errorf("%s: id %s, link %s, published %s", format.name, item.GUID, item.Link, item.Published)
		}
		if bytes.Contains(docs[i], []byte("javascript:")) || bytes.Contains(docs[i], []byte("data:text")) {
			t.Errorf("%s holds an address that runs", format.name)
		}
	}
}

// wellFormed reads the whole document as strictly as its format wants.
func wellFormed(t *testing.T, format int, doc []byte) {
	t.Helper()
	if !utf8.Valid(doc) {
		t.Fatalf("%s is not UTF-8", formats[format].name)
	}
	if format == formatJSON {
		if !json.Valid(doc) {
			t.Fatalf("not JSON: %.500s", doc)
		}
		return
	}
	for _, r := range string(doc) {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF || r >= 0x202A && r <= 0x202E {
			t.Fatalf("%s holds %U", formats[format].name, r)
		}
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", formats[format].name, err)
		}
	}
}

func FuzzWhateverTheLogHoldsReadsBack(f *testing.F) {
	f.Add("Lịch tiếp công dân", "<p>Xin chào</p>", "Bà Lê Thu Hà", "thong-bao", "https://anhoa.example/tin", "vi")
	f.Add("]]><script>\x00\ufffe\xff", "<p>a]]>b\x0b</p>", "\u202eA\u2066", "a.b.>", "jav&#x09;ascript:alert(1)", "vi\x00")
	f.Add(strings.Repeat("ệ", 5000), strings.Repeat("]", 3000)+">", " ", "*", "//host/../x", "en-GB")
	f.Add("&amp;&#0;&lt;", "\r\n\t\v\f\u2028", "--><!--", "]]>", "https://a.example/ x?q=<>\"'&", "i-klingon")
	f.Add("e\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a", "<![CDATA[x]]>", "\u200d", "\u0085", "/tin/1", "")
	f.Add("\xed\xa0\x80 nửa cặp", "<img src=\"/a.jpg\">\xed\xb0\x80", "\ufeff", "\ue000", "https://[::1", "x")
	f.Add("Tin", "<p>Nội dung</p>", "Ban biên tập", "\u0085", "/tin/1", "vi")
	f.Add("\u0309", "<p>Nội dung</p>", "\u200d", "thong-bao", "/tin/1", "")
	f.Add("0@0", "<p>Nội dung</p>", "@an biên tập (Bến Sông)", "\u0085", "/tin/1", "it")
	noAddress := strings.NewReplacer("@", "", "(", "", ")", "") // gofeed takes these for an email address's
	c := rich(f)
	base := withGallery(many(f, ward, 1)[0], "a")
	f.Fuzz(func(t *testing.T, title, body, author, category, link, language string) {
		a := *base
		a.Title, a.Body, a.Summary, a.Correction, a.URL, a.Language = title, body, title, author, link, language
		a.Authors = []events.Author{{Name: noAddress.Replace(author), URL: link}}
		a.Categories = []events.Category{{ID: category, Label: author}}
		a.Tags = []string{title}
		a.Places = []events.Place{{Name: category}}
		a.Rights = &events.Rights{Copyright: author, UsageTerms: title}
		a.Source = &events.Source{Name: author, URL: link}
		a.Images = slices.Clone(a.Images)
		a.Images[len(a.Images)-1].Caption, a.Images[len(a.Images)-1].Credit = title, noAddress.Replace(author)
		a.Attachments = linked(events.Attachment{URL: link, Title: title, MediaType: category, Size: int64(len(body))})
		for _, feed := range []string{ward, gallery} {
			docs, _ := rendered(t, c, feed, []*article.Article{&a})
			var first []*gofeed.Item // as RSS has them
			for i, format := range formats {
				wellFormed(t, i, docs[i])
				got := parse(t, docs[i])
				if i == formatRSS {
					first = got.Items
				}
				if i != formatJSON {
					root := tree(t, docs[i])
					root.check(root.name, func(form string, args ...any) {
						if what := fmt.Sprintf(form, args...); address(link) != "" || !strings.Contains(what, "0 elements link") {
							t.Errorf("%s as %s: %s", feed, format.label, what)
						}
					})
				}
				for n, item := range got.Items {
					if f, want := faceOf(i, item), faceOf(formatRSS, first[n]); !reflect.DeepEqual(f, want) {
						t.Errorf("%s as %s: %+v, RSS %+v", feed, format.label, f, want)
					}
				}
				if feed == ward {
					readsBack(t, c, format.name, got.Items[0], &a)
				}
			}
		}
	})
}

// readsBack compares what gofeed reads with what went in.
func readsBack(t *testing.T, c *Catalog, where string, item *gofeed.Item, a *article.Article) {
	t.Helper()
	if want := c.entry(a); item.GUID != a.GUID || item.Title != want.title || item.Link != want.url {
		t.Errorf("%s: %s %q %q, want %s %q %q", where, item.GUID, item.Title, item.Link, a.GUID, want.title, want.url)
	}
	if text := article.Text(a.Title, maxTitle); text != "" && item.Title != text {
		t.Errorf("%s: title %q, want %q", where, item.Title, text)
	}
	if text := article.Text(a.Authors[0].Name, maxName); text != "" && item.Authors[0].Name != text {
		t.Errorf("%s: author %q, want %q", where, item.Authors[0].Name, text)
	}
	if content := article.Chars(a.Body); content != "" && !strings.HasSuffix(strings.TrimSpace(item.Content), strings.TrimSpace(content)) {
		t.Errorf("%s: content %q, want %q", where, item.Content, content)
	}
}
