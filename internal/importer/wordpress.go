package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/dates"
)

const (
	// perPage is how many posts are asked for at once; WordPress gives at most 100, which with all that
	// is embedded take an old server long.
	perPage = 50
	// restRoot is where the REST API is, with pretty addresses and without.
	restRoot  = "wp-json/"
	plainRoot = "?rest_route=/"
)

// WordPress is a WordPress site of which the posts are imported, through its REST API.
type WordPress struct {
	Fetcher *Fetcher
	// URL is the site's home page.
	URL  string
	Site string
	// Since leaves out what was not changed after it; zero: nothing.
	Since time.Time
	// OnPage is told of every page that was read, of how many.
	OnPage func(page, pages int)
}

// wpSite is the root of the API: the site itself.
type wpSite struct {
	Name     string          `json:"name"`
	Timezone string          `json:"timezone_string"`
	Offset   json.RawMessage `json:"gmt_offset"` // a number, or one in quotation marks
}

// wpPost is a post. What plugins are known to replace by something else is read by itself.
type wpPost struct {
	GUID        wpText `json:"guid"`
	ID          int64  `json:"id"`
	Link        string `json:"link"`
	Title       wpText `json:"title"`
	Content     wpText `json:"content"`
	Excerpt     wpText `json:"excerpt"`
	Date        string `json:"date"` // in the site's zone
	DateGMT     string `json:"date_gmt"`
	Modified    string `json:"modified"`
	ModifiedGMT string `json:"modified_gmt"`
	Embedded    struct {
		Author json.RawMessage `json:"author"`
		Media  json.RawMessage `json:"wp:featuredmedia"`
		Terms  json.RawMessage `json:"wp:term"`
	} `json:"_embedded"`
}

type wpText struct {
	Rendered  string `json:"rendered"`
	Protected bool   `json:"protected"`
}

type wpMedia struct {
	Source  string `json:"source_url"`
	Alt     string `json:"alt_text"`
	Caption wpText `json:"caption"`
	Type    string `json:"mime_type"`
}

type wpTerm struct {
	Name     string `json:"name"`
	Taxonomy string `json:"taxonomy"`
}

// Items gives the posts in the order of their ids, which new ones do not disturb.
func (w *WordPress) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		root, zone, err := w.root(ctx)
		if err != nil {
			yield(Item{}, err)
			return
		}
		pages := 1
		for page := 1; page <= pages; page++ {
			resp, err := w.Fetcher.get(ctx, root("wp/v2/posts", w.query(page)), jsonOnly)
			var status *StatusError
			if page > 1 && errors.As(err, &status) && status.Status == http.StatusBadRequest {
				return // posts were taken back meanwhile, and with them the last page
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			var posts []wpPost
			if err := json.Unmarshal(bytes.TrimPrefix(resp.body, []byte("\ufeff")), &posts); err != nil {
				yield(Item{}, fmt.Errorf("read page %d of the posts of %s: %w", page, w.URL, err))
				return
			}
			if n, err := strconv.Atoi(resp.header.Get("X-WP-TotalPages")); err == nil {
				pages = min(n, maxPages) // it may grow while it is read
			}
			if w.OnPage != nil {
				w.OnPage(page, pages)
			}
			for _, p := range posts {
				if !yield(w.item(p, zone), nil) {
					return
				}
			}
			if len(posts) == 0 {
				return
			}
		}
	}
}

var jsonOnly = http.Header{"Accept": {"application/json"}}

func (w *WordPress) query(page int) url.Values {
	q := url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(page)}, "orderby": {"id"}, "order": {"asc"}, "_embed": {"author,wp:featuredmedia,wp:term"}}
	if !w.Since.IsZero() {
		q.Set("modified_after", w.Since.UTC().Format(time.RFC3339))
	}
	return q
}

// root finds the API, and the zone of the site's times.
func (w *WordPress) root(ctx context.Context) (func(route string, q url.Values) string, *time.Location, error) {
	home := strings.TrimSuffix(w.URL, "/") + "/"
	var first error
	for _, form := range []string{restRoot, plainRoot} {
		resp, err := w.Fetcher.get(ctx, home+form, jsonOnly)
		var site wpSite
		if err == nil {
			if err = json.Unmarshal(bytes.TrimPrefix(resp.body, []byte("\ufeff")), &site); err != nil {
				err = fmt.Errorf("read %s: %w", home+form, err)
			}
		}
		if err == nil {
			return func(route string, q url.Values) string {
				if form == plainRoot {
					q.Set("rest_route", "/"+route)
					return home + "?" + q.Encode()
				}
				return home + form + route + "?" + q.Encode()
			}, site.zone(), nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, fmt.Errorf("find the REST API of WordPress at %s (its feed can be imported instead: loa import feed %sfeed/): %w", home, home, first)
}

// zone is that of the site's times, or Vietnam's.
func (s wpSite) zone() *time.Location {
	if s.Timezone != "" {
		if zone, err := time.LoadLocation(s.Timezone); err == nil {
			return zone
		}
	}
	if hours, err := strconv.ParseFloat(strings.Trim(string(s.Offset), `"`), 64); err == nil && hours != 0 && hours >= -14 && hours <= 14 {
		return time.FixedZone("", int(hours*3600))
	}
	return dates.HoChiMinh
}

// item makes an item of a post. It has the same id as in the site's own feeds, so that the one import goes on
// where the other ended.
func (w *WordPress) item(p wpPost, zone *time.Location) Item {
	id := stableID(html.UnescapeString(p.GUID.Rendered))
	if id == "" {
		id = stableID(p.Link)
	}
	item := Item{Where: p.Link, Article: events.Article{Site: w.Site, ID: id, URL: p.Link, Title: plain(p.Title.Rendered), Body: p.Content.Rendered}}
	a := &item.Article
	if s := strings.TrimSpace(strings.TrimSuffix(plain(p.Excerpt.Rendered), "[…]")); s != "" && !strings.HasPrefix(fold(plain(a.Body)), s) {
		a.Summary = s // else it is the beginning of the text
	}
	for _, author := range each[struct{ Name string }](p.Embedded.Author) {
		addAuthor(a, author.Name)
	}
	for _, m := range each[wpMedia](p.Embedded.Media) {
		if base, err := url.Parse(p.Link); err == nil && m.Source != "" && (m.Type == "" || strings.HasPrefix(m.Type, "image/")) {
			addImage(a, events.Image{URL: resolve(base, m.Source), Alt: m.Alt, Caption: m.Caption.Rendered})
		}
	}
	for _, terms := range each[[]wpTerm](p.Embedded.Terms) {
		for _, t := range terms {
			switch t.Taxonomy {
			case "category":
				addCategory(a, t.Name)
			case "post_tag":
				addTag(a, t.Name)
			}
		}
	}
	published, updated := wpTime(p.Date, p.DateGMT, zone), wpTime(p.Modified, p.ModifiedGMT, zone)
	switch {
	case p.Content.Protected:
		item.Problem = "it is protected by a password"
	case p.Link == "":
		item.Problem = "it has no address"
	case id == "":
		item.Problem = "it has neither an id nor an address"
	case published == nil:
		item.Problem = fmt.Sprintf("time %q: expected one such as 2026-11-24T08:30:00", p.Date)
	default:
		a.Published, a.Updated = *published, updated
		finish(&item)
	}
	return item
}

// wpTime reads a time in the site's zone; its form in UTC decides, where it is not empty: it is right even
// when the site's zone was changed since.
func wpTime(local, gmt string, zone *time.Location) *time.Time {
	if t, err := dates.Parse(gmt, time.UTC); err == nil {
		t = t.In(zone)
		return &t
	}
	if t, err := dates.Parse(local, zone); err == nil {
		return &t
	}
	return nil
}

// each reads a list of which the entries may be something else: an error in the place of a picture that is
// gone, say.
func each[T any](list json.RawMessage) []T {
	var raw []json.RawMessage
	if json.Unmarshal(list, &raw) != nil {
		return nil
	}
	var all []T
	for _, one := range raw {
		var v T
		if json.Unmarshal(one, &v) == nil {
			all = append(all, v)
		}
	}
	return all
}
