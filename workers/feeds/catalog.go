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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
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
	// Off are kinds of which there are to be no feeds. One that was there before stays, and is empty.
	Off []Kind
	// Custom are feeds of what filters select.
	Custom []Custom
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

// Custom is a feed of what a filter selects, of whatever site.
type Custom struct {
	// ID is the feed's, and no site's: small letters and digits, in words joined by hyphens.
	ID, Title string
	Filter    portal.Filter
	Shape
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

// off reports whether there are to be no feeds of the kind.
func (c *Catalog) off(kind Kind) bool { return slices.Contains(c.settings.Off, kind) }

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
	for _, kind := range s.Off {
		if !slices.Contains(Kinds(), kind) {
			return fmt.Errorf("feeds of kind %q cannot be off: expected one of %v", kind, Kinds())
		}
	}
	for _, custom := range s.Custom {
		if err := custom.check(); err != nil {
			return fmt.Errorf("feed %s: %w", custom.ID, err)
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

// Kinds of feeds. There is one for each site, and for each category, tag and author that its
// articles name; and those that the configuration makes.
const (
	OfSite     Kind = "site"     // <site>: what the site publishes
	OfCategory Kind = "category" // <site>--in--<token>: its articles in one category
	OfTag      Kind = "tag"      // <site>--tag--<token>: those that have one tag
	OfAuthor   Kind = "author"   // <site>--by--<token>: those of one author
	OfUrgency  Kind = "urgency"  // <site>--urgency--<n>: those of urgency n (1 to 4) and of a greater one
	OfSubtree  Kind = "subtree"  // <site>--all: what it and all sites under it publish
	OfGallery  Kind = "gallery"  // <site>--gallery: the pictures of its articles' galleries, an entry each
	OfCustom   Kind = "custom"   // <id>: what a filter selects
)

// Kinds are all of them but custom ones.
func Kinds() []Kind {
	return []Kind{OfSite, OfSubtree, OfCategory, OfTag, OfAuthor, OfUrgency, OfGallery}
}

// An id of a site or of a custom feed holds no "--", so that the rest of a feed's id begins at
// the first.
const (
	separator  = "--"
	inCategory = "in--"
	withTag    = "tag--"
	byAuthor   = "by--"
	ofUrgency  = "urgency--"
	ofAll      = "all"
	ofGallery  = "gallery"
)

// lastUrgency is the least urgent of the feeds by urgency: 5 is what is not urgent (IPTC), and
// would give the site's own feed again.
const lastUrgency = 4

var (
	sitePattern  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Feed is one feed.
type Feed struct {
	// ID is the feed's target, its key in the bucket, and its place in the object store.
	ID string
	// Site is whose feed it is; in a custom one, the nearest that lies above all its sites.
	Site string
	Kind Kind
	// Of is the [events.Token] of the category, tag or author, or the urgency, in a feed of one.
	Of string
}

// Catalog knows which feeds exist: those of its tree of sites, and custom ones. It does not change,
// but for sites that are succeeded as their day comes.
type Catalog struct {
	tree     *site.Tree
	settings Settings
	custom   map[string]*custom // by id
	now      func() time.Time
	current  atomic.Pointer[lineage]
	// general is what the rendering of every feed depends on beside the articles: this program's
	// way to render, and the settings that all feeds share.
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
	shared.Shape, shared.Kinds, shared.Sites, shared.Off, shared.Custom = Shape{}, nil, nil, nil, nil
	general, err := json.Marshal(struct {
		Way      int
		Settings Settings
	}{formVersion, shared})
	if err != nil {
		return nil, fmt.Errorf("feeds: digest the settings: %w", err)
	}
	c := &Catalog{tree: tree, settings: s, custom: map[string]*custom{}, general: general, now: time.Now}
	for _, one := range s.Custom {
		if _, isSite := tree.Get(one.ID); isSite || c.custom[one.ID] != nil {
			return nil, fmt.Errorf("feed %s: there is a site or another feed of this id", one.ID)
		}
		if c.custom[one.ID], err = newCustom(one, tree); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// form is a digest of all but the articles that the feed's rendering depends on: a feed of
// another form is rendered anew when it is next flagged.
func (c *Catalog) form(f Feed) string {
	shape := c.shape(f)
	own := fmt.Sprintf("%d %s %s %s", shape.Page, shape.Content, f.Site, c.ended(f))
	if f.Kind == OfCustom {
		own += " " + c.custom[f.ID].Title + " " + c.language(f)
	}
	return digest(c.general, []byte(own), []byte(c.digests(f).names))
}

// language is that of the feed as a whole; entries have their own.
func (c *Catalog) language(f Feed) string {
	if f.Kind == OfCustom && len(c.custom[f.ID].Filter.Languages) == 1 {
		return c.custom[f.ID].Filter.Languages[0]
	}
	return c.settings.Language
}

// digest is a short one of some texts.
func digest(texts ...[]byte) string {
	h := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(h, "%d ", len(text))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (c *Catalog) shape(f Feed) Shape {
	if f.Kind == OfCustom {
		return c.custom[f.ID].or(c.settings.Shape)
	}
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
	homes := c.lineage().homes[a.Site]
	if len(homes) == 0 {
		return nil
	}
	var ids []string
	add := func(kind Kind, rest ...string) {
		for _, site := range homes {
			if !c.off(kind) {
				ids = append(ids, site+strings.Join(rest, ""))
			}
		}
	}
	add(OfSite)
	for _, category := range a.Categories {
		add(OfCategory, separator, inCategory, events.Token(category.ID))
	}
	for _, category := range a.Ever.Categories {
		add(OfCategory, separator, inCategory, events.Token(category))
	}
	for _, tag := range slices.Concat(a.Tags, a.Ever.Tags) {
		add(OfTag, separator, withTag, events.Token(tag))
	}
	for _, author := range a.Authors {
		add(OfAuthor, separator, byAuthor, events.Token(author.Name))
	}
	for _, author := range a.Ever.Authors {
		add(OfAuthor, separator, byAuthor, events.Token(author))
	}
	greatest := a.Urgency
	if a.Ever.Urgency > 0 {
		greatest = min(greatest, a.Ever.Urgency)
	}
	for n := max(greatest, 1); n <= lastUrgency; n++ {
		add(OfUrgency, separator, ofUrgency, strconv.Itoa(n))
	}
	if a.HasGallery() || a.Ever.Gallery {
		add(OfGallery, separator, ofGallery)
	}
	for _, home := range homes {
		for _, above := range c.tree.Ancestors(home) {
			if !c.off(OfSubtree) {
				ids = append(ids, above+separator+ofAll)
			}
		}
	}
	for id, custom := range c.custom {
		if custom.Filter.Matches(a, c.tree) || custom.Filter.MatchedEver(a, c.tree) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Parse gives the feed of an id; false if there is none, or no longer.
func (c *Catalog) Parse(id string) (Feed, bool) {
	if custom := c.custom[id]; custom != nil {
		return Feed{ID: id, Site: custom.site, Kind: OfCustom}, true
	}
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
	for prefix, kind := range map[string]Kind{inCategory: OfCategory, withTag: OfTag, byAuthor: OfAuthor, ofUrgency: OfUrgency} {
		of, ok := strings.CutPrefix(rest, prefix)
		if !ok || !tokenPattern.MatchString(of) || kind == OfUrgency && (len(of) != 1 || of[0] < '1' || of[0] > '0'+lastUrgency) {
			continue
		}
		f.Kind, f.Of = kind, of
		return f, true
	}
	return Feed{}, false
}

// Matches reports whether the feed is to show this version of the article.
func (c *Catalog) Matches(f Feed, a *article.Article) bool {
	if !a.Live() || c.off(f.Kind) {
		return false
	}
	switch f.Kind {
	case OfCustom:
		return c.custom[f.ID].Filter.Matches(a, c.tree)
	case OfSubtree:
		return slices.ContainsFunc(c.lineage().homes[a.Site], func(home string) bool { return c.tree.Under(home, f.Site) })
	}
	if !slices.Contains(c.lineage().homes[a.Site], f.Site) {
		return false
	}
	switch f.Kind {
	case OfCategory:
		return slices.ContainsFunc(a.Categories, f.isCategory)
	case OfTag:
		return slices.ContainsFunc(a.Tags, f.isOf)
	case OfAuthor:
		return slices.ContainsFunc(a.Authors, f.isBy)
	case OfUrgency:
		return a.Urgency > 0 && a.Urgency <= int(f.Of[0]-'0')
	case OfGallery:
		return a.HasGallery()
	}
	return true
}

func (f Feed) isOf(name string) bool                    { return events.Token(name) == f.Of }
func (f Feed) isCategory(category events.Category) bool { return f.isOf(category.ID) }
func (f Feed) isBy(author events.Author) bool           { return f.isOf(author.Name) }

// Title is the feed's title. The label of a category, tag or author is known from articles alone.
func (c *Catalog) Title(f Feed, label string) string {
	of, _ := c.tree.Get(f.Site)
	name := article.Text(of.Name, maxName)
	if name == "" {
		name = of.ID
	}
	label = cmp.Or(label, f.Of)
	switch f.Kind {
	case OfCategory:
		return name + " – " + label
	case OfTag:
		return name + " – Từ khóa: " + label
	case OfAuthor:
		return name + " – Bài của " + label
	case OfUrgency:
		return name + " – Tin khẩn, mức " + label + " trở lên"
	case OfCustom:
		return c.custom[f.ID].Title
	case OfSubtree:
		return name + " và các đơn vị trực thuộc"
	case OfGallery:
		return name + " – Thư viện ảnh"
	}
	return name
}

// label is what the article calls the feed's category, tag or author; empty in any other feed.
func (f Feed) label(a *article.Article) string {
	switch f.Kind {
	case OfCategory:
		if i := slices.IndexFunc(a.Categories, f.isCategory); i >= 0 {
			return categoryLabel(a.Categories[i])
		}
	case OfTag:
		if i := slices.IndexFunc(a.Tags, f.isOf); i >= 0 {
			return article.Text(a.Tags[i], maxName)
		}
	case OfAuthor:
		if i := slices.IndexFunc(a.Authors, f.isBy); i >= 0 {
			return article.Text(a.Authors[i].Name, maxName)
		}
	}
	return ""
}

// object is where the feed is stored, and the end of its public address.
func (f Feed) object(name string) string { return "feeds/" + f.ID + "/" + name }

func (c *Catalog) address(f Feed, name string) string {
	return c.settings.PublicURL + "/" + f.object(name)
}

// sitesOf is the ids of the sites whose articles the feed may show.
func (c *Catalog) sitesOf(f Feed) []string {
	switch f.Kind {
	case OfCustom:
		return c.custom[f.ID].sites
	case OfSubtree:
		return c.lineage().under[f.Site]
	}
	return c.lineage().of[f.Site]
}
