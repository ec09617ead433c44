package article

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// balance closes what is left open in markup and drops what was never opened, so that whatever
// reads it next works in linear time: fifty thousand unclosed tags, or elements nested a
// hundred thousand deep, cost an HTML parser quadratic time or, where it must reopen formatting in
// every paragraph, memory without end. It keeps the text and everything else as it is, but for
// comments and document types.
//
// An element's end tag closes what is open inside it; some start tags close what cannot contain
// them (a second <li>, a block in a <p>), by a subset of the rules of HTML ("optional tags").
// Elements nested deeper than maxDepth lose their tags, not their content. More than maxNodes
// tokens are a [*TooLargeError].
func balance(markup string) (string, error) {
	b := balancer{hidden: map[string]int{}}
	b.out.Grow(len(markup) + len(markup)/16)
	z := html.NewTokenizer(strings.NewReader(markup))
	for tokens := 0; ; tokens++ {
		if tokens > maxNodes {
			return "", &TooLargeError{What: "body", Limit: maxNodes, Unit: "tags and texts"}
		}
		switch z.Next() {
		case html.ErrorToken: // the end: reading from a string has no other error
			b.closeTo(0)
			return b.out.String(), nil
		case html.TextToken:
			b.text(z.Raw())
		case html.StartTagToken, html.SelfClosingTagToken:
			raw := z.Raw()
			name, _ := z.TagName()
			b.start(string(name), raw)
		case html.EndTagToken:
			name, _ := z.TagName()
			b.end(string(name))
		}
	}
}

type balancer struct {
	out    strings.Builder
	open   []string       // names of the open elements, the innermost last; at most maxDepth
	hidden map[string]int // elements open below maxDepth, by name: their tags are dropped
}

func (b *balancer) text(raw []byte) {
	if n := len(b.open); n > 0 && rawText[b.open[n-1]] {
		b.out.Write(raw)
		return
	}
	// A "<" that begins no tag must not begin one because what followed it was dropped.
	for {
		i := bytes.IndexByte(raw, '<')
		if i < 0 {
			b.out.Write(raw)
			return
		}
		b.out.Write(raw[:i])
		b.out.WriteString("&lt;")
		raw = raw[i+1:]
	}
}

func (b *balancer) start(name string, raw []byte) {
	b.impliedEnd(name)
	switch {
	case name == "plaintext":
		return // all that follows is text, even its own end tag
	case voidElements[name]:
		b.out.Write(raw)
		return
	case len(b.open) < maxDepth:
		b.open = append(b.open, name)
	case rawText[name]:
		// Its content must be read as text, not as tags: it takes the place of its parent.
		b.closeTo(maxDepth - 1)
		b.open = append(b.open, name)
	default:
		b.hidden[name]++
		return
	}
	if bytes.HasSuffix(raw, []byte("/>")) { // means nothing in HTML, but misleads token by token
		b.out.Write(raw[:len(raw)-1])
		b.out.WriteString(" >")
		return
	}
	b.out.Write(raw)
}

func (b *balancer) end(name string) {
	if b.hidden[name] > 0 {
		b.hidden[name]--
		return
	}
	for i := len(b.open) - 1; i >= 0; i-- {
		if b.open[i] == name {
			b.closeTo(i)
			return
		}
		if tableScope[b.open[i]] && !tablePart[name] || b.open[i] == "table" {
			return // markup inside a cell closes nothing outside it
		}
	}
}

// closeTo closes all but the outermost n open elements.
func (b *balancer) closeTo(n int) {
	for _, name := range slices.Backward(b.open[n:]) {
		b.out.WriteString("</" + name + ">")
	}
	b.open = b.open[:n]
	if n < maxDepth {
		clear(b.hidden)
	}
}

// impliedEnd closes the elements that the start of name ends.
func (b *balancer) impliedEnd(name string) {
	if closesParagraph[name] {
		b.closeNearest("p", "p", func(open string) bool { return tableScope[open] || open == "button" })
	}
	switch name {
	case "li":
		b.closeNearest("li", "li", endsItemSearch)
	case "dt", "dd":
		b.closeNearest("dt", "dd", endsItemSearch)
	case "a":
		b.closeNearest("a", "a", func(open string) bool { return tableScope[open] })
	case "td", "th", "tr", "tbody", "thead", "tfoot":
		for i := len(b.open) - 1; i >= 0 && b.open[i] != "table"; i-- {
			if rank := rowRank[b.open[i]]; rank != 0 && rank <= rowRank[name] {
				b.closeTo(i)
			}
		}
	}
}

// closeNearest closes the innermost open element of either name, unless one that ends the
// search is met first.
func (b *balancer) closeNearest(name, or string, stop func(open string) bool) {
	for i := len(b.open) - 1; i >= 0; i-- {
		open := b.open[i]
		if open == name || open == or {
			b.closeTo(i)
			return
		}
		if stop(open) {
			return
		}
	}
}

// endsItemSearch reports whether a list item outside open is none of a new item's business: only
// text-level elements are passed.
func endsItemSearch(open string) bool {
	return blockElements[open] && open != "p" && open != "div" && open != "address"
}

func set(names string) map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		m[name] = true
	}
	return m
}

// The kinds of elements, as the HTML Standard sorts them.
var (
	voidElements = set("area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr")
	rawText      = set("iframe noembed noframes script style textarea title xmp")
	tableScope   = set("applet caption html marquee object table td template th")
	tablePart    = set("caption colgroup table tbody td tfoot th thead tr")
	// rowRank orders the parts of a table: one ends where another of its rank or above begins.
	rowRank = map[string]int{"caption": 1, "colgroup": 1, "td": 1, "th": 1, "tr": 2, "tbody": 3, "thead": 3, "tfoot": 3}

	closesParagraph = set(`address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer
		form h1 h2 h3 h4 h5 h6 header hgroup hr li dd dt main menu nav ol p pre search section summary table ul`)
	blockElements = set(`address article aside blockquote body button caption center col colgroup dd details dialog dir div dl dt
		fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe
		li main marquee menu nav noscript object ol p pre script search section select style summary table tbody td
		template textarea tfoot th thead title tr ul`)
)
