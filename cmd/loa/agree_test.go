package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// The checks below know what was said, and the contract; they do not ask Loa what ought to be.

// logAgrees checks that the log holds every article at its newest version, and nothing else.
func (c *city) logAgrees(s *session, want map[streams.Key]wanted) {
	c.t.Helper()
	held := map[streams.Key]bool{}
	for e, err := range s.log.Walk(c.t.Context(), "*", 0) {
		if err != nil {
			c.t.Fatal(err)
		}
		held[e.Key] = true
		w, ok := want[e.Key]
		switch {
		case !ok:
			c.t.Errorf("the log has %s, which nobody published", e.Key)
		case e.Number != w.number || e.Live() != (w.shown != nil):
			c.t.Errorf("the log has %s at version %s, %s; the CMS said version %d, live: %v", e.Key, e.Version, e.Status, w.number, w.shown != nil)
		case w.shown != nil && e.Title != w.shown.Title:
			c.t.Errorf("the log calls %s %q, the CMS %q", e.Key, e.Title, w.shown.Title)
		}
	}
	for key := range want {
		if !held[key] {
			c.t.Errorf("the log has lost %s", key)
		}
	}
}

// copiesAgree checks that the object store's copy of every article is the log's. The embedded
// servers are started for that without Loa, which has to have ended.
func (c *city) copiesAgree() {
	c.t.Helper()
	_, js := loatest.NATSAt(c.t, filepath.Join(c.data, "nats"))
	s3, err := embedded.StartS3(c.t.Context(), embedded.S3Options{Dir: filepath.Join(c.data, "s3")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(s3.Shutdown)
	login := s3.Credentials()
	store, err := objects.Open(c.t.Context(), objects.Options{Endpoint: s3.Endpoint(), Bucket: "loa", AccessKey: login.Name, SecretKey: login.Secret.Reveal()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(store.Close)
	log, err := streams.OpenLog(c.t.Context(), js)
	if err != nil {
		c.t.Fatal(err)
	}
	copiesAgree(c.t, log, store)
}

func copiesAgree(t *testing.T, log *streams.Log, store *objects.Store) {
	t.Helper()
	for e, err := range log.Walk(t.Context(), "*", 0) {
		if err != nil {
			t.Fatal(err)
		}
		want, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(t.Context(), e.Key.Object(), streams.MaxMessage)
		if err != nil || !bytes.Equal(got.Body, want) {
			t.Errorf("the copy of %s differs from the log: %v\n%s\nthe log has\n%s", e.Key, err, got.Body, want)
		}
	}
}

// feedsWanted is what each feed is to show, by its id: as much of it as a page has, and the rest in
// its archives. Feeds that showed something once are
// there too.
func feedsWanted(want map[streams.Key]wanted) map[string][]wanted {
	feeds := map[string][]wanted{}
	for _, w := range want {
		for _, ever := range w.ever {
			for _, id := range feedsOf(ever) {
				feeds[id] = feeds[id][:len(feeds[id]):len(feeds[id])]
			}
		}
		if w.shown != nil {
			for _, id := range feedsOf(w.shown) {
				feeds[id] = append(feeds[id], w)
			}
		}
	}
	for _, all := range feeds {
		slices.SortFunc(all, func(a, b wanted) int {
			return cmp.Or(b.shown.Published.Compare(a.shown.Published), cmp.Compare(a.guid, b.guid))
		})
	}
	return feeds
}

// shownEntries is how many entries a feed shows by default.
const shownEntries = 50

func feedsOf(a *events.Article) []string {
	ids := []string{a.Site}
	for _, category := range a.Categories {
		ids = append(ids, a.Site+"--in--"+category.ID)
	}
	for _, above := range ancestors(a.Site) {
		ids = append(ids, above+"--all")
	}
	return ids
}

// ancestors are a site and those above it.
func ancestors(id string) (chain []string) {
	for _, s := range slices.Backward(sample.Sites()) {
		if s.ID == id {
			chain = append(chain, s.ID)
			id = s.Parent
		}
	}
	return chain
}

// feedsAgree checks every feed in every format, as feed readers understand it. What the gateway
// has in its cache may be a second old.
func (c *city) feedsAgree(want map[streams.Key]wanted) {
	c.t.Helper()
	pictures := map[string]bool{}
	feeds := feedsWanted(want)
	gone := map[string]bool{}
	for _, w := range want {
		gone[w.guid] = w.shown == nil
	}
	for id, entries := range feeds {
		for _, format := range []string{"rss", "atom", "json"} {
			address := c.gateway + "/feeds/" + id + "/feed." + format
			body, err := eventually(c.t.Context(), func() ([]byte, error) {
				body, err := fetch(c.t.Context(), address)
				if err != nil && len(entries) == 0 && strings.Contains(err.Error(), "404") {
					return nil, nil // withdrawn before it was shown anywhere
				}
				if err != nil {
					return nil, err
				}
				return body, shows(body, entries[:min(len(entries), shownEntries)], gone)
			})
			if err == nil && format == "atom" && len(entries) > 0 {
				err = c.archivesHold(body, entries, gone)
			}
			if err != nil {
				c.t.Errorf("%s: %v", address, err)
			}
			for _, link := range pictureLinks(c.gateway, body) {
				pictures[link] = true
			}
		}
	}
	for link := range pictures {
		if _, err := fetch(c.t.Context(), link); err != nil {
			c.t.Errorf("a feed shows a picture that is not there: %v", err)
		}
	}
	c.t.Logf("%d feeds and %d files of pictures are as they should be", len(feeds), len(pictures))
}

// archivesHold checks that a reader who follows a feed through its archives (RFC 5005) has all the
// entries, each once and as it is now, and of what is gone nothing but that it is.
func (c *city) archivesHold(feed []byte, entries []wanted, gone map[string]bool) error {
	type entry struct {
		ID      string    `xml:"id"`
		Title   string    `xml:"title"`
		Updated time.Time `xml:"updated"`
	}
	found := map[string]entry{}
	for {
		var doc struct {
			Links []struct {
				Rel  string `xml:"rel,attr"`
				Href string `xml:"href,attr"`
			} `xml:"http://www.w3.org/2005/Atom link"`
			Entries []entry `xml:"http://www.w3.org/2005/Atom entry"`
		}
		if err := xml.Unmarshal(feed, &doc); err != nil {
			return err
		}
		for _, e := range doc.Entries {
			if had, ok := found[e.ID]; !ok || e.Updated.After(had.Updated) {
				found[e.ID] = e
			}
		}
		prev := ""
		for _, l := range doc.Links {
			if l.Rel == "prev-archive" {
				_, path, _ := strings.Cut(l.Href, "/feeds/")
				prev = c.gateway + "/feeds/" + path
			}
		}
		if prev == "" {
			break
		}
		var err error
		if feed, err = fetch(c.t.Context(), prev); err != nil {
			return err
		}
	}
	for id, e := range found {
		if gone[id] && strings.HasPrefix(e.Title, "Đã gỡ: ") {
			delete(found, id)
		}
	}
	if len(found) != len(entries) {
		return fmt.Errorf("it has %d articles with its archives, want %d", len(found), len(entries))
	}
	for _, w := range entries {
		if e := found[w.guid]; e.Title != w.shown.Title {
			return fmt.Errorf("with its archives it has %q for %s, want %q", e.Title, w.guid, w.shown.Title)
		}
	}
	return nil
}

// eventually tries for some seconds until there is no error.
func eventually[T any](ctx context.Context, try func() (T, error)) (T, error) {
	const most = 10 * time.Second
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		v, err := try()
		if err == nil || time.Since(began) > most || ctx.Err() != nil {
			return v, err
		}
	}
}

// shows checks that a feed has these entries, in this order, and beside them nothing but stubs of
// what is gone.
func shows(feed []byte, entries []wanted, gone map[string]bool) error {
	got, err := gofeed.NewParser().Parse(bytes.NewReader(feed))
	if err != nil {
		return err
	}
	items := withoutStubs(got.Items, gone)
	if len(items) != len(entries) {
		return fmt.Errorf("it shows %d articles, want %d", len(items), len(entries))
	}
	for i, item := range items {
		if w := entries[i]; item.GUID != w.guid || item.Title != w.shown.Title || item.Link != w.shown.URL {
			return fmt.Errorf("entry %d is %s %q, want %s %q", i+1, item.GUID, item.Title, w.guid, w.shown.Title)
		}
	}
	return nil
}

var pictureLink = regexp.MustCompile(`/media/[0-9a-f]{64}/[A-Za-z0-9._-]+`)

// pictureLinks are the addresses of stored pictures that a document mentions.
func pictureLinks(base string, body []byte) (links []string) {
	for _, m := range pictureLink.FindAll(body, -1) {
		links = append(links, base+string(m))
	}
	return links
}

// portalsAgree checks what each portal holds, and the order in which it was told.
func (c *city) portalsAgree(want map[streams.Key]wanted) {
	c.t.Helper()
	byGUID := map[string]wanted{}
	for _, w := range want {
		byGUID[w.guid] = w
	}
	for _, p := range c.partners {
		held := 0
		for _, h := range p.receiver.Held() {
			b := h.Bulletin.Data
			w, ok := byGUID[b.GUID]
			switch {
			case !ok:
				c.t.Errorf("portal %s holds %s/%s, which nobody published", p.name, b.Site, b.ID)
			case !slices.ContainsFunc(w.ever, func(a *events.Article) bool { return selects(p.filter, a) }):
				c.t.Errorf("portal %s holds %s, which its filter never selected", p.name, w.key)
			case w.shown == nil && (b.Status != events.StatusWithdrawn || b.Version != w.number):
				c.t.Errorf("portal %s still shows %s in version %d; version %d was withdrawn", p.name, w.key, b.Version, w.number)
			case w.shown != nil && (b.Status != events.StatusLive || b.Version != w.number || b.Title != w.shown.Title):
				c.t.Errorf("portal %s holds %s in version %d, %s, %q; want version %d, %q", p.name, w.key, b.Version, b.Status, b.Title, w.number, w.shown.Title)
			default:
				held++
			}
		}
		for _, w := range want {
			if _, ok := p.receiver.Get(w.guid); !ok && w.shown != nil && selects(p.filter, w.shown) {
				c.t.Errorf("portal %s was never told of %s", p.name, w.key)
			}
		}
		if n := p.receiver.Counts().Regressions; n > 0 {
			c.t.Errorf("portal %s was sent %d bulletins older than what it held", p.name, n)
		}
		inOrder(c.t, p)
		c.t.Logf("portal %s holds %d articles, and took %d bulletins", p.name, held, len(p.history()))
	}
}

// selects says what a portal's filter means.
func selects(f portal.Filter, a *events.Article) bool {
	meets := func(wanted, has []string) bool {
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(has, w) })
	}
	var categories []string
	for _, category := range a.Categories {
		categories = append(categories, category.ID)
	}
	urgency := cmp.Or(a.Urgency, 5)
	return meets(f.Sites, ancestors(a.Site)) && meets(f.Categories, categories) && meets(f.Tags, a.Tags) && (f.Urgency == 0 || urgency <= f.Urgency)
}

// inOrder checks that no portal accepted an older version after a newer one, nor two bulletins
// under one id, nor two ids for one version.
func inOrder(t *testing.T, p *partner) {
	t.Helper()
	latest := map[string]article.Version{}
	digests, ids := map[string]string{}, map[string]string{}
	for _, d := range p.history() {
		if last := latest[d.guid]; d.version.Compare(last) < 0 {
			t.Errorf("portal %s was told of %s in version %s after %s", p.name, d.guid, d.version, last)
		}
		latest[d.guid] = d.version
		if had, ok := digests[d.id]; ok && had != d.digest {
			t.Errorf("portal %s got two different bulletins with the id %s", p.name, d.id)
		}
		digests[d.id] = d.digest
		if d.among {
			continue // what is left of one may be told in another
		}
		name := d.guid + "@" + d.version.String()
		if had, ok := ids[name]; ok && had != d.id {
			t.Errorf("portal %s got version %s of %s under two ids", p.name, d.version, d.guid)
		}
		ids[name] = d.id
	}
}

// watchFeeds polls feeds, as readers do, until the test calls the function returned, and checks
// that no article in them ever goes back to an older version.
func (c *city) watchFeeds(ids ...string) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reader := http.Client{Timeout: 2 * time.Second}
		latest := map[string]string{}
		looks := 0
		for ctx.Err() == nil {
			for _, id := range ids {
				var feed struct {
					Items []struct {
						ID  string
						Loa struct{ Version string } `json:"_loa"`
					}
				}
				res, err := reader.Get(c.gateway + "/feeds/" + id + "/feed.json")
				if err != nil {
					continue // killed, or not there yet
				}
				err = json.NewDecoder(res.Body).Decode(&feed)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					continue
				}
				looks++
				for _, item := range feed.Items {
					name := id + " " + item.ID
					if item.Loa.Version < latest[name] { // single digits
						c.t.Errorf("feed %s went back from version %s to %s of %s", id, latest[name], item.Loa.Version, item.ID)
					}
					latest[name] = item.Loa.Version
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		c.t.Logf("looked at feeds %d times", looks)
	}()
	return func() { cancel(); <-done }
}
