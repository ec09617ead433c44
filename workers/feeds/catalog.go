package feeds

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// Settings of all feeds.
type Settings struct {
	// PublicURL is where feeds are read: <PublicURL>/feeds/<feed>/feed.rss. Absolute, http or https.
	PublicURL string
	// MediaURL is the address below which stored pictures are read; PublicURL when empty.
	MediaURL string
	// Shape is that of every feed: 50 entries and their full contents where it does not say. Kinds
	// and Sites have it otherwise for the feeds of a kind and those of a site, by id; what a site
	// says counts before what a kind does.
	Shape
	Kinds map[Kind]Shape
	Sites map[string]Shape
	// Hubs are WebSub hubs that announce the feeds' changes.
	Hubs []string
	// TTL is how long readers are asked to wait between two polls; 5 min when 0.
	TTL time.Duration
	// WithdrawnFor is how long the tombstone of a withdrawn article stays, 30 days when 0, and
	// StubFor how long, of this time, the article is shown as withdrawn, 7 days when 0.
	WithdrawnFor, StubFor time.Duration
	// Language of the feeds as a whole, a BCP 47 tag; "vi" when empty. Each entry has its own.
	Language string
	// Image is the address of a picture that stands for the feeds, such as a logo; optional.
	Image string
}

// Shape is how much a feed shows. What is zero is as it is otherwise.
type Shape struct {
	// Page is how many entries, at most 500.
	Page int
	// Content is what it holds of an article: [Full] or [Summary].
	Content Content
}

// Content is what a feed holds of an article.
type Content string

// Contents.
const (
	Full    Content = "full"
	Summary Content = "summary"
)

const (
	defaultPage = 50
	// maxPage keeps a feed's index far below the largest value of its bucket, 1 MiB.
	maxPage = 500
	// defaultTTL matches what caches are told, several times over: a feed reader that polls
	// more often finds out little.
	defaultTTL = 5 * time.Minute
	// maxSite is the longest id of a site, in bytes: it has to be a token of a subject.
	maxSite = 64
)

func (s Settings) withDefaults() Settings {
	s.PublicURL = strings.TrimSuffix(s.PublicURL, "/")
	if s.MediaURL == "" {
		s.MediaURL = s.PublicURL
	}
	s.Shape = s.or(Shape{defaultPage, Full})
	if s.TTL == 0 {
		s.TTL = defaultTTL
	}
	s.WithdrawnFor = cmp.Or(s.WithdrawnFor, defaultWithdrawnFor)
	s.StubFor = min(cmp.Or(s.StubFor, defaultStubFor), s.WithdrawnFor)
	if s.Language == "" {
		s.Language = "vi"
	}
	return s
}

// or is the shape with what it lacks from another.
func (s Shape) or(wider Shape) Shape {
	return Shape{cmp.Or(s.Page, wider.Page), cmp.Or(s.Content, wider.Content)}
}

func (s Shape) check() error {
	if s.Page < 0 || s.Page > maxPage {
		return fmt.Errorf("page of %d entries: expected 1 to %d", s.Page, maxPage)
	}
	if s.Content != "" && s.Content != Full && s.Content != Summary {
		return fmt.Errorf("content %q: expected %s or %s", s.Content, Full, Summary)
	}
	return nil
}

func (s Settings) check() error {
	for name, address := range map[string]string{"public URL": s.PublicURL, "media URL": s.MediaURL} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("feeds: %s %q: expected an absolute http or https address without a query", name, address)
		}
	}
	for _, hub := range s.Hubs {
		if u, err := url.Parse(hub); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("feeds: hub %q: expected an absolute http or https address", hub)
		}
	}
	if err := s.Shape.check(); err != nil {
		return fmt.Errorf("feeds: %w", err)
	}
	for kind, shape := range s.Kinds {
		if err := shape.check(); err != nil {
			return fmt.Errorf("feeds of kind %s: %w", kind, err)
		}
	}
	for site, shape := range s.Sites {
		if err := shape.check(); err != nil {
			return fmt.Errorf("feeds of site %s: %w", site, err)
		}
	}
	if s.TTL < time.Minute {
		return fmt.Errorf("feeds: ttl %s: expected at least 1m", s.TTL)
	}
	if s.StubFor <= 0 || s.WithdrawnFor <= 0 {
		return fmt.Errorf("feeds: withdrawn articles told of for %s, shown as such for %s: expected some time", s.WithdrawnFor, s.StubFor)
	}
	return nil
}

// Kind of a feed.
type Kind string

// Kinds of feeds. There is one of each for each site, and one of the second for each category of it.
const (
	OfSite     Kind = "site"     // <site>: what the site publishes
	OfCategory Kind = "category" // <site>--in--<category token>: its articles in one category
	OfSubtree  Kind = "subtree"  // <site>--all: what it and all sites under it publish
	OfGallery  Kind = "gallery"  // <site>--gallery: the pictures of its articles' galleries, an entry each
)

// An id of a site holds no "--", so that the rest of a feed's id begins at the first.
const (
	separator  = "--"
	inCategory = "in--"
	ofAll      = "all"
	ofGallery  = "gallery"
)

var (
	sitePattern     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	categoryPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Feed is one feed.
type Feed struct {
	// ID is the feed's target, its key in the bucket, and its place in the object store.
	ID   string
	Site string
	Kind Kind
	// Category is the category's [events.Token], in a feed of one.
	Category string
}

// Catalog knows which feeds exist: those of its tree of sites. It does not change.
type Catalog struct {
	tree     *site.Tree
	settings Settings
	// general is a digest of what the rendering of every feed depends on beside the articles: this
	// program's way to render, the settings that all feeds share, the sites.
	general []byte
}

// NewCatalog makes the catalog of the feeds of the tree's sites.
func NewCatalog(tree *site.Tree, s Settings) (*Catalog, error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	for _, one := range tree.All() {
		if !sitePattern.MatchString(one.ID) || len(one.ID) > maxSite {
			return nil, fmt.Errorf("feeds: site %q: expected at most %d small letters and digits, in groups joined by single hyphens", one.ID, maxSite)
		}
	}
	shared := s
	shared.Shape, shared.Kinds, shared.Sites = Shape{}, nil, nil
	all, err := json.Marshal(struct {
		Way      int
		Settings Settings
		Sites    []site.Site
	}{formVersion, shared, tree.All()})
	if err != nil {
		return nil, fmt.Errorf("feeds: digest the settings: %w", err)
	}
	sum := sha256.Sum256(all)
	return &Catalog{tree: tree, settings: s, general: sum[:]}, nil
}

// form is a digest of all but the articles that the feed's rendering depends on: a feed of
// another form is rendered anew when it is next flagged.
func (c *Catalog) form(f Feed) string {
	shape := c.shape(f)
	sum := sha256.Sum256(fmt.Appendf(c.general, " %d %s", shape.Page, shape.Content))
	return hex.EncodeToString(sum[:8])
}

func (c *Catalog) shape(f Feed) Shape {
	return c.settings.Sites[f.Site].or(c.settings.Kinds[f.Kind]).or(c.settings.Shape)
}

// Page is how many entries the feed shows.
func (c *Catalog) Page(f Feed) int { return c.shape(f).Page }

// look is how the entries of a feed are rendered. Those of one look are the same in every feed.
type look int

const (
	lookFull    look = iota // with full contents
	lookBrief               // summaries
	lookGallery             // one of each picture
)

func (c *Catalog) look(f Feed) look {
	switch {
	case f.Kind == OfGallery:
		return lookGallery
	case c.shape(f).Content == Summary:
		return lookBrief
	}
	return lookFull
}

// Concerned is the ids of the feeds that a new version of an article may change: those that
// are to show it, and those that may have shown a former version.
func (c *Catalog) Concerned(a *article.Article) []string {
	chain := c.tree.Ancestors(a.Site)
	if len(chain) == 0 {
		return nil
	}
	ids := []string{a.Site}
	for _, category := range a.Categories {
		ids = append(ids, categoryFeed(a.Site, category.ID))
	}
	for _, category := range a.Ever.Categories {
		ids = append(ids, categoryFeed(a.Site, category))
	}
	if a.HasGallery() || a.Ever.Gallery {
		ids = append(ids, a.Site+separator+ofGallery)
	}
	for _, above := range chain {
		ids = append(ids, above+separator+ofAll)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func categoryFeed(site, category string) string {
	return site + separator + inCategory + events.Token(category)
}

// Parse gives the feed of an id; false if there is none, or no longer.
func (c *Catalog) Parse(id string) (Feed, bool) {
	siteID, rest, more := strings.Cut(id, separator)
	f := Feed{ID: id, Site: siteID, Kind: OfSite}
	if _, ok := c.tree.Get(siteID); !ok {
		return Feed{}, false
	}
	if !more {
		return f, true
	}
	if rest == ofAll {
		f.Kind = OfSubtree
		return f, true
	}
	if rest == ofGallery {
		f.Kind = OfGallery
		return f, true
	}
	category, ok := strings.CutPrefix(rest, inCategory)
	if !ok || !categoryPattern.MatchString(category) {
		return Feed{}, false
	}
	f.Kind, f.Category = OfCategory, category
	return f, true
}

// Matches reports whether the feed is to show this version of the article.
func (c *Catalog) Matches(f Feed, a *article.Article) bool {
	if !a.Live() {
		return false
	}
	switch f.Kind {
	case OfSite:
		return a.Site == f.Site
	case OfCategory:
		return a.Site == f.Site && slices.ContainsFunc(a.Categories, f.isCategory)
	case OfGallery:
		return a.Site == f.Site && a.HasGallery()
	default:
		return c.tree.Under(a.Site, f.Site)
	}
}

func (f Feed) isCategory(category events.Category) bool {
	return events.Token(category.ID) == f.Category
}

// Title is the feed's title. The label of a category is known from its articles alone.
func (c *Catalog) Title(f Feed, label string) string {
	of, _ := c.tree.Get(f.Site)
	name := article.Text(of.Name, maxName)
	if name == "" {
		name = of.ID
	}
	switch f.Kind {
	case OfCategory:
		if label == "" {
			label = f.Category
		}
		return name + " – " + label
	case OfSubtree:
		return name + " và các đơn vị trực thuộc"
	case OfGallery:
		return name + " – Thư viện ảnh"
	}
	return name
}

// label is what the article calls the feed's category; empty in any other feed.
func (f Feed) label(a *article.Article) string {
	i := slices.IndexFunc(a.Categories, f.isCategory)
	if f.Kind != OfCategory || i < 0 {
		return ""
	}
	return categoryLabel(a.Categories[i])
}

// object is where the feed is stored, and the end of its public address.
func (f Feed) object(name string) string { return "feeds/" + f.ID + "/" + name }

func (c *Catalog) address(f Feed, name string) string {
	return c.settings.PublicURL + "/" + f.object(name)
}

// sitesOf is the ids of the sites whose articles the feed may show.
func (c *Catalog) sitesOf(f Feed) []string {
	if f.Kind != OfSubtree {
		return []string{f.Site}
	}
	var ids []string
	for _, s := range c.tree.All() {
		if c.tree.Under(s.ID, f.Site) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
