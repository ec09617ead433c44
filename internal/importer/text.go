package importer

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/unicode/norm"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/viettext"
)

// plain is the text of a piece of HTML, on one line. Of a text without markup it is the text.
func plain(markup string) string {
	if !strings.ContainsAny(markup, "<&") {
		return fold(markup)
	}
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(markup))
	skip := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			return fold(b.String())
		case html.TextToken:
			if skip == 0 {
				b.Write(z.Text())
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			switch atom.Lookup(name) {
			case atom.Script, atom.Style:
				skip++
			case atom.P, atom.Div, atom.Br, atom.Li, atom.Tr, atom.Td, atom.H1, atom.H2, atom.H3, atom.H4:
				b.WriteByte(' ')
			}
		case html.SelfClosingTagToken:
			b.WriteByte(' ')
		case html.EndTagToken:
			name, _ := z.TagName()
			switch atom.Lookup(name) {
			case atom.Script, atom.Style:
				skip = max(skip-1, 0)
			case atom.P, atom.Div, atom.Li, atom.Tr, atom.Td, atom.H1, atom.H2, atom.H3, atom.H4:
				b.WriteByte(' ')
			}
		}
	}
}

// fold makes white space single spaces. The no-break space stays: in text that was decoded wrongly it may be
// half a letter.
func fold(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }), " ")
}

// Lengths of texts, in characters, as the contract has them.
const (
	maxTitle   = 500
	maxSummary = 2000
	maxName    = 200
	maxLabel   = 100
	maxAlt     = 1000
	maxCredit  = 500
	maxNote    = 1000 // copyright
	maxTags    = 64
	maxSlots   = 32 // categories
	maxFiles   = 50 // attachments
	maxImages  = 100
	maxID      = 256
)

var fonts = regexp.MustCompile(`(?i)(?:\bface\s*=|font-family\s*:)\s*["']?([^;>]{1,60})`)

// toUnicode converts an item's texts from the encodings that came before Unicode, or says why it does not.
func toUnicode(item *Item) {
	a := &item.Article
	var hint viettext.Encoding
	for _, m := range fonts.FindAllStringSubmatch(a.Body, 20) {
		if e, ok := viettext.Hint(m[1]); ok {
			hint = e
			break
		}
	}
	all := []string{a.Title, a.Summary, plain(a.Body)}
	switch e := viettext.Detect(strings.Join(all, "\n"), hint); e {
	case viettext.Unicode:
	case viettext.Unsure:
		item.Problem = "its text looks like Vietnamese in an older encoding (TCVN3, VNI or VPS), but does not convert: it has to be converted at its source"
	default:
		item.Converted = string(e)
		body, ok := convertHTML(a.Body, e)
		if !ok {
			item.Problem = "its text is in " + string(e) + ", and its HTML is too broken to be converted"
			return
		}
		a.Body = body
		for _, s := range texts(a) {
			*s = e.Mend(*s, false)
		}
	}
}

// texts are an article's texts that are not HTML.
func texts(a *events.Article) []*string {
	all := []*string{&a.Title, &a.Summary}
	for i := range a.Authors {
		all = append(all, &a.Authors[i].Name)
	}
	for i := range a.Categories {
		all = append(all, &a.Categories[i].Label)
	}
	for i := range a.Tags {
		all = append(all, &a.Tags[i])
	}
	for i := range a.Images {
		all = append(all, &a.Images[i].Alt, &a.Images[i].Caption, &a.Images[i].Credit)
	}
	for i := range a.Attachments {
		all = append(all, &a.Attachments[i].Title)
	}
	return all
}

// convertHTML converts the texts of a piece of HTML; false, if it cannot be read.
func convertHTML(body string, e viettext.Encoding) (string, bool) {
	context := &html.Node{Type: html.ElementNode, Data: "div", DataAtom: atom.Div}
	nodes, err := html.ParseFragment(strings.NewReader(body), context)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	for _, n := range nodes {
		for d := range n.Descendants() {
			convertNode(d, e)
		}
		convertNode(n, e)
		if err := html.Render(&b, n); err != nil {
			return "", false
		}
	}
	return b.String(), true
}

func convertNode(n *html.Node, e viettext.Encoding) {
	if n.Type == html.TextNode {
		n.Data = e.Mend(n.Data, true)
	}
	for i := range n.Attr {
		if k := n.Attr[i].Key; k == "alt" || k == "title" {
			n.Attr[i].Val = e.Mend(n.Attr[i].Val, true)
		}
	}
}

// slug makes a category's id of its label: "Thông báo" becomes "thong-bao".
func slug(label string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(label, "đ", "d"), "Đ", "d"))) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r):
		default:
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
	}
	s := strings.Trim(b.String(), "-")
	if len(s) > maxSlug {
		s = strings.Trim(s[:maxSlug], "-")
	}
	if s == "" { // of another script
		sum := sha256.Sum256([]byte(label))
		s = "c-" + hex.EncodeToString(sum[:4])
	}
	return s
}

const maxSlug = 64

// stableID makes an article's id of what its source calls it. One that the contract does not take
// is replaced by its hash.
func stableID(id string) string {
	id = norm.NFC.String(strings.TrimSpace(strings.ToValidUTF8(id, "\uFFFD")))
	if utf8.RuneCountInString(id) > maxID || strings.ContainsFunc(id, unicode.IsControl) {
		sum := sha256.Sum256([]byte(id))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return id
}

var languageTag = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)

// language is a BCP 47 tag, or "" for what is none.
func language(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "_", "-")
	if len(s) > 35 || !languageTag.MatchString(s) {
		return ""
	}
	return s
}

// addCategory adds a category, once. Its id is made by finish, when the label is in Unicode.
func addCategory(a *events.Article, label string) {
	c := events.Category{Label: plain(label)}
	if c.Label != "" && len(a.Categories) < maxSlots && !slices.Contains(a.Categories, c) {
		a.Categories = append(a.Categories, c)
	}
}

// addTag adds a tag, once.
func addTag(a *events.Article, tag string) {
	if tag = plain(tag); tag != "" && len(a.Tags) < maxTags && !slices.Contains(a.Tags, tag) {
		a.Tags = append(a.Tags, tag)
	}
}

// addAuthor adds an author, once.
func addAuthor(a *events.Article, name string) {
	author := events.Author{Name: plain(name)}
	if author.Name != "" && len(a.Authors) < maxFiles && !slices.Contains(a.Authors, author) {
		a.Authors = append(a.Authors, author)
	}
}

// addImage adds a picture, once; the first one leads.
func addImage(a *events.Article, img events.Image) {
	img.Alt, img.Caption, img.Credit = plain(img.Alt), plain(img.Caption), plain(img.Credit)
	i := slices.IndexFunc(a.Images, func(have events.Image) bool { return have.URL == img.URL })
	switch {
	case img.URL == "" || len(a.Images) == maxImages:
	case i >= 0:
		a.Images[i].Alt = cmp.Or(a.Images[i].Alt, img.Alt)
	default:
		if img.Role = events.RoleGallery; len(a.Images) == 0 {
			img.Role = events.RoleLead
		}
		a.Images = append(a.Images, img)
	}
}

// finish converts an item's texts and brings them to the lengths of the contract.
func finish(item *Item) {
	a := &item.Article
	toUnicode(item)
	if a.Title == "" {
		a.Title = article.Text(plain(a.Body), untitledLength)
	}
	a.Title, a.Summary = article.Text(a.Title, maxTitle), article.Text(a.Summary, maxSummary)
	if a.Title == "" && item.Problem == "" {
		item.Problem = "it has neither title nor text"
	}
	for i := range a.Authors {
		a.Authors[i].Name = article.Text(a.Authors[i].Name, maxName)
	}
	a.Authors = slices.DeleteFunc(a.Authors, func(au events.Author) bool { return au.Name == "" })
	for i := range a.Categories {
		a.Categories[i].Label = article.Text(a.Categories[i].Label, maxLabel)
		a.Categories[i].ID = slug(a.Categories[i].Label)
	}
	a.Categories = slices.CompactFunc(a.Categories, func(x, y events.Category) bool { return x.ID == y.ID })
	a.Categories = slices.DeleteFunc(a.Categories, func(c events.Category) bool { return c.Label == "" })
	for i := range a.Tags {
		a.Tags[i] = article.Text(a.Tags[i], maxLabel)
	}
	a.Tags = slices.DeleteFunc(a.Tags, func(t string) bool { return t == "" })
	for i := range a.Images {
		img := &a.Images[i]
		img.Alt, img.Caption, img.Credit = article.Text(img.Alt, maxAlt), article.Text(img.Caption, maxSummary), article.Text(img.Credit, maxCredit)
	}
	for i := range a.Attachments {
		a.Attachments[i].Title = article.Text(a.Attachments[i].Title, maxName)
	}
}

// untitledLength is how much of its text stands for a missing title, in characters.
const untitledLength = 80

var (
	mediaType   = regexp.MustCompile(`^[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}$`)
	pictureFile = regexp.MustCompile(`(?i)\.(jpe?g|png|gif|webp|avif|heic)$`)
)

// pictureName reports whether an address looks like that of a picture.
func pictureName(address string) bool {
	address, _, _ = strings.Cut(address, "?")
	return pictureFile.MatchString(address)
}
