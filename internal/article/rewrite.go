package article

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// rewrite makes the addresses below n absolute and shows the stored pictures. An element that
// lost the address without which it is nothing goes; a link leaves its text.
func (o *SanitiseOptions) rewrite(n *html.Node) {
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		if c.Type == html.ElementNode {
			o.rewrite(c)
			if !o.element(c) {
				if c.DataAtom == atom.A || c.DataAtom == atom.Span {
					unwrap(c)
				} else {
					n.RemoveChild(c)
				}
			}
		}
		c = next
	}
}

// element rewrites the attributes of n, whose children are done, and reports whether n is
// still of use.
func (o *SanitiseOptions) element(n *html.Node) bool {
	attrs := n.Attr
	n.Attr = nil
	for _, a := range attrs {
		if _, twice := findAttr(n, a.Key); twice { // the first one counts, as in a browser
			continue
		}
		switch a.Key {
		case "title", "alt":
			a.Val = Chars(a.Val)
		case "reversed", "open":
			a.Val = ""
		case "cite", "poster":
			var ok bool
			if a.Val, ok = ResolveLink(o.Base, a.Val); !ok {
				continue
			}
		}
		n.Attr = append(n.Attr, a)
	}
	switch n.DataAtom {
	case atom.A:
		return o.link(n)
	case atom.Span:
		return len(n.Attr) > 0
	case atom.Img:
		return o.image(n)
	case atom.Audio, atom.Video:
		o.player(n)
	case atom.Source:
		return o.resolveSrc(n)
	}
	return true
}

// linkRelations are the values of rel that say something about the target.
var linkRelations = set("external license nofollow noopener noreferrer sponsored ugc")

// link makes the address of a link absolute. One that leads to another host is rel="noopener".
func (o *SanitiseOptions) link(n *html.Node) bool {
	href, ok := resolveHref(o.Base, attr(n, "href"))
	if !ok {
		return false
	}
	var rel []string
	for r := range strings.FieldsSeq(strings.ToLower(attr(n, "rel"))) {
		if linkRelations[r] && !slices.Contains(rel, r) {
			rel = append(rel, r)
		}
	}
	u, err := url.Parse(href)
	external := err == nil && u.Host != "" && (o.Base == nil || !strings.EqualFold(u.Host, o.Base.Host))
	if external && !slices.Contains(rel, "noopener") {
		rel = append(rel, "noopener")
	}
	setAttr(n, "href", href)
	setAttr(n, "rel", strings.Join(rel, " "))
	return true
}

// sourceAttrs are where a picture's address is looked for: pages that load pictures late hold
// it in data-src, and a blank in src.
var sourceAttrs = [...]string{"data-src", "data-original", "src"}

// image shows the stored picture where there is one, and any other at its absolute address.
func (o *SanitiseOptions) image(n *html.Node) bool {
	var (
		p      Picture
		stored bool
	)
	for _, key := range sourceAttrs {
		if p, stored = o.picture(attr(n, key)); p.Src != "" {
			break
		}
	}
	if p.Src == "" {
		return false
	}
	alt, described := findAttr(n, "alt")
	if !described && stored {
		alt = Chars(p.Alt)
		described = alt != ""
	}
	width, height := pixels(p.Width), pixels(p.Height)
	if !stored {
		if p.SrcSet = resolveSrcset(attr(n, "srcset"), o.pictureAddress); p.SrcSet != "" {
			p.Sizes = attr(n, "sizes")
		}
		width, height = attr(n, "width"), attr(n, "height")
	}
	title, lang, dir := attr(n, "title"), attr(n, "lang"), attr(n, "dir")

	n.Attr = nil
	setAttr(n, "src", p.Src)
	setAttr(n, "srcset", p.SrcSet)
	setAttr(n, "sizes", p.Sizes)
	if described { // an empty alt says that the picture adorns
		n.Attr = append(n.Attr, html.Attribute{Key: "alt", Val: alt})
	}
	setAttr(n, "title", title)
	setAttr(n, "lang", lang)
	setAttr(n, "dir", dir)
	setAttr(n, "width", width)
	setAttr(n, "height", height)
	setAttr(n, "loading", "lazy")
	if caption := Chars(p.Caption); stored && caption != "" {
		o.captions = append(o.captions, captioned{n, caption})
	}
	return true
}

// contentID begins the address of a picture that came inside the event (RFC 2392).
const contentID = "cid:"

// picture gives the stored picture that ref means, or else a Picture of its absolute address
// alone; without an address when ref means nothing.
func (o *SanitiseOptions) picture(ref string) (p Picture, stored bool) {
	ref = strings.TrimSpace(ref)
	address, ok := o.pictureAddress(ref)
	cid := len(ref) > len(contentID) && strings.EqualFold(ref[:len(contentID)], contentID)
	if cid {
		address = contentID + ref[len(contentID):]
	} else if !ok {
		return Picture{}, false
	}
	if o.Image != nil {
		if p, ok := o.Image(address); ok {
			return p, true
		}
	}
	if cid {
		return Picture{}, false
	}
	return Picture{Src: address}, false
}

// mediaAddress is the address of a stored picture.
var mediaAddress = regexp.MustCompile(`^` + MediaScheme + `[A-Za-z0-9._/-]+$`)

// pictureAddress is [ResolveLink], but keeps a stored picture's address in a body of Loa's own.
func (o *SanitiseOptions) pictureAddress(ref string) (string, bool) {
	if o.Stored && mediaAddress.MatchString(ref) {
		return ref, true
	}
	return ResolveLink(o.Base, ref)
}

func pixels(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// player gives sound and film controls, and loads them only when asked to.
func (o *SanitiseOptions) player(n *html.Node) {
	o.resolveSrc(n)
	n.Attr = append(n.Attr, html.Attribute{Key: "controls"})
	setAttr(n, "preload", "none")
}

func (o *SanitiseOptions) resolveSrc(n *html.Node) bool {
	src, ok := ResolveLink(o.Base, attr(n, "src"))
	if !ok {
		src = ""
	}
	setAttr(n, "src", src)
	return ok
}

func attr(n *html.Node, key string) string {
	v, _ := findAttr(n, key)
	return v
}

func findAttr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

// setAttr sets an attribute of n, in its place if it has one; an empty value removes it.
func setAttr(n *html.Node, key, val string) {
	i := slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
	switch {
	case val == "" && i >= 0:
		n.Attr = slices.Delete(n.Attr, i, i+1)
	case val == "":
	case i >= 0:
		n.Attr[i].Val = val
	default:
		n.Attr = append(n.Attr, html.Attribute{Key: key, Val: val})
	}
}
