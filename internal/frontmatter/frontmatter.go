// Package frontmatter reads an article from a file that a person wrote: YAML front matter
// between two lines of "---", then the body as Markdown or HTML.
//
//	---
//	site: phuong-cau-go
//	id: lich-tiem-chung-thang-11
//	version: 1
//	url: https://caugo.anhoa.example/tin/lich-tiem-chung
//	title: Lịch tiêm chủng tháng 11
//	published: 2026-11-02T07:30:00+07:00
//	images:
//	  - file: tram-y-te.jpg      # beside the article, or below it
//	    alt: Trạm y tế phường
//	---
//	<p>Trạm y tế phường thông báo …</p>
//
// The keys are the JSON names of [events.Article], all but body. An entry of images may name
// a local file in the place of a url; the caller then chooses between [Embed], which puts
// the pictures into the article, and [Link], which gives them addresses. Whether the article
// satisfies the contract is for package events to say, not for this one.
//
// `loa publish` reads its files by this package, and internal/sample its articles.
package frontmatter

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/loa-syndication/loa/events"
)

const (
	// MaxFile bounds an article's file, in bytes: several times what a NATS message can carry.
	MaxFile = 8 << 20
	// maxFront bounds the front matter, in bytes: ten times the usual, and few enough that the
	// YAML parser, quadratic in nested brackets, is done within a second.
	maxFront = 16 << 10
)

// LocalImage is an entry of an article's images that names a file.
type LocalImage struct {
	// Index is the entry's place in [events.Article.Images].
	Index int
	// File is the path as written, slash-separated and relative to the article's file; it
	// satisfies [io/fs.ValidPath].
	File string
}

// Error is a fault in a file.
type Error struct {
	Name string
	// Line counts from 1; 0 when the fault has no place.
	Line int
	// Problem says what is wrong and what was expected.
	Problem string
}

// Error gives "article.md:3: version: expected a whole number, found "abc"".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Name + ": " + e.Problem
	}
	return fmt.Sprintf("%s:%d: %s", e.Name, e.Line, e.Problem)
}

// Parse reads the file called name, whose ending tells how the body is written: .md or
// .markdown, .html or .htm. In Markdown, pictures with a relative address are local images
// too, whether the front matter lists them or not. A fault in the file is an [*Error].
//
// An image without a role is "inline" if the body shows it; of the others the first is
// "lead", the rest "gallery".
func Parse(name string, data []byte) (events.Article, []LocalImage, error) {
	fail := func(line int, format string, args ...any) (events.Article, []LocalImage, error) {
		return events.Article{}, nil, &Error{name, line, fmt.Sprintf(format, args...)}
	}
	if len(data) > MaxFile {
		return fail(0, "expected at most %d bytes, found %d", MaxFile, len(data))
	}
	front, body, fault := split(data)
	if fault != nil {
		fault.Name = name
		return events.Article{}, nil, fault
	}
	article, images, fault := decodeFront(front)
	if fault != nil {
		fault.Name = name
		return events.Article{}, nil, fault
	}

	switch strings.ToLower(path.Ext(name)) {
	case ".html", ".htm":
		article.Body = string(body)
	case ".md", ".markdown":
		html, pictures, err := markdown(body)
		if err != nil {
			return fail(0, "convert Markdown: %v", err)
		}
		article.Body = html
		for _, picture := range pictures {
			if !fs.ValidPath(picture.File) {
				return fail(0, "expected pictures beside the article or below it, found %q", picture.File)
			}
		}
		images = addMissing(images, pictures)
	default:
		return fail(0, "expected a name that ends in .md or .html")
	}

	shown := sources(article.Body)
	lead := false
	for _, img := range images {
		lead = lead || img.Role == events.RoleLead
	}
	var local []LocalImage
	for i, img := range images {
		if img.Role == "" {
			switch {
			case shown[img.source()]:
				img.Role = events.RoleInline
			case !lead:
				img.Role, lead = events.RoleLead, true
			default:
				img.Role = events.RoleGallery
			}
		}
		if img.File != "" {
			local = append(local, LocalImage{Index: i, File: img.File})
		}
		article.Images = append(article.Images, img.event())
	}
	return article, local, nil
}

// split separates the front matter from the body. The front matter keeps the file's line
// numbers: an empty line stands for the first marker.
func split(data []byte) (front, body []byte, fault *Error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if line := invalidLine(data); line > 0 {
		return nil, nil, &Error{Line: line, Problem: "expected UTF-8, found other bytes"}
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	if !isMarker(first) {
		return nil, nil, &Error{Line: 1, Problem: `expected "---", which opens the front matter`}
	}
	for at := 0; at < len(rest); {
		line, _, _ := bytes.Cut(rest[at:], []byte("\n"))
		end := min(at+len(line)+1, len(rest))
		if isMarker(line) {
			front, body = rest[:at], rest[end:]
			if len(front) > maxFront {
				return nil, nil, &Error{Line: 1, Problem: fmt.Sprintf(
					"expected front matter of at most %d bytes, found %d", maxFront, len(front))}
			}
			return append([]byte("\n"), front...), body, nil
		}
		at = end
	}
	return nil, nil, &Error{Line: 1, Problem: `expected a second "---", which closes the front matter`}
}

func isMarker(line []byte) bool { return string(bytes.TrimRight(line, " \t")) == "---" }

// invalidLine is the line of the first byte that is not UTF-8; 0 when there is none.
func invalidLine(data []byte) int {
	if utf8.Valid(data) {
		return 0
	}
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return line
}
