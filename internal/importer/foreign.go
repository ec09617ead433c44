package importer

import (
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/frontmatter"
)

// maxFront bounds foreign front matter, in bytes, as that of our own is bounded.
const maxFront = 16 << 10

var (
	frontEnd = regexp.MustCompile(`(?m)^---[ \t]*\r?$`)
	// aliases let a few lines of YAML stand for any number.
	aliases = regexp.MustCompile(`(?m)(^|[\s:\[{,-])[&*][A-Za-z0-9_-]`)
	// datedName is how Jekyll names its files.
	datedName = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)-`)
)

// foreignKeys tell that front matter was written for a generator of static sites: Jekyll, Hugo, or one
// that is like them.
var foreignKeys = []string{"date", "layout", "draft", "lastmod", "pubDate", "permalink", "slug", "author", "description"}

// foreign reads a file with the front matter of such a generator; false, if it has none.
func (f *Folder) foreign(item *Item, name string, data []byte) (events.Article, []frontmatter.LocalImage, bool) {
	fields, body, ok := foreignFront(data)
	if !ok {
		return events.Article{}, nil, false
	}
	text := func(keys ...string) string {
		for _, key := range keys {
			switch v := fields[key].(type) {
			case string:
				return v
			case map[string]any: // cover: {image: a.jpg}, author: {name: Lan}
				for _, inner := range []string{"image", "name", "src", "url"} {
					if s, ok := v[inner].(string); ok {
						return s
					}
				}
			case nil:
			default:
				if s := fmt.Sprint(v); len(s) <= maxTitle {
					return s
				}
			}
		}
		return ""
	}
	list := func(keys ...string) (all []string) {
		for _, key := range keys {
			switch v := fields[key].(type) {
			case string:
				all = append(all, v)
			case []any:
				for _, one := range v {
					all = append(all, fmt.Sprint(one))
				}
			}
		}
		return all
	}
	// The body is read as that of an article of our own.
	own := append([]byte("---\ntitle: x\n---\n"), body...)
	a, local, err := frontmatter.Parse(path.Base(name), own)
	if err != nil {
		item.Problem = err.Error()
		return a, nil, true
	}
	a.ID, a.Site = item.Article.ID, f.Site
	a.Title, a.Summary, a.Language = plain(text("title")), plain(text("description", "summary", "excerpt")), language(text("lang", "language"))
	for _, author := range list("author", "authors") {
		addAuthor(&a, author)
	}
	if len(a.Authors) == 0 {
		addAuthor(&a, text("author"))
	}
	for _, c := range list("categories", "category") {
		addCategory(&a, c)
	}
	for _, t := range list("tags") {
		addTag(&a, t)
	}
	if base, err := url.Parse(cmp.Or(strings.TrimSuffix(f.Base, "/")+"/", "/")); err == nil && f.Base != "" {
		if link := text("permalink", "url"); link != "" {
			a.URL = resolve(base, link)
		}
		addImage(&a, events.Image{URL: resolve(base, text("image", "cover", "featured_image", "thumbnail"))})
	}
	published := text("date", "pubDate", "published")
	if m := datedName.FindStringSubmatch(path.Base(name)); published == "" && m != nil {
		published = m[1]
	}
	switch draft, _ := fields["draft"].(bool); {
	case draft, fields["published"] == false:
		item.Problem = "it is a draft"
	default:
		item.Problem = times(&a, published, text("lastmod", "last_modified_at", "updated"), f.Zone)
	}
	return a, local, true
}

// foreignFront takes a file apart, if its front matter is a generator's.
func foreignFront(data []byte) (fields map[string]any, body []byte, ok bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	ends := frontEnd.FindAllIndex(data, 2)
	if len(ends) < 2 || ends[0][0] != 0 || ends[1][0] > maxFront {
		return nil, nil, false
	}
	front := data[ends[0][1]:ends[1][0]]
	if aliases.Match(front) || yaml.Unmarshal(front, &fields) != nil {
		return nil, nil, false
	}
	for _, key := range foreignKeys {
		if _, has := fields[key]; has {
			return fields, bytes.TrimLeft(data[ends[1][1]:], "\r\n"), true
		}
	}
	return nil, nil, false
}
