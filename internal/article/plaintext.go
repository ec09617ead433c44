package article

import (
	"iter"
	"strings"

	"golang.org/x/net/html"
)

// PlainText gives the text of a body: a line for each paragraph, heading, caption, list item
// and row of a table, without empty lines. It reads any HTML, in time proportional to its
// length.
func PlainText(body string) string {
	var lines []string
	for block := range blocks(body) {
		lines = append(lines, block.text)
	}
	return strings.Join(lines, "\n")
}

// block is a run of text that stands by itself, on one line.
type block struct {
	text string
	// aside is set for what is not part of the story's flow: headings, captions, tables, players.
	aside bool
}

var (
	asides = set("aside audio caption figcaption footer h1 h2 h3 h4 h5 h6 header nav pre table video")
	// unread are elements whose content is no text for readers.
	unread = set("applet button canvas datalist head iframe map math noembed noframes noscript object script select style svg template textarea title")
)

// blocks yields the blocks of body that have text, in order.
func blocks(body string) iter.Seq[block] {
	return func(yield func(block) bool) {
		var (
			text         strings.Builder
			aside, quiet int // how many elements of the kind are open
		)
		flush := func() bool {
			line := strings.Join(strings.Fields(scrub(text.String(), true)), " ")
			text.Reset()
			return line == "" || yield(block{line, aside > 0})
		}
		z := html.NewTokenizer(strings.NewReader(body))
		for {
			tt := z.Next()
			switch tt {
			case html.ErrorToken:
				flush()
				return
			case html.TextToken:
				if quiet == 0 {
					text.Write(z.Text())
				}
				continue
			case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			default:
				continue
			}
			tag, _ := z.TagName()
			name := string(tag)
			step := 1
			switch {
			case tt == html.EndTagToken:
				step = -1
			case voidElements[name]:
				step = 0
			}
			switch {
			case unread[name]:
				quiet = max(0, quiet+step)
			case name == "td", name == "th", name == "br":
				text.WriteByte(' ')
			case blockElements[name], asides[name]:
				if !flush() {
					return
				}
			}
			if asides[name] {
				aside = max(0, aside+step)
			}
		}
	}
}
