package feeds

import "strings"

// nsMedia is the name space of Media RSS 1.5.1, which Atom entries take as well as RSS items.
const nsMedia = "http://search.yahoo.com/mrss/"

// mediaContent is a media:content element.
type mediaContent struct {
	URL         string `xml:"url,attr"`
	Type        string `xml:"type,attr,omitempty"`
	Medium      string `xml:"medium,attr"`
	FileSize    int64  `xml:"fileSize,attr,omitempty"`
	Width       int    `xml:"width,attr,omitempty"`
	Height      int    `xml:"height,attr,omitempty"`
	Title       string `xml:"media:title,omitempty"`
	Description string `xml:"media:description,omitempty"`
	Credit      string `xml:"media:credit,omitempty"`
}

type mediaThumbnail struct {
	URL    string `xml:"url,attr"`
	Width  int    `xml:"width,attr,omitempty"`
	Height int    `xml:"height,attr,omitempty"`
}

// mediaContents are the entry's media, the lead image first.
func (e *entry) mediaContents() []mediaContent {
	var all []mediaContent
	for _, m := range e.media {
		kind := "document"
		if of, _, _ := strings.Cut(m.mediaType, "/"); m.picture {
			kind = "image"
		} else if of == "audio" || of == "video" {
			kind = of
		}
		all = append(all, mediaContent{
			URL: m.url, Type: m.mediaType, Medium: kind, FileSize: m.size, Width: m.width, Height: m.height,
			Title: m.title, Description: m.description, Credit: m.credit,
		})
	}
	return all
}

func (e *entry) mediaThumbnail() *mediaThumbnail {
	if e.thumbnail == nil {
		return nil
	}
	return &mediaThumbnail{URL: e.thumbnail.url, Width: e.thumbnail.width, Height: e.thumbnail.height}
}
