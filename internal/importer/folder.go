package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/dates"
	"github.com/loa-syndication/loa/internal/frontmatter"
)

// Folder is a directory of files, of which each is an article: Markdown or HTML with front matter
// (package frontmatter, or that of Jekyll, Hugo and their like), or whole HTML pages, as a copy of a portal has them.
type Folder struct {
	Dir  string
	Site string
	// Base is the address at which the folder was, for files that do not name theirs; "" where all do.
	Base string
	Zone *time.Location // as [Feed.Zone]
}

// Items gives the files in the order of their names, the folder's own before those below it.
func (f *Folder) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		root, err := os.OpenRoot(f.Dir) // no link leads out of it
		if err != nil {
			yield(Item{}, fmt.Errorf("open the folder: %w", err))
			return
		}
		defer root.Close()
		files := root.FS()
		err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if hidden := strings.HasPrefix(entry.Name(), ".") && name != "."; hidden || entry.IsDir() {
				if hidden && entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if slices.Contains([]string{".md", ".markdown", ".html", ".htm"}, strings.ToLower(path.Ext(name))) && !yield(f.item(files, name), nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Item{}, fmt.Errorf("read the folder %s: %w", f.Dir, err))
		}
	}
}

// item makes an item of a file.
func (f *Folder) item(files fs.FS, name string) Item {
	item := Item{Where: name, Article: events.Article{Site: f.Site, ID: stableID(strings.TrimSuffix(name, path.Ext(name)))}}
	data, err := readFile(files, name)
	if err != nil {
		item.Problem = err.Error()
		return item
	}
	if text := strings.TrimPrefix(string(data), "\ufeff"); strings.HasPrefix(text, "---\n") || strings.HasPrefix(text, "---\r\n") {
		f.withFrontMatter(&item, files, name, data)
	} else if ext := strings.ToLower(path.Ext(name)); ext == ".md" || ext == ".markdown" {
		item.Problem = `expected front matter between two lines of "---", with at least the title`
	} else {
		f.page(&item, name, data)
	}
	a := &item.Article
	if a.URL == "" && f.Base != "" {
		if base, err := url.Parse(strings.TrimSuffix(f.Base, "/") + "/"); err == nil {
			a.URL = resolve(base, (&url.URL{Path: name}).String())
		}
	}
	if a.URL == "" && item.Problem == "" {
		item.Problem = "it names no address, and no address of the folder was given (--url)"
	}
	if item.Problem == "" {
		finish(&item)
	}
	return item
}

func readFile(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("expected a regular file")
	}
	if info.Size() > frontmatter.MaxFile {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", frontmatter.MaxFile, info.Size())
	}
	return fs.ReadFile(files, name)
}

// withFrontMatter reads a file that a person wrote, for Loa or for a generator of static sites.
func (f *Folder) withFrontMatter(item *Item, files fs.FS, name string, data []byte) {
	a, local, err := frontmatter.Parse(path.Base(name), data)
	if err != nil {
		if other, pictures, ok := f.foreign(item, name, data); ok {
			a, local, err = other, pictures, nil
		}
	}
	if item.Problem != "" {
		return
	}
	var dir fs.FS
	if err == nil {
		dir, err = fs.Sub(files, path.Dir(name))
	}
	if err == nil {
		err = frontmatter.Embed(&a, local, dir)
	}
	if err != nil {
		item.Problem = err.Error()
		return
	}
	if a.ID == "" {
		a.ID = item.Article.ID
	}
	if a.Site == "" {
		a.Site = f.Site
	}
	if a.Version = 0; a.Site != f.Site {
		item.Problem = fmt.Sprintf("it is of the site %s, and %s is imported", a.Site, f.Site)
	}
	item.Article = a
}

// page reads a whole HTML page: what it is called and when it was published from where pages commonly say
// it, and the article out of what is around it.
func (f *Folder) page(item *Item, name string, data []byte) {
	decoded, err := decodeHTML(data)
	if err != nil {
		item.Problem = err.Error()
		return
	}
	doc, err := html.Parse(strings.NewReader(decoded))
	if err != nil {
		item.Problem = "its HTML cannot be read: " + err.Error()
		return
	}
	p := survey(doc)
	a := &item.Article
	base, _ := url.Parse("http://invalid.invalid/")
	if f.Base != "" {
		if u, err := url.Parse(strings.TrimSuffix(f.Base, "/") + "/" + (&url.URL{Path: name}).EscapedPath()); err == nil {
			base = u
		}
	}
	if a.URL = resolve(base, p.address); strings.HasPrefix(a.URL, "http://invalid.invalid") {
		a.URL = ""
	}
	if a.URL != "" {
		if u, err := url.Parse(a.URL); err == nil {
			base = u
		}
	}
	a.Title, a.Summary, a.Language = plain(p.title), plain(p.description), language(p.language)
	if p.author != "" {
		addAuthor(a, p.author)
	}
	if p.section != "" {
		addCategory(a, p.section)
	}
	for _, tag := range p.tags {
		addTag(a, tag)
	}
	if p.content == nil {
		item.Problem = "it has no text"
		return
	}
	var body strings.Builder
	for c := range p.content.ChildNodes() {
		if err := html.Render(&body, c); err != nil {
			item.Problem = "its HTML cannot be read: " + err.Error()
			return
		}
	}
	a.Body = strings.TrimSpace(body.String())
	if picture := resolve(base, p.picture); picture != "" && !strings.HasPrefix(picture, "http://invalid.invalid") {
		addImage(a, events.Image{URL: picture})
	}
	if p.published != "" || p.modified != "" {
		item.Problem = times(a, p.published, p.modified, f.Zone)
	}
}

// pageFacts are what a page says of its article.
type pageFacts struct {
	title, description, address, language, author, section string
	published, modified, picture                           string
	tags                                                   []string
	content                                                *html.Node
	heading, windowTitle                                   string
	dated                                                  string // the text of an element that is called a date
	shows                                                  *html.Node
}

// metas are the names under which pages say things in their head.
var metas = map[string]func(*pageFacts, string){
	"og:title":               func(p *pageFacts, s string) { p.title = s },
	"dc.title":               func(p *pageFacts, s string) { first(&p.title, s) },
	"og:description":         func(p *pageFacts, s string) { p.description = s },
	"description":            func(p *pageFacts, s string) { first(&p.description, s) },
	"og:url":                 func(p *pageFacts, s string) { first(&p.address, s) },
	"og:image":               func(p *pageFacts, s string) { first(&p.picture, s) },
	"author":                 func(p *pageFacts, s string) { first(&p.author, s) },
	"dc.creator":             func(p *pageFacts, s string) { first(&p.author, s) },
	"article:section":        func(p *pageFacts, s string) { first(&p.section, s) },
	"article:tag":            func(p *pageFacts, s string) { p.tags = append(p.tags, s) },
	"article:published_time": func(p *pageFacts, s string) { p.published = s },
	"datepublished":          func(p *pageFacts, s string) { first(&p.published, s) },
	"pubdate":                func(p *pageFacts, s string) { first(&p.published, s) },
	"dc.date":                func(p *pageFacts, s string) { first(&p.published, s) },
	"dc.date.issued":         func(p *pageFacts, s string) { first(&p.published, s) },
	"dcterms.created":        func(p *pageFacts, s string) { first(&p.published, s) },
	"dcterms.issued":         func(p *pageFacts, s string) { first(&p.published, s) },
	"article:modified_time":  func(p *pageFacts, s string) { p.modified = s },
	"datemodified":           func(p *pageFacts, s string) { first(&p.modified, s) },
	"dcterms.modified":       func(p *pageFacts, s string) { first(&p.modified, s) },
	"last-modified":          func(p *pageFacts, s string) { first(&p.modified, s) },
}

func first(to *string, s string) {
	if *to == "" {
		*to = s
	}
}

// datedElement is how portals call the element that shows the date.
var datedElement = regexp.MustCompile(`(?i)(^|[-_ ])(date|datetime|ngay|ngaydang|ngay-dang|thoigian|time|post-?date|publish(ed)?)($|[-_ ])`)

// survey collects what a page says, and takes out what is no text.
func survey(doc *html.Node) *pageFacts {
	p := &pageFacts{}
	var body, main, story *html.Node
	var remove []*html.Node
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attribute := func(key string) string {
			for _, a := range n.Attr {
				if a.Key == key {
					return strings.TrimSpace(a.Val)
				}
			}
			return ""
		}
		switch n.DataAtom {
		case atom.Html:
			p.language = attribute("lang")
		case atom.Title:
			first(&p.windowTitle, inner(n))
		case atom.Meta:
			for _, key := range []string{"property", "name", "itemprop", "http-equiv"} {
				if set := metas[strings.ToLower(attribute(key))]; set != nil && attribute("content") != "" {
					set(p, attribute("content"))
				}
			}
		case atom.Link:
			if strings.EqualFold(attribute("rel"), "canonical") {
				p.address = attribute("href")
			}
		case atom.Time:
			if when := attribute("datetime"); when != "" {
				first(&p.dated, when)
			} else {
				first(&p.dated, inner(n))
			}
		case atom.H1:
			first(&p.heading, inner(n))
		case atom.Body:
			body = n
		case atom.Main:
			main = n
		case atom.Article:
			if story == nil {
				story = n
			}
		case atom.Script, atom.Style, atom.Nav, atom.Header, atom.Footer, atom.Aside, atom.Form, atom.Noscript, atom.Iframe:
			remove = append(remove, n)
		default:
			if datedElement.MatchString(attribute("class")) || datedElement.MatchString(attribute("id")) {
				if text := inner(n); len(text) < 100 {
					if _, err := dates.Parse(text, dates.HoChiMinh); err == nil && p.dated == "" {
						p.dated, p.shows = text, n
					}
				}
			}
		}
	}
	if p.shows != nil { // it is said beside the text, not in it
		remove = append(remove, p.shows)
	}
	for _, n := range remove {
		if n.Parent != nil {
			n.Parent.RemoveChild(n)
		}
	}
	if p.content = story; story == nil {
		if p.content = main; main == nil {
			p.content = body
		}
	}
	first(&p.title, p.heading)
	first(&p.title, p.windowTitle)
	first(&p.published, p.dated)
	dropHeading(p.content)
	return p
}

// dropHeading removes the heading from the text, which has it as its title.
func dropHeading(content *html.Node) {
	if content == nil {
		return
	}
	for n := range content.Descendants() {
		if n.DataAtom == atom.H1 {
			n.Parent.RemoveChild(n)
			return
		}
	}
}

// inner is the text within a node.
func inner(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return fold(b.String())
}

// decodeHTML decodes a page, by what it says itself of its encoding.
func decodeHTML(data []byte) (string, error) {
	if utf8.Valid(data) && byMark(data) == nil {
		return string(data), nil
	}
	e, name, _ := charset.DetermineEncoding(data, "text/html")
	if name == "windows-1252" || name == "utf-8" {
		return string(latin(data)), nil
	}
	decoded, err := e.NewDecoder().Bytes(data)
	if err != nil {
		return "", fmt.Errorf("its encoding %s does not fit: %w", name, err)
	}
	return string(decoded), nil
}
