package feeds

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/mail"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/sample"
)

// variety is feeds of everything that an entry can have, or lack.
func variety(t testing.TB) map[string][formatCount][]byte {
	all := samples(t)
	all[0].Attachments = []article.Attachment{
		{Attachment: events.Attachment{URL: "https://anhoa.example/phat-thanh.mp3", MediaType: "audio/mpeg"}},
		{Attachment: events.Attachment{URL: "loa-media:media/x/file.pdf", Title: "Quyết định", MediaType: "application/pdf", Size: 182_044}, SHA256: strings.Repeat("a", 64)},
		{Attachment: events.Attachment{URL: "https://anhoa.example/la.bin", MediaType: "no type"}},
	}
	all[1].Rights = &events.Rights{Copyright: "© An Hòa <2026>", UsageTerms: "Ghi rõ nguồn"}
	all[2].Source = &events.Source{Name: "Báo An Hòa", URL: "https://bao.example/tin"}
	all[3].Source = &events.Source{Name: "Bản in"}
	all[4].Title, all[4].Summary = "Một < hai & ba > hai", "]]> & <b>"
	all[5].Authors, all[5].Tags, all[5].Categories = nil, nil, nil
	all[6].Language = "không phải ngôn ngữ"
	c := rich(t)
	docs := map[string][formatCount][]byte{}
	show := func(feed string, articles ...*article.Article) { docs[feed], _ = rendered(t, c, feed, articles) }
	show(sample.City+"--all", all...)
	show(gallery, withGallery(many(t, ward, 1)[0], "a", "b"))
	a := many(t, ward, 1)[0]
	show(ward+"--urgency--4", func() *article.Article { b := *a; b.Urgency = 2; return &b }())
	show(ward) // none
	return docs
}

// face is what a reader makes of an entry, whatever the format.
type face struct {
	id, link, title, published, updated, image, enclosure string
	authors, tags                                         []string
}

func faceOf(format int, item *gofeed.Item) face {
	f := face{id: item.GUID, link: item.Link, title: item.Title, tags: item.Categories}
	f.published = item.PublishedParsed.UTC().Format(time.RFC3339)
	f.updated = item.UpdatedParsed.UTC().Format(time.RFC3339)
	for _, author := range item.Authors {
		f.authors = append(f.authors, author.Name)
	}
	if len(item.Enclosures) > 0 && item.Enclosures[0].Length != "" && item.Enclosures[0].Length != "0" {
		f.enclosure = fmt.Sprint(*item.Enclosures[0])
	}
	switch format {
	case formatRSS:
		f.authors = item.DublinCoreExt.Creator // gofeed takes the first for the author
		fallthrough
	case formatAtom: // of which gofeed knows no picture
		for _, m := range item.Extensions["media"]["content"] {
			if m.Attrs["medium"] == "image" {
				f.image = m.Attrs["url"]
				break
			}
		}
	case formatJSON:
		if item.Image != nil {
			f.image = item.Image.URL
		}
	}
	return f
}

func TestReadersOfEveryFormatMakeTheSameOfAnEntry(t *testing.T) {
	for feed, docs := range variety(t) {
		var first *gofeed.Feed
		for i, format := range formats {
			got := parse(t, docs[i])
			if i == 0 {
				first = got
				continue
			}
			if len(got.Items) != len(first.Items) || got.Title != first.Title || got.Language != first.Language || got.Description != first.Description {
				t.Errorf("%s as %s: %q, %q, %d entries; RSS has %q, %q, %d", feed, format.label, got.Title, got.Language, len(got.Items), first.Title, first.Language, len(first.Items))
				continue
			}
			for n := range got.Items {
				if want, f := faceOf(formatRSS, first.Items[n]), faceOf(i, got.Items[n]); !reflect.DeepEqual(f, want) {
					t.Errorf("%s, entry %d: %s has\n%+v, RSS\n%+v", feed, n, format.label, f, want)
				}
			}
		}
	}
}

// element is an XML element, with its name spaces' usual prefixes in its names.
type element struct {
	name string
	attr map[string]string
	text string
	in   []*element
}

var prefixes = map[string]string{
	nsAtom: "atom", nsContent: "content", nsDC: "dc", nsTerms: "dcterms", nsMedia: "media", nsTombstones: "at",
	"http://www.w3.org/XML/1998/namespace": "xml", "": "",
}

func tree(t *testing.T, doc []byte) *element {
	t.Helper()
	name := func(n xml.Name) string {
		prefix, ok := prefixes[n.Space]
		if !ok {
			prefix = n.Space
		}
		return strings.TrimPrefix(prefix+":"+n.Local, ":")
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	root := &element{}
	open := []*element{root}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return root.in[0]
		}
		if err != nil {
			t.Fatal(err)
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			el := &element{name: name(token.Name), attr: map[string]string{}}
			for _, a := range token.Attr {
				el.attr[name(a.Name)] = a.Value
			}
			top.in = append(top.in, el)
			open = append(open, el)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text += string(token)
		}
	}
}

// rules are what the validators of W3C and of the RSS Advisory Board say about an element.
type rules struct {
	need, once, many []string // elements in it
	attr             []string
	value            func(string) bool
	attrs            map[string]func(string) bool
}

func filled(s string) bool { return strings.TrimSpace(s) != "" }
func absolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "") && !strings.ContainsAny(s, " <>\"\n")
}
func positive(s string) bool { n, err := strconv.Atoi(s); return err == nil && n > 0 }
func rfc3339(s string) bool  { _, err := time.Parse(time.RFC3339, s); return err == nil }
func rfc822(s string) bool {
	_, err := mail.ParseDate(s)
	_, long := time.Parse(time.RFC1123Z, s)
	return err == nil && long == nil
}
func oneOf(all ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(all, s) }
}

var (
	textual  = rules{value: filled}
	address_ = rules{value: absolute}
	date     = rules{value: rfc3339}
	language = rules{value: portal.IsLanguage}

	validRules = map[string]rules{
		"rss":                       {need: []string{"channel"}, attr: []string{"version"}, attrs: map[string]func(string) bool{"version": oneOf("2.0")}},
		"rss/channel":               {need: []string{"title", "link", "description", "language", "ttl", "lastBuildDate", "generator", "image"}, many: []string{"item", "atom:link"}},
		"rss/channel/image":         {need: []string{"url", "title", "link"}},
		"rss/channel/image/url":     address_,
		"rss/channel/image/link":    address_,
		"rss/channel/link":          address_,
		"rss/channel/language":      language,
		"rss/channel/ttl":           {value: positive},
		"rss/channel/lastBuildDate": {value: rfc822},
		"rss/channel/item": {
			need: []string{"title", "link", "description", "guid", "pubDate", "content:encoded", "dcterms:created", "dcterms:modified", "dcterms:publisher", "dc:language", "atom:updated"},
			once: []string{"enclosure", "dc:rights", "dcterms:rights", "dcterms:accessRights", "dc:source", "media:thumbnail"},
			many: []string{"dc:creator", "dcterms:creator", "category", "dcterms:spatial", "media:content"}},
		"rss/channel/item/link":             address_,
		"rss/channel/item/pubDate":          {value: rfc822},
		"rss/channel/item/guid":             {value: absolute, attr: []string{"isPermaLink"}, attrs: map[string]func(string) bool{"isPermaLink": oneOf("false")}},
		"rss/channel/item/description":      {value: func(s string) bool { return !strings.Contains(s, "<") }},
		"rss/channel/item/enclosure":        {attr: []string{"url", "length", "type"}, attrs: map[string]func(string) bool{"url": absolute, "length": positive, "type": mediaType.MatchString}, value: func(string) bool { return true }},
		"rss/channel/item/category":         {attr: []string{"?domain"}, value: filled},
		"rss/channel/item/dc:language":      language,
		"rss/channel/item/atom:updated":     date,
		"rss/channel/item/dcterms:created":  date,
		"rss/channel/item/dcterms:modified": date,

		"atom:feed": {
			need: []string{"atom:id", "atom:title", "atom:updated", "atom:author", "atom:icon", "atom:subtitle", "atom:generator"},
			many: []string{"atom:link", "atom:entry"}, attr: []string{"xml:lang"}},
		"atom:feed/atom:id":                         address_,
		"atom:feed/atom:icon":                       address_,
		"atom:feed/atom:updated":                    date,
		"atom:feed/atom:author":                     {need: []string{"atom:name"}, once: []string{"atom:uri"}},
		"atom:feed/atom:author/atom:uri":            address_,
		"atom:feed/atom:entry":                      {need: []string{"atom:id", "atom:title", "atom:updated", "atom:published", "atom:content", "dcterms:publisher"}, once: []string{"atom:summary", "atom:rights", "media:thumbnail"}, many: []string{"atom:author", "atom:category", "atom:link", "media:content"}, attr: []string{"xml:lang"}, attrs: map[string]func(string) bool{"xml:lang": portal.IsLanguage}},
		"atom:feed/atom:entry/atom:id":              address_,
		"atom:feed/atom:entry/atom:updated":         date,
		"atom:feed/atom:entry/atom:published":       date,
		"atom:feed/atom:entry/atom:author":          {need: []string{"atom:name"}, once: []string{"atom:uri"}},
		"atom:feed/atom:entry/atom:author/atom:uri": address_,
		"atom:feed/atom:entry/atom:content":         {attr: []string{"type"}, attrs: map[string]func(string) bool{"type": oneOf("html")}, value: filled},
		"atom:feed/atom:entry/atom:summary":         {attr: []string{"type"}, attrs: map[string]func(string) bool{"type": oneOf("text")}, value: filled},
		"atom:feed/atom:entry/atom:category":        {attr: []string{"term", "?scheme", "label"}, attrs: map[string]func(string) bool{"term": filled, "label": filled, "scheme": absolute}, value: func(string) bool { return true }},
	}
	linkRules  = rules{attr: []string{"href", "rel", "?type", "?title", "?length"}, attrs: map[string]func(string) bool{"href": absolute, "rel": oneOf("self", "hub", "alternate", "enclosure", "via", "related"), "type": mediaType.MatchString, "title": filled, "length": positive}, value: func(s string) bool { return s == "" }}
	mediaRules = rules{once: []string{"media:title", "media:description", "media:credit"}, attr: []string{"url", "?type", "medium", "?fileSize", "?width", "?height"}, attrs: map[string]func(string) bool{"url": absolute, "type": mediaType.MatchString, "medium": oneOf("image", "audio", "video", "document"), "fileSize": positive, "width": positive, "height": positive}}
	thumbRules = rules{attr: []string{"url", "?width", "?height"}, attrs: mediaRules.attrs, value: func(s string) bool { return s == "" }}
)

// check says what is wrong with an element and all in it.
func (el *element) check(path string, fault func(format string, args ...any)) {
	r, known := validRules[path]
	switch el.name {
	case "atom:link":
		r, known = linkRules, true
	case "media:content":
		r, known = mediaRules, true
	case "media:thumbnail":
		r, known = thumbRules, true
	}
	if !known {
		r = textual
	}
	count := map[string]int{}
	for _, in := range el.in {
		count[in.name]++
		if !slices.Contains(slices.Concat(r.need, r.once, r.many), in.name) {
			fault("%s: %s has no place there", path, in.name)
		}
		in.check(path+"/"+in.name, fault)
	}
	for _, name := range r.need {
		if count[name] != 1 {
			fault("%s: %d elements %s, expected one", path, count[name], name)
		}
	}
	for _, name := range r.once {
		if count[name] > 1 {
			fault("%s: %d elements %s, expected one at most", path, count[name], name)
		}
	}
	for name, value := range el.attr {
		if strings.HasPrefix(name, "xmlns") || name == "xml:lang" {
			continue
		}
		if !slices.Contains(r.attr, name) && !slices.Contains(r.attr, "?"+name) {
			fault("%s: attribute %s", path, name)
		}
		if check := r.attrs[name]; check != nil && !check(value) {
			fault("%s: attribute %s is %q", path, name, value)
		}
	}
	for _, name := range r.attr {
		if _, ok := el.attr[name]; !ok && name[0] != '?' {
			fault("%s: no attribute %s", path, name)
		}
	}
	if r.value != nil && !r.value(el.text) {
		fault("%s is %q", path, el.text)
	}
}

func (el *element) all(name string) (found []*element) {
	for _, in := range el.in {
		if in.name == name {
			found = append(found, in)
		}
	}
	return found
}

// TestFeedsKeepTheValidatorsRules has the rules by which the W3C feed validator finds errors and
// gives warnings, as far as they are about what Loa renders.
func TestFeedsKeepTheValidatorsRules(t *testing.T) {
	for feed, docs := range variety(t) {
		for format, doc := range [][]byte{formatRSS: docs[formatRSS], formatAtom: docs[formatAtom]} {
			root := tree(t, doc)
			fault := func(form string, args ...any) {
				t.Errorf("%s as %s: %s", feed, formats[format].label, fmt.Sprintf(form, args...))
			}
			root.check(root.name, fault)
			of, entries, id := root, root.all("atom:entry"), "atom:id"
			if format == formatRSS {
				of, id = root.in[0], "guid"
				entries = of.all("item")
				if of.all("title")[0].text != of.all("image")[0].all("title")[0].text || of.all("link")[0].text != of.all("image")[0].all("link")[0].text {
					fault("the picture has another title or link than the channel")
				}
			}
			rels := map[string][]string{}
			for _, link := range of.all("atom:link") {
				rels[link.attr["rel"]] = append(rels[link.attr["rel"]], link.attr["href"])
			}
			if want := "https://loa.example/feeds/" + feed + "/" + formats[format].name; !slices.Equal(rels["self"], []string{want}) || !slices.Equal(rels["hub"], []string{"https://hub.example/"}) {
				fault("links to itself and its hub: %v", rels)
			}
			ids := map[string]bool{}
			for _, e := range entries {
				if one := e.all(id)[0].text; ids[one] {
					fault("id %s is there twice", one)
				} else {
					ids[one] = true
				}
			}
		}
	}
}

// TestJSONFeedsKeepTheRules has what JSON Feed 1.1 says of its members: which there are, which are
// required, and of which form.
func TestJSONFeedsKeepTheRules(t *testing.T) {
	type author struct{ Name, URL string }
	type rule struct {
		Extension *struct {
			Site, Publisher string
			Version         string
			Revision        uint64
		} `json:"_loa"`
		Version, Title, Language, Description, Icon string
		HomePage                                    string `json:"home_page_url"`
		FeedURL                                     string `json:"feed_url"`
		Authors                                     []author
		Hubs                                        []struct{ Type, URL string }
		Items                                       []struct {
			ID, URL, Title, Summary, Image, Language string
			External                                 string    `json:"external_url"`
			Content                                  string    `json:"content_html"`
			Published                                time.Time `json:"date_published"`
			Modified                                 time.Time `json:"date_modified"`
			Authors                                  []author
			Tags                                     []string
			Attachments                              []struct {
				URL, Title string
				Type       string         `json:"mime_type"`
				Size       int64          `json:"size_in_bytes"`
				Extension  map[string]any `json:"_loa"`
			}
			Extension map[string]any `json:"_loa"`
		}
	}
	for feed, docs := range variety(t) {
		d := json.NewDecoder(bytes.NewReader(docs[formatJSON]))
		d.DisallowUnknownFields()
		var doc rule
		if err := d.Decode(&doc); err != nil {
			t.Errorf("%s: %v", feed, err)
			continue
		}
		address := "https://loa.example/feeds/" + feed + "/feed.json"
		if doc.Version != "https://jsonfeed.org/version/1.1" || doc.Title == "" || doc.FeedURL != address || !absolute(doc.HomePage) || !absolute(doc.Icon) ||
			!portal.IsLanguage(doc.Language) || len(doc.Hubs) != 1 || doc.Hubs[0].Type != "WebSub" || !absolute(doc.Hubs[0].URL) || len(doc.Authors) != 1 || doc.Items == nil {
			t.Errorf("%s: %.600s", feed, docs[formatJSON])
		}
		for _, item := range doc.Items {
			if !absolute(item.ID) || !absolute(item.URL) || item.Title == "" || item.Content == "" || item.Published.IsZero() || item.Modified.Before(item.Published) ||
				item.External != "" && !absolute(item.External) || item.Image != "" && !absolute(item.Image) || !portal.IsLanguage(item.Language) ||
				len(item.Authors) == 0 || item.Authors[0].Name == "" || slices.Contains(item.Tags, "") || item.Extension["site"] == "" || item.Extension["publisher"] == "" {
				t.Errorf("%s: item %+v", feed, item)
			}
			for _, a := range item.Attachments {
				if !absolute(a.URL) || !mediaType.MatchString(a.Type) || a.Size < 0 {
					t.Errorf("%s: item %s: attachment %+v", feed, item.ID, a)
				}
			}
		}
	}
}
