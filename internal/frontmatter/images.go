package frontmatter

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/loa-syndication/loa/events"
)

// MaxImage bounds a local picture, in bytes: a larger one fits into no event, whatever the
// server's limit on messages.
const MaxImage = 16 << 20

// Embed reads local images from files, the folder of the article's file, and puts them into
// the article as inline data. An image without a content id is given one, and the body's
// references to the file become references to that.
func Embed(article *events.Article, local []LocalImage, files fs.FS) error {
	addresses := map[string]string{}
	for _, l := range local {
		data, err := readImage(files, l.File)
		if err != nil {
			return fmt.Errorf("images[%d]: %w", l.Index, err)
		}
		img := &article.Images[l.Index]
		img.Data = data
		if img.ContentID == "" {
			img.ContentID = contentID(l)
		}
		addresses[l.File] = "cid:" + img.ContentID
	}
	redirect(article, addresses)
	return nil
}

// Link gives local images the url that address makes of their file, in the list of images
// and in the body.
func Link(article *events.Article, local []LocalImage, address func(file string) string) {
	addresses := map[string]string{}
	for _, l := range local {
		img := &article.Images[l.Index]
		img.URL = address(l.File)
		addresses[l.File] = img.URL
		if img.ContentID != "" { // no content id without content
			addresses["cid:"+img.ContentID] = img.URL
			img.ContentID = ""
		}
	}
	redirect(article, addresses)
}

func redirect(article *events.Article, addresses map[string]string) {
	article.Body = rewriteSources(article.Body, func(src string) string {
		key := src
		if file, ok := localPath(src); ok {
			key = file
		}
		if address, ok := addresses[key]; ok {
			return address
		}
		return src
	})
}

func readImage(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxImage+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > MaxImage {
		return nil, fmt.Errorf("read %s: expected at most %d bytes", name, MaxImage)
	}
	return data, nil
}

// contentID is unique in the article by the index, and safe in a URL.
func contentID(l LocalImage) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, path.Base(l.File))
	return fmt.Sprintf("image%d-%s", l.Index, safe)
}
