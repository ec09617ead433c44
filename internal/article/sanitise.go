package article

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Limits of a body. News is far below them; an article above them could not be read, pushed or
// put into a feed.
const (
	// maxInput is what a CMS may send, in bytes: pictures pasted into the text as data: URLs,
	// which are dropped, count too.
	maxInput = 8 << 20
	// maxBody is the largest sanitised body, in bytes: fifty of them, a full feed, are 25 MiB.
	maxBody = 512 << 10
	// maxNodes is the greatest number of tags and texts.
	maxNodes = 50_000
	// maxDepth is how deep elements nest; readers' parsers give up at 200 to 512.
	maxDepth = 64
	// maxRounds is how often a tree is rendered and parsed again until both agree; two rounds
	// settle all but hostile markup.
	maxRounds = 8
)

// TooLargeError says that a body exceeds a limit. It will exceed it the next time too.
type TooLargeError struct {
	What  string // what is too large
	Limit int
	Unit  string // of Limit
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s is larger than the limit of %d %s", e.What, e.Limit, e.Unit)
}

// SanitiseOptions say what a body's addresses mean.
type SanitiseOptions struct {
	// Base is the article's page, against which relative addresses are resolved. Without it
	// they are removed.
	Base *url.URL
	// Image gives the stored picture for an absolute address, in the form of [ResolveLink], or
	// for "cid:" and a ContentID; with Stored, also another form of one that is stored. It may be nil.
	Image func(src string) (Picture, bool)
	// Stored says that the body is one that was sanitised before: pictures that are stored
	// already ([MediaScheme]) stay. In a CMS's body they are removed.
	Stored bool

	// captions are of pictures that stand in no figure yet.
	captions []captioned
}

// Picture is a stored picture, as a body shows it.
type Picture struct {
	Src    string // MediaScheme and the object's key
	SrcSet string // of the same kind
	Sizes  string
	// Width and Height are pixels; 0 when unknown.
	Width, Height int
	// Alt is used where the author wrote none.
	Alt string
	// Caption is plain text, for a picture that the author gave no figure with a caption.
	Caption string
}

// Sanitise makes a CMS's HTML safe to show anywhere. What remains is text, structure, links,
// pictures, tables and players for sound and film, by an allowlist; all addresses are absolute
// http or https ones (links may be mailto: and tel: too), the elements are balanced, and the
// text is as [Chars] makes it. Parsing the result gives the tree that it was rendered from, and
// sanitising it again changes nothing. It takes time in proportion to the body's length.
//
// Its errors are [*TooLargeError].
func Sanitise(body string, opts SanitiseOptions) (string, error) {
	if len(body) > maxInput {
		return "", &TooLargeError{What: "body", Limit: maxInput, Unit: "bytes"}
	}
	body, err := balance(body)
	if err != nil {
		return "", err
	}
	root, err := parseBody(policy.Sanitize(body))
	if err != nil {
		return "", err
	}
	opts.rewrite(root)
	for _, c := range opts.captions {
		c.put()
	}
	return settle(root)
}

// settle renders root, and parses and renders that again until nothing changes. The first
// round is enough for a tree that HTML can express; the HTML parser also makes others (a link in a
// table in a link).
func settle(root *html.Node) (string, error) {
	tidy(root, 1)
	out := render(root)
	for range maxRounds {
		if len(out) > maxBody {
			return "", &TooLargeError{What: "sanitised body", Limit: maxBody, Unit: "bytes"}
		}
		again, err := parseBody(out)
		if err != nil {
			return "", err
		}
		tidy(again, 1)
		next := render(again)
		if next == out {
			return out, nil
		}
		out = next
	}
	// Markup that means something else at every reading: its text is all that can be had.
	var b strings.Builder
	for line := range strings.SplitSeq(PlainText(out), "\n") {
		if line != "" {
			b.WriteString("<p>" + html.EscapeString(line) + "</p>")
		}
	}
	return b.String(), nil
}

// parseBody parses a fragment as the content of a body, under one root.
func parseBody(s string) (*html.Node, error) {
	root := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
	nodes, err := html.ParseFragment(strings.NewReader(s), root)
	if err != nil { // nesting beyond what balance lets through is the only cause
		return nil, &TooLargeError{What: "nesting of the body", Limit: maxDepth, Unit: "levels"}
	}
	for _, n := range nodes {
		root.AppendChild(n)
	}
	return root, nil
}

func render(root *html.Node) string {
	var b strings.Builder
	for n := range root.ChildNodes() {
		_ = html.Render(&b, n) // a Builder takes everything
	}
	return b.String()
}

// tidy puts the text below n in order, drops what makes no sense where it stands, and unwraps
// elements below maxDepth (depth is that of n's children, from 1): the parser adds some of its own.
func tidy(n *html.Node, depth int) {
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		switch {
		case c.Type == html.TextNode:
			c.Data = Chars(c.Data)
			if c.Data == "" {
				n.RemoveChild(c)
			}
		case depth > maxDepth && !voidElements[c.Data]:
			if c.FirstChild != nil {
				next = c.FirstChild
			}
			unwrap(c)
		default:
			tidy(c, depth+1)
			if misplaced(c) {
				n.RemoveChild(c)
			}
		}
		c = next
	}
}

// misplaced reports whether n, whose children are tidy, is nothing without what is around it or in it.
func misplaced(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Source:
		return !isPlayer(n.Parent)
	case atom.Audio, atom.Video:
		for c := range n.ChildNodes() {
			if c.DataAtom == atom.Source {
				return false
			}
		}
		return attr(n, "src") == ""
	case atom.Figure:
		return !hasContent(n)
	}
	return false
}

func isPlayer(n *html.Node) bool { return n.DataAtom == atom.Audio || n.DataAtom == atom.Video }

// hasContent reports whether a figure holds anything but its caption: when its picture or film
// could not stay, the caption alone would mislead.
func hasContent(n *html.Node) bool {
	for c := range n.ChildNodes() {
		switch {
		case c.Type == html.TextNode:
			if strings.TrimSpace(c.Data) != "" {
				return true
			}
		case c.DataAtom == atom.Figcaption:
		case c.DataAtom == atom.Img, isPlayer(c), hasContent(c):
			return true
		}
	}
	return false
}

// unwrap replaces n by its children.
func unwrap(n *html.Node) {
	for c := n.FirstChild; c != nil; c = n.FirstChild {
		n.RemoveChild(c)
		n.Parent.InsertBefore(c, n)
	}
	n.Parent.RemoveChild(n)
}

// policy is the allowlist of elements and attributes. Addresses are not its business: it
// passes "//host" and srcset, and drops pictures with a space in their name; rewrite decides
// about them, by the scheme that a browser would see.
var policy = newPolicy()

func newPolicy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowNoAttrs().OnElements(
		"p", "br", "hr", "wbr", "div", "section", "article", "aside", "header", "footer", "address", "details", "summary",
		"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "blockquote", "figure", "figcaption", "pre",
		"table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td",
		"a", "abbr", "b", "bdi", "cite", "code", "del", "dfn", "em", "i", "ins", "kbd", "mark", "q", "s", "samp",
		"small", "span", "strong", "sub", "sup", "time", "u", "var", "ruby", "rt", "rp",
		"img", "audio", "video", "source",
	)
	p.AllowAttrs("title").Globally()
	p.AllowAttrs("lang").Matching(regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`)).Globally()
	p.AllowAttrs("dir").Matching(regexp.MustCompile(`^(ltr|rtl|auto)$`)).Globally()
	p.AllowAttrs("href", "rel").OnElements("a")
	p.AllowAttrs("cite").OnElements("blockquote", "q", "del", "ins")
	p.AllowAttrs("datetime").Matching(regexp.MustCompile(`^[0-9TZ:. +-]{4,35}$`)).OnElements("time", "del", "ins")
	// Numbers are short: a cell that spans a billion columns is an attack on whoever lays it out.
	short := regexp.MustCompile(`^[1-9][0-9]{0,2}$`)
	p.AllowAttrs("colspan", "rowspan").Matching(short).OnElements("td", "th")
	p.AllowAttrs("span").Matching(short).OnElements("col", "colgroup")
	p.AllowAttrs("scope").Matching(regexp.MustCompile(`^(row|col)(group)?$`)).OnElements("th")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,5}$`)).OnElements("ol")
	p.AllowAttrs("value").Matching(regexp.MustCompile(`^[0-9]{1,5}$`)).OnElements("li")
	p.AllowAttrs("type").Matching(regexp.MustCompile(`^[1aAiI]$`)).OnElements("ol")
	p.AllowAttrs("reversed").OnElements("ol")
	p.AllowAttrs("open").OnElements("details")
	p.AllowAttrs("src", "data-src", "data-original", "srcset", "alt", "loading").OnElements("img")
	p.AllowAttrs("sizes").Matching(regexp.MustCompile(`^[A-Za-z0-9 ().,:%<>=*/+-]{1,500}$`)).OnElements("img")
	p.AllowAttrs("width", "height").Matching(regexp.MustCompile(`^[0-9]{1,5}$`)).OnElements("img", "video")
	p.AllowAttrs("src").OnElements("audio", "video", "source")
	p.AllowAttrs("poster").OnElements("video")
	p.AllowAttrs("type").Matching(regexp.MustCompile(`^(audio|video)/[A-Za-z0-9.+-]{1,60}$`)).OnElements("source")
	// What a reader would not see as text goes with its content; a frame has none.
	p.SkipElementsContent("applet", "button", "canvas", "datalist", "map", "math", "select", "svg", "template", "textarea")
	p.AllowElementsContent("frame", "frameset", "nostyle")
	return p
}
