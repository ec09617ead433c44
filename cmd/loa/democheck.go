package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	_ "image/jpeg" // the formats in which pictures are stored
	_ "image/png"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/deepteams/webp"
	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/feeds"
)

// check reads back everything that came out, as its readers do, and gives what is wrong.
func (d *demo) check(ctx context.Context) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	d.printf("Reading everything back:\n")
	said := d.said()
	log := map[streams.Key]streams.Entry{}
	for a, err := range d.app.articles.Walk(ctx, "*", 0) {
		if err != nil {
			return []error{err}
		}
		log[a.Key] = a
	}
	if len(log) != len(said) {
		fault("the log has %d articles, %d were published", len(log), len(said))
	}
	for key, want := range said {
		if got := log[key]; got.Article == nil || got.Number != want.version || got.Live() != want.live {
			fault("article %s: the log has %+v, the CMS said version %d, live %v", key, got.Article, want.version, want.live)
			continue
		}
		faults = append(faults, d.checkCopy(ctx, log[key])...)
	}
	d.printf("  %d articles in the log and in the object store\n", len(log))

	files := 0
	for _, a := range log {
		n, found := d.checkImages(ctx, a)
		files += n
		faults = append(faults, found...)
	}
	d.printf("  %d picture files decoded\n", files)

	list, err := d.app.feeds.List(ctx)
	if err != nil {
		return append(faults, err)
	}
	documents := 0
	for _, f := range list {
		documents += len(feedFormats)
		faults = append(faults, d.checkFeed(ctx, f.ID, log)...)
	}
	d.printf("  %d feed documents parsed\n", documents)

	held := 0
	for _, p := range d.portals {
		n, found := d.checkPortal(p, log)
		held += n
		faults = append(faults, found...)
	}
	d.printf("  %d bulletins at the portals\n", held)
	if b, err := measureBacklog(ctx, d.app.backbone.js); err != nil || b.Dead > 0 || !b.level() {
		fault("not level: %+v, %v", b, err)
	}
	return faults
}

// state is what the CMS said last of an article.
type state struct {
	version int64
	live    bool
}

func (d *demo) said() map[streams.Key]state {
	said := map[streams.Key]state{}
	for _, a := range append(sample.Articles(d.cmsBase), sample.Updated(d.cmsBase), sample.Corrected(d.cmsBase)) {
		said[streams.KeyOf(a.Site, a.ID)] = state{a.Version, true}
	}
	w := sample.Withdrawn()
	said[streams.KeyOf(w.Site, w.ID)] = state{w.Version, false}
	return said
}

// checkCopy compares the object store's copy of an article with the log's.
func (d *demo) checkCopy(ctx context.Context, a streams.Entry) []error {
	want, err := a.Encode()
	if err != nil {
		return []error{err}
	}
	got, err := d.app.backbone.store.Get(ctx, a.Key.Object(), streams.MaxMessage)
	if err != nil {
		return []error{err}
	}
	if !bytes.Equal(got.Body, want) {
		return []error{fmt.Errorf("article %s: the copy in the object store differs from the log", a.Key)}
	}
	return nil
}

// checkImages fetches and decodes every file of an article's pictures.
func (d *demo) checkImages(ctx context.Context, a streams.Entry) (files int, faults []error) {
	resolved := a.WithMedia(d.app.cfg.MediaURL)
	for _, img := range resolved.Images {
		if !img.Stored() {
			faults = append(faults, fmt.Errorf("article %s: picture %s is missing: %s", a.Key, name(img.Image), img.Fault))
			continue
		}
		for _, r := range append([]events.Rendition{img.Original}, img.Renditions...) {
			files++
			if err := checkImage(ctx, r); err != nil {
				faults = append(faults, fmt.Errorf("article %s: %w", a.Key, err))
			}
		}
	}
	if strings.Contains(resolved.Body, article.MediaScheme) {
		faults = append(faults, fmt.Errorf("article %s: an address of a picture was not resolved", a.Key))
	}
	return files, faults
}

func name(img events.Image) string { return cmp.Or(img.URL, "cid:"+img.ContentID) }

func checkImage(ctx context.Context, r events.Rendition) error {
	body, err := fetch(ctx, r.URL)
	if err != nil {
		return err
	}
	decode := func(r io.Reader) (image.Image, error) { img, _, err := image.Decode(r); return img, err }
	if r.MediaType == "image/webp" {
		decode = webp.Decode
	}
	img, err := decode(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("decode %s: %w", r.URL, err)
	}
	size := img.Bounds().Size()
	upright := size == image.Pt(r.Width, r.Height) || size == image.Pt(r.Height, r.Width) && strings.Contains(r.URL, "original")
	if !upright || int64(len(body)) != r.Size {
		return fmt.Errorf("%s is %v and %d bytes, the article says %d × %d and %d", r.URL, size, len(body), r.Width, r.Height, r.Size)
	}
	return nil
}

const (
	// fetchTimeout and fetchMost bound the reading of one document.
	fetchTimeout = 20 * time.Second
	fetchMost    = 64 << 20
)

func fetch(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, fetchMost))
}

var feedFormats = []string{"feed.rss", "feed.atom", "feed.json"}

// checkFeed compares what a feed reader makes of a feed with what the log says it should show.
func (d *demo) checkFeed(ctx context.Context, id string, log map[streams.Key]streams.Entry) (faults []error) {
	want := expectedEntries(d.app.catalog, id, d.app.cfg.Feeds.Page, log)
	gone := map[string]bool{}
	for _, a := range log {
		gone[a.GUID] = !a.Live()
	}
	for _, format := range feedFormats {
		address := strings.TrimSuffix(d.app.cfg.PublicURL, "/") + "/feeds/" + id + "/" + format
		body, err := fetch(ctx, address)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		got, err := gofeed.NewParser().Parse(bytes.NewReader(body))
		if err != nil {
			faults = append(faults, fmt.Errorf("parse %s: %w", address, err))
			continue
		}
		items := withoutStubs(got.Items, gone)
		if len(items) != len(want) {
			faults = append(faults, fmt.Errorf("%s shows %d entries, want %d", address, len(items), len(want)))
			continue
		}
		for i, item := range items {
			if got := (shownEntry{item.Link, item.Title}); got != want[i] {
				faults = append(faults, fmt.Errorf("%s, entry %d: %s %q, want %s %q", address, i+1, got.link, got.title, want[i].link, want[i].title))
			}
		}
	}
	return faults
}

// withoutStubs leaves out the entries that say that an article was withdrawn.
func withoutStubs(items []*gofeed.Item, gone map[string]bool) []*gofeed.Item {
	return slices.DeleteFunc(items, func(i *gofeed.Item) bool { return gone[i.GUID] && strings.HasPrefix(i.Title, "Đã gỡ: ") })
}

// shownEntry is what an entry leads to, and its title.
type shownEntry struct{ link, title string }

// expectedEntries is what a feed is to show, in order: an entry for each of its newest articles, or
// for each of the pictures in their galleries.
func expectedEntries(catalog *feeds.Catalog, id string, page int, log map[streams.Key]streams.Entry) (shown []shownEntry) {
	feed, ok := catalog.Parse(id)
	if !ok {
		return nil
	}
	var want []streams.Entry
	for _, a := range log {
		if catalog.Matches(feed, a.Article) {
			want = append(want, a)
		}
	}
	slices.SortFunc(want, func(a, b streams.Entry) int {
		return cmp.Or(b.Published.Compare(a.Published), cmp.Compare(a.GUID, b.GUID))
	})
	for _, a := range want[:min(len(want), page)] {
		if feed.Kind != feeds.OfGallery {
			shown = append(shown, shownEntry{a.URL, a.Title})
			continue
		}
		for _, img := range a.Images {
			if img.Role == events.RoleGallery && img.Stored() {
				shown = append(shown, shownEntry{a.URL, cmp.Or(img.Caption, img.Alt, a.Title)})
			}
		}
	}
	return shown
}

// checkPortal compares what a portal holds with what its filter selects.
func (d *demo) checkPortal(p *demoPortal, log map[streams.Key]streams.Entry) (int, []error) {
	var faults []error
	conf, ok := d.app.portals.Get(p.name)
	if !ok {
		return 0, []error{fmt.Errorf("portal %s: %w", p.name, portal.ErrNotFound)}
	}
	held := p.receiver.Held()
	byGUID := map[string]events.BulletinArticle{}
	for _, h := range held {
		byGUID[h.Bulletin.Data.GUID] = h.Bulletin.Data
	}
	want := 0
	for _, a := range log {
		if !conf.Filter.MatchedEver(a.Article, d.app.sites) {
			continue
		}
		want++
		got := byGUID[a.GUID]
		if got.Version != a.Number || got.Revision != a.Revision || got.Status != a.Status {
			faults = append(faults, fmt.Errorf("portal %s: article %s is version %s and %s, the portal holds version %d.%d, %q", p.name, a.Key, a.Version, a.Status, got.Version, got.Revision, got.Status))
		}
	}
	if len(held) != want {
		faults = append(faults, fmt.Errorf("portal %s holds %d articles, want %d", p.name, len(held), want))
	}
	if c := p.receiver.Counts(); c.Regressions > 0 {
		faults = append(faults, fmt.Errorf("portal %s was sent %d bulletins older than what it held", p.name, c.Regressions))
	}
	return len(held), faults
}
