package feeds

import (
	"bytes"
	"encoding/json"
	"io"

	gorilla "github.com/gorilla/feeds"
)

type jsonDocument struct {
	*gorilla.JSONFeed
	Extension jsonRevision `json:"_loa"`
	Items     []struct{}   `json:"items"` // last, present even when empty (JSON Feed 1.1): see writeJSON
}

type jsonRevision struct {
	Revision uint64 `json:"revision"`
	// Withdrawn are the tombstones of articles that the feed has shown.
	Withdrawn []json.RawMessage `json:"withdrawn,omitempty"`
}

type jsonItem struct {
	*gorilla.JSONItem
	Language    string           `json:"language,omitempty"`
	Attachments []jsonAttachment `json:"attachments,omitempty"`
	Extension   extension        `json:"_loa"`
}

// jsonAttachment has a size beyond the 2 GiB of gorilla's.
type jsonAttachment struct {
	URL      string `json:"url"`
	MIMEType string `json:"mime_type"`
	Title    string `json:"title,omitempty"`
	Size     int64  `json:"size_in_bytes,omitempty"`

	Extension *jsonPicture `json:"_loa,omitempty"`
}

// jsonPicture is what is known of a picture beyond other files.
type jsonPicture struct {
	Width  int    `json:"width,omitempty"`
	Height int    `json:"height,omitempty"`
	Credit string `json:"credit,omitempty"`
}

// jsonElement renders an item.
func jsonElement(e *entry) ([]byte, error) {
	base := (&gorilla.JSON{Feed: &gorilla.Feed{Items: []*gorilla.Item{e.item()}}}).JSONFeed().Items[0]
	if len(e.media) > 0 && e.media[0].picture {
		base.Image = e.media[0].url
	}
	for _, a := range e.authors {
		base.Authors = append(base.Authors, &gorilla.JSONAuthor{Name: a.Name, Url: a.URL})
	}
	for _, l := range e.labels {
		base.Tags = append(base.Tags, l.text)
	}
	x := jsonItem{JSONItem: base, Language: e.language, Extension: e.extension}
	if e.source != nil {
		base.ExternalUrl = e.source.URL
	}
	for _, m := range e.attachments() {
		kind := m.mediaType
		if kind == "" {
			kind = "application/octet-stream" // a required member
		}
		a := jsonAttachment{URL: m.url, MIMEType: kind, Title: m.caption(), Size: m.size}
		if m.credit != "" || m.width > 0 {
			a.Extension = &jsonPicture{m.width, m.height, m.credit}
		}
		x.Attachments = append(x.Attachments, a)
	}
	var b bytes.Buffer
	if err := encodeJSON(&b, x); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// writeJSON writes the document that holds the items.
func writeJSON(w io.Writer, d *document, items [][]byte) error {
	feed := (&gorilla.JSON{Feed: d.gorilla()}).JSONFeed()
	feed.FeedUrl = d.address[formatJSON]
	if d.ended {
		feed.Expired = &d.ended
	}
	feed.Language = d.language
	feed.Icon = d.image
	feed.Authors = []*gorilla.JSONAuthor{{Name: d.publisher, Url: d.home}}
	for _, hub := range d.hubs {
		feed.Hubs = append(feed.Hubs, &gorilla.JSONHub{Type: "WebSub", Url: hub})
	}
	var head bytes.Buffer
	if err := encodeJSON(&head, jsonDocument{JSONFeed: feed, Extension: jsonRevision{d.revision, d.withdrawn}, Items: []struct{}{}}); err != nil {
		return err
	}
	// The items are JSON already; put in as json.RawMessage they would be parsed again.
	const end = "]}\n"
	return writeAll(w, bytes.TrimSuffix(head.Bytes(), []byte(end)), nil, items, []byte(",\n"), []byte(end))
}

// encodeJSON writes markup as it is: half the size of "\u003c".
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
