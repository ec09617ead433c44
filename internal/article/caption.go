package article

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// captioned is a picture in a body, and the caption that it is to have.
type captioned struct {
	img  *html.Node
	text string
}

// put gives the picture a figure with its caption, or its caption to the figure that it has. In
// the middle of a paragraph, where no figure may stand (HTML §4.4.1), the paragraph is parted
// around it. A picture within a line of other markup stays as it is, as does one whose figure
// says something already.
func (c captioned) put() {
	unit := c.img
	if link := unit.Parent; link.DataAtom == atom.A && onlyChild(unit) {
		unit = link
	}
	if figure := ancestor(unit, atom.Figure); figure != nil {
		if find(figure, atom.Figcaption) == nil && count(figure, atom.Img) == 1 {
			figure.AppendChild(c.caption())
		}
		return
	}
	parent := unit.Parent
	if parent.DataAtom != atom.P && !flow[parent.DataAtom] {
		return
	}
	figure := &html.Node{Type: html.ElementNode, Data: "figure", DataAtom: atom.Figure}
	if parent.DataAtom == atom.P {
		rest := &html.Node{Type: html.ElementNode, Data: "p", DataAtom: atom.P, Attr: parent.Attr}
		for next := unit.NextSibling; next != nil; next = unit.NextSibling {
			parent.RemoveChild(next)
			rest.AppendChild(next)
		}
		parent.Parent.InsertBefore(figure, parent.NextSibling)
		if !blank(rest) {
			parent.Parent.InsertBefore(rest, figure.NextSibling)
		}
	} else {
		parent.InsertBefore(figure, unit)
	}
	parent.RemoveChild(unit)
	figure.AppendChild(unit)
	figure.AppendChild(c.caption())
	if parent.DataAtom == atom.P && blank(parent) {
		parent.Parent.RemoveChild(parent)
	}
}

func (c captioned) caption() *html.Node {
	n := &html.Node{Type: html.ElementNode, Data: "figcaption", DataAtom: atom.Figcaption}
	n.AppendChild(&html.Node{Type: html.TextNode, Data: c.text})
	return n
}

// flow are the elements that may hold a figure.
var flow = map[atom.Atom]bool{atom.Body: true, atom.Div: true, atom.Section: true, atom.Article: true, atom.Aside: true,
	atom.Header: true, atom.Footer: true, atom.Blockquote: true, atom.Li: true, atom.Dd: true, atom.Td: true, atom.Th: true,
	atom.Details: true}

func onlyChild(n *html.Node) bool {
	for c := range n.Parent.ChildNodes() {
		if c != n && (c.Type != html.TextNode || strings.TrimSpace(c.Data) != "") {
			return false
		}
	}
	return true
}

// blank reports whether there is nothing to see in n.
func blank(n *html.Node) bool {
	for c := range n.ChildNodes() {
		if c.DataAtom != atom.Br && (c.Type != html.TextNode || strings.TrimSpace(c.Data) != "") {
			return false
		}
	}
	return true
}

func ancestor(n *html.Node, kind atom.Atom) *html.Node {
	for p := n.Parent; p != nil; p = p.Parent {
		if p.DataAtom == kind {
			return p
		}
	}
	return nil
}

func find(n *html.Node, kind atom.Atom) *html.Node {
	for c := range n.Descendants() {
		if c.DataAtom == kind {
			return c
		}
	}
	return nil
}

func count(n *html.Node, kind atom.Atom) (total int) {
	for c := range n.Descendants() {
		if c.DataAtom == kind {
			total++
		}
	}
	return total
}
