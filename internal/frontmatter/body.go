package frontmatter

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	nethtml "golang.org/x/net/html"
)

// markdown converts GitHub's Markdown to HTML, and lists the local pictures that it shows.
// Raw HTML is passed on: whoever reads the article sanitises it.
func markdown(source []byte) (string, []image, error) {
	converter := goldmark.New(
		goldmark.WithExtensions(extension.GFM),
		goldmark.WithRendererOptions(html.WithUnsafe()))
	doc := converter.Parser().Parse(text.NewReader(source))

	var pictures []image
	err := ast.Walk(doc, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		picture, ok := node.(*ast.Image)
		if !ok || !entering {
			return ast.WalkContinue, nil
		}
		if file, ok := localPath(string(picture.Destination)); ok {
			pictures = append(pictures, image{File: file, Alt: plain(picture, source)})
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", nil, err
	}
	var out bytes.Buffer
	if err := converter.Renderer().Render(&out, source, doc); err != nil {
		return "", nil, err
	}
	return out.String(), pictures, nil
}

// plain is the text below node.
func plain(node ast.Node, source []byte) string {
	var b strings.Builder
	ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				b.Write(n.Value(source))
			}
		case *ast.String:
			if entering {
				b.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// addMissing appends those of found whose file listed has not.
func addMissing(listed, found []image) []image {
	for _, picture := range found {
		if !slices.ContainsFunc(listed, func(i image) bool { return i.File == picture.File }) {
			listed = append(listed, picture)
		}
	}
	return listed
}

// localPath is the path of the file that a src names relatively; false when it names
// something else.
func localPath(src string) (string, bool) {
	u, err := url.Parse(src)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path == "" || strings.HasPrefix(u.Path, "/") ||
		u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return strings.TrimPrefix(u.Path, "./"), true
}

// sources is the set of what the pictures of body have for their src; local ones as paths.
func sources(body string) map[string]bool {
	set := map[string]bool{}
	rewriteSources(body, func(src string) string {
		set[src] = true
		if file, ok := localPath(src); ok {
			set[file] = true
		}
		return src
	})
	return set
}

// rewriteSources replaces the src of every img by what replace makes of it, and leaves the
// rest of body byte for byte as it is.
func rewriteSources(body string, replace func(src string) string) string {
	var out strings.Builder
	tokens := nethtml.NewTokenizer(strings.NewReader(body))
	for {
		kind := tokens.Next()
		if kind == nethtml.ErrorToken { // the end: a reader of a string has no other error
			return out.String()
		}
		raw := string(tokens.Raw()) // before Token, which unescapes in place
		if kind == nethtml.StartTagToken || kind == nethtml.SelfClosingTagToken {
			token := tokens.Token()
			for i, attribute := range token.Attr {
				if token.Data != "img" || attribute.Key != "src" {
					continue
				}
				if src := replace(attribute.Val); src != attribute.Val {
					token.Attr[i].Val = src
					raw = token.String()
				}
			}
		}
		out.WriteString(raw)
	}
}
