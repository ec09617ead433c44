package importer

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"
	"github.com/mmcdole/gofeed/atom"
	feedjson "github.com/mmcdole/gofeed/json"
	"github.com/mmcdole/gofeed/rss"

	"github.com/loa-syndication/loa/internal/dates"
)

const (
	// maxDepth bounds how deep elements may lie in each other: gofeed goes down by recursion, and a
	// few megabytes of opening tags would end the process.
	maxDepth = 100
	// maxItems bounds the items of one document.
	maxItems = 20_000
)

// document is one document of a feed, in whichever format.
type document struct {
	feed *gofeed.Feed
	// next leads to older items (RFC 5005 §3 and §4; JSON Feed's next_url); "" at the end.
	next string
	// complete says that what is not in the document is not there any more (RFC 5005 §2).
	complete bool
	// wordPress says that older items are at ?paged=2 and so on.
	wordPress bool
	gone      []tombstone
	// ttl is how long the feed asks to be left alone; 0 if it does not say.
	ttl time.Duration
}

// tombstone is an entry that was deleted (RFC 6721).
type tombstone struct {
	ref string
	Gone
}

// errNoFeed says that a document is no feed.
var errNoFeed = errors.New("this is no RSS, Atom or JSON feed")

// parseDocument reads a feed. base is where it came from.
func parseDocument(body []byte, contentType string, base *url.URL) (d *document, err error) {
	defer func() { // gofeed is given what anybody wrote
		if p := recover(); p != nil {
			d, err = nil, fmt.Errorf("read %s: the parser gave up: %v", base.Redacted(), p)
		}
	}()
	d = &document{}
	if trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n"); bytes.HasPrefix(trimmed, []byte("{")) {
		body = trimmed
	} else {
		body = toUTF8(body, contentType)
		if err := d.survey(body, base); err != nil {
			return nil, fmt.Errorf("read %s: %w", base.Redacted(), err)
		}
	}
	parser := gofeed.NewParser()
	parser.KeepOriginalFeed = true
	if d.feed, err = parser.Parse(bytes.NewReader(body)); err != nil {
		if errors.Is(err, gofeed.ErrFeedTypeNotDetected) {
			err = errNoFeed
		}
		return nil, fmt.Errorf("read %s: %w", base.Redacted(), err)
	}
	if n := len(d.feed.Items); n > maxItems {
		return nil, fmt.Errorf("read %s: expected at most %d items, found %d", base.Redacted(), maxItems, n)
	}
	d.wordPress = strings.Contains(d.feed.Generator, "wordpress.org")
	switch original := d.feed.OriginalFeed().(type) {
	case *feedjson.Feed:
		d.next = resolve(base, original.NextURL)
		for i, item := range original.Items {
			if item.ContentHTML == "" && item.ContentText != "" && i < len(d.feed.Items) {
				d.feed.Items[i].Content = paragraphs(item.ContentText)
			}
		}
	case *rss.Feed:
		if minutes, err := strconv.Atoi(strings.TrimSpace(original.TTL)); err == nil && minutes > 0 {
			d.ttl = time.Duration(min(minutes, 7*24*60)) * time.Minute
		}
	case *atom.Feed:
		for i, entry := range original.Entries {
			if c := entry.Content; c != nil && (c.Type == "" || c.Type == "text") && i < len(d.feed.Items) {
				d.feed.Items[i].Content = paragraphs(c.Value)
			}
		}
	}
	return d, nil
}

// paragraphs is plain text as HTML.
func paragraphs(text string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if part = strings.TrimSpace(part); part != "" {
			b.WriteString("<p>" + strings.ReplaceAll(html.EscapeString(part), "\n", "<br>") + "</p>")
		}
	}
	return b.String()
}

// survey goes through a document once before gofeed does: it must not lie too deep, and where it leads
// to, which entries it takes back and whether it is complete are not in what gofeed gives of every format.
func (d *document) survey(body []byte, base *url.URL) error {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	decoder.Strict = false
	decoder.Entity = xml.HTMLEntity
	var next, previous string
	var path []string
	for {
		token, err := decoder.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			break // gofeed is more patient, and says what is wrong
		}
		switch t := token.(type) {
		case xml.StartElement:
			if path = append(path, t.Name.Local); len(path) > maxDepth {
				return fmt.Errorf("expected elements at most %d deep", maxDepth)
			}
			if len(path) > 3 {
				continue
			}
			// The usual prefixes are taken for the name spaces: feeds that have others are not seen in the
			// wild, and gofeed goes by them as well.
			attribute := func(name string) string {
				for _, a := range t.Attr {
					if a.Name.Local == name {
						return a.Value
					}
				}
				return ""
			}
			switch within := path[len(path)-1]; {
			case within == "link" && !contains(path, "entry", "item"):
				switch attribute("rel") {
				case "next":
					next = attribute("href")
				case "prev-archive":
					previous = attribute("href")
				}
			case within == "complete" && !contains(path, "entry", "item"):
				d.complete = true
			case within == "deleted-entry":
				gone := tombstone{ref: attribute("ref")}
				if when, err := dates.Parse(attribute("when"), dates.HoChiMinh); err == nil {
					gone.When = when
				}
				gone.Reason = plain(comment(decoder, &path))
				d.gone = append(d.gone, gone)
				if len(d.gone) > maxItems {
					return fmt.Errorf("expected at most %d deleted entries", maxItems)
				}
			}
		case xml.EndElement:
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
		}
	}
	if d.next = resolve(base, previous); d.next == "" {
		d.next = resolve(base, next)
	}
	return nil
}

func contains(path []string, names ...string) bool {
	for _, p := range path {
		for _, n := range names {
			if p == n {
				return true
			}
		}
	}
	return false
}

// comment reads the comment within a deleted entry, to its end.
func comment(decoder *xml.Decoder, path *[]string) string {
	var text strings.Builder
	inside := false
	for depth := 1; ; {
		token, err := decoder.RawToken()
		if err != nil {
			return text.String()
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return ""
			}
			inside = inside || t.Name.Local == "comment"
		case xml.EndElement:
			if t.Name.Local == "comment" {
				inside = false
			}
			if depth--; depth == 0 {
				*path = (*path)[:len(*path)-1]
				return text.String()
			}
		case xml.CharData:
			if inside && text.Len() < maxReason {
				text.Write(t)
			}
		}
	}
}

// maxReason is how much of a comment is read, in bytes.
const maxReason = 8 << 10

// resolve makes an address of a document absolute; "" stays so, and so becomes what cannot be one.
func resolve(base *url.URL, ref string) string {
	ref = strings.TrimSpace(ref)
	if ref == "" {
		return ""
	}
	u, err := base.Parse(ref)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.User = nil
	return u.String()
}
