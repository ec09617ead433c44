package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"
	ext "github.com/mmcdole/gofeed/extensions"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/dates"
)

const (
	// maxPages bounds how many documents of one feed are followed.
	maxPages = 10_000
	// maxFeed bounds the items of a feed with all its documents, in number: each is remembered by its
	// id, so that it is given once.
	maxFeed = 1_000_000
	// idlePages ends a walk through pages that bring nothing new: a server that ignores the number of
	// the page gives the first one for ever.
	idlePages = 2
)

// Feed is a feed of which the items are imported. It is for one user at a time.
type Feed struct {
	Fetcher *Fetcher
	URL     string
	Site    string
	// Zone is that of times that name none; Asia/Ho_Chi_Minh when nil.
	Zone *time.Location
	// Alone has nothing followed but the document itself.
	Alone bool
	// Until ends the following of older documents when it answers true, which it is asked after each.
	Until func() bool
	// OnPage is told of every document that was read.
	OnPage func(address string, items int)

	// conditions are sent with the first request; what came back is kept below.
	conditions http.Header
	header     http.Header   // of the first document
	unchanged  bool          // it was 304
	ttl        time.Duration // that it asks for
	complete   bool          // it says that what it does not have is not there
	present    []presence    // the items that it had, in its order
}

// Items gives the items, newest documents first, each once. Tombstones come before the items of their
// document: an item that is both is gone.
func (f *Feed) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		f.header, f.unchanged, f.complete, f.present = nil, false, false, nil
		seen, visited := map[string]bool{}, map[string]bool{}
		start, address, conditions := "", f.URL, f.conditions
		wordPress, idle := false, 0
		for page := 1; address != "" && page <= maxPages; page++ {
			visited[address] = true
			resp, err := f.Fetcher.get(ctx, address, conditions)
			var status *StatusError
			if page > 1 && wordPress && errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusGone) {
				return // WordPress's way to say that there are no more pages
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if page == 1 {
				f.header, conditions = resp.header, nil
				if resp.status == http.StatusNotModified {
					f.unchanged = true
					return
				}
			}
			doc, err := parseDocument(resp.body, resp.header.Get("Content-Type"), resp.url)
			if errors.Is(err, errNoFeed) && page == 1 {
				if found := autodiscover(resp.body, resp.url); found != "" && !visited[found] {
					address = found
					continue
				}
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if start == "" {
				start, wordPress, f.ttl, f.complete = resp.url.String(), doc.wordPress, doc.ttl, doc.complete
			}
			if f.OnPage != nil {
				f.OnPage(address, len(doc.feed.Items))
			}
			before := len(seen)
			if !f.give(doc, resp.url, seen, yield) {
				return
			}
			if idle++; len(seen) > before {
				idle = 0
			}
			if len(seen) > maxFeed {
				yield(Item{}, fmt.Errorf("read %s: expected at most %d items", f.URL, maxFeed))
				return
			}
			if f.Alone || doc.complete || f.Until != nil && f.Until() {
				return
			}
			if address = doc.next; address == "" && wordPress && idle == 0 {
				address = paged(start, page+1)
			}
			switch {
			case address == "", idle > idlePages, visited[address]:
				return
			case !sameHost(address, start):
				yield(Item{}, fmt.Errorf("read %s: its older items are said to be at %s, on another host, which is not followed", f.URL, address))
				return
			}
		}
	}
}

// paged is the address of a page of a WordPress feed.
func paged(feed string, page int) string {
	u, err := url.Parse(feed)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("paged", strconv.Itoa(page))
	u.RawQuery = q.Encode()
	return u.String()
}

func sameHost(a, b string) bool {
	x, err := url.Parse(a)
	y, err2 := url.Parse(b)
	return err == nil && err2 == nil && strings.EqualFold(x.Hostname(), y.Hostname())
}

// autodiscover finds the feed that a page names.
func autodiscover(page []byte, base *url.URL) string {
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return ""
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			if t.DataAtom == atom.Body {
				return ""
			}
			if t.DataAtom != atom.Link {
				continue
			}
			attributes := map[string]string{}
			for _, a := range t.Attr {
				attributes[a.Key] = a.Val
			}
			kind, _, _ := strings.Cut(strings.ToLower(attributes["type"]), ";")
			feed := kind == "application/rss+xml" || kind == "application/atom+xml" || kind == "application/feed+json"
			if feed && strings.EqualFold(attributes["rel"], "alternate") && !strings.Contains(attributes["href"], "comments") {
				return resolve(base, attributes["href"])
			}
		}
	}
}

// give yields the items of a document that were not given yet.
func (f *Feed) give(doc *document, base *url.URL, seen map[string]bool, yield func(Item, error) bool) bool {
	for _, t := range doc.gone {
		id := stableID(t.ref)
		if id == "" || seen[id] {
			continue
		}
		seen[id] = true
		gone := t.Gone
		if !yield(Item{Article: events.Article{Site: f.Site, ID: id}, Where: t.ref, Gone: &gone}, nil) {
			return false
		}
	}
	here := map[string]string{} // addresses, by id
	for _, entry := range doc.feed.Items {
		item := f.item(doc.feed, entry, base)
		if id := item.Article.ID; id != "" {
			if address, twice := here[id]; twice && address != item.Article.URL {
				item.Problem = fmt.Sprintf("another item of the feed, at %s, has the same id", address)
			} else if seen[id] {
				continue
			}
			if seen[id] = true; here[id] == "" {
				here[id] = item.Article.URL
			}
			if item.Problem == "" {
				f.present = append(f.present, presence{ID: id, Published: item.Article.Published})
			}
		}
		if !yield(item, nil) {
			return false
		}
	}
	return true
}

// item makes an item of an entry.
func (f *Feed) item(feed *gofeed.Feed, entry *gofeed.Item, base *url.URL) Item {
	link := resolve(base, entry.Link)
	id := stableID(entry.GUID)
	if id == "" {
		id = stableID(link)
	}
	if link == "" {
		if u := resolve(base, entry.GUID); strings.HasPrefix(entry.GUID, "http") {
			link = u
		}
	}
	item := Item{Where: link, Article: events.Article{Site: f.Site, ID: id, URL: link, Title: plain(entry.Title), Body: entry.Content, Language: language(feed.Language)}}
	if item.Where == "" {
		item.Where = fmt.Sprintf("an item of %s called %q", f.URL, article.Text(plain(entry.Title), untitledLength))
	}
	a := &item.Article
	if a.Body == "" {
		a.Body = entry.Description
	} else if s := plain(entry.Description); s != "" && s != plain(a.Body) {
		a.Summary = s
	}
	for _, author := range entry.Authors {
		if author != nil {
			addAuthor(a, author.Name)
		}
	}
	for _, c := range entry.Categories {
		addCategory(a, c)
	}
	if feed.Copyright != "" {
		a.Rights = &events.Rights{Copyright: article.Text(plain(feed.Copyright), maxNote)}
	}
	f.media(a, feed, entry, base)
	switch {
	case id == "":
		item.Problem = "it has neither an id nor an address, so a later run would not know it again"
	case link == "":
		item.Problem = "it has no address"
	default:
		item.Problem = times(a, entry.Published, entry.Updated, f.Zone)
	}
	if item.Problem == "" {
		finish(&item)
	}
	return item
}

// times reads the times of an item, or says why it cannot.
func times(a *events.Article, published, updated string, zone *time.Location) string {
	if zone == nil {
		zone = dates.HoChiMinh
	}
	if strings.TrimSpace(updated) != "" {
		t, err := dates.Parse(updated, zone)
		if err != nil && strings.TrimSpace(published) == "" {
			return err.Error()
		}
		if err == nil {
			a.Updated = &t
		}
	}
	switch t, err := dates.Parse(published, zone); {
	case strings.TrimSpace(published) == "":
		if a.Updated != nil {
			a.Published, a.Updated = *a.Updated, nil
		}
	case err != nil:
		return err.Error()
	default:
		a.Published = t
	}
	return ""
}

// media adds the pictures and files that an entry names beside its text.
func (f *Feed) media(a *events.Article, feed *gofeed.Feed, entry *gofeed.Item, base *url.URL) {
	media := entry.Extensions["media"]
	var contents, thumbnails []ext.Extension
	for _, group := range append([]ext.Extension{{Children: media}}, media["group"]...) {
		contents = append(contents, group.Children["content"]...)
		thumbnails = append(thumbnails, group.Children["thumbnail"]...)
	}
	child := func(e ext.Extension, name string) string {
		if list := e.Children[name]; len(list) > 0 {
			return list[0].Value
		}
		return ""
	}
	for _, c := range contents {
		address := resolve(base, c.Attrs["url"])
		if kind := c.Attrs["type"]; c.Attrs["medium"] == "image" || strings.HasPrefix(kind, "image/") || c.Attrs["medium"] == "" && kind == "" && pictureName(address) {
			addImage(a, events.Image{URL: address, Alt: child(c, "title"), Caption: child(c, "description"), Credit: child(c, "credit")})
		}
	}
	if feed.FeedType == "json" && entry.Image != nil {
		addImage(a, events.Image{URL: resolve(base, entry.Image.URL)})
	}
	for _, e := range entry.Enclosures {
		address := resolve(base, e.URL)
		kind := strings.ToLower(strings.TrimSpace(e.Type))
		if strings.HasPrefix(kind, "image/") || kind == "" && pictureName(address) {
			addImage(a, events.Image{URL: address})
			continue
		}
		if address == "" || len(a.Attachments) == maxFiles {
			continue
		}
		size, err := strconv.ParseInt(strings.TrimSpace(e.Length), 10, 53)
		if err != nil || size < 0 {
			size = 0
		}
		file := events.Attachment{URL: address, Size: size}
		if mediaType.MatchString(kind) {
			file.MediaType = kind
		}
		a.Attachments = append(a.Attachments, file)
	}
	if entry.ITunesExt != nil && len(a.Images) == 0 {
		addImage(a, events.Image{URL: resolve(base, entry.ITunesExt.Image)})
	}
	if len(a.Images) == 0 && len(thumbnails) > 0 { // of several sizes, any is better than none
		addImage(a, events.Image{URL: resolve(base, thumbnails[0].Attrs["url"])})
	}
}
