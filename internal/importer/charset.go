package importer

import (
	"bytes"
	"mime"
	"regexp"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// declaration is an XML declaration, of which only the encoding is of interest.
var (
	declaration  = regexp.MustCompile(`^\s*<\?xml[^>]*\?>`)
	encodingName = regexp.MustCompile(`encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']`)
)

// toUTF8 decodes an XML document, by its byte order mark, the server's word or its own declaration, which
// is removed then. What is UTF-8 is that, whatever is said of it: servers say ISO-8859-1 of everything.
// Names that nobody knows, TCVN among them, are taken for Windows-1252, as everybody did who read them:
// package viettext is right about the rest.
func toUTF8(body []byte, contentType string) []byte {
	if e := byMark(body); e != nil {
		if decoded, err := e.NewDecoder().Bytes(body); err == nil {
			body = decoded
		}
		return withoutDeclaration(body)
	}
	label := ""
	if d := declaration.Find(body); d != nil {
		if m := encodingName.FindSubmatch(d); m != nil {
			label = string(m[1])
		}
	}
	if _, parameters, err := mime.ParseMediaType(contentType); err == nil && parameters["charset"] != "" {
		label = parameters["charset"]
	}
	e, name := charset.Lookup(label)
	switch {
	case utf8.Valid(body) && !wide(name):
	case e == nil, name == "windows-1252", name == "utf-8" && !hasUTF8(body):
		body = latin(body)
	case name == "utf-8":
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	default:
		if decoded, err := e.NewDecoder().Bytes(body); err == nil {
			body = decoded
		}
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	return withoutDeclaration(body)
}

func withoutDeclaration(body []byte) []byte {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	return bytes.TrimLeft(declaration.ReplaceAll(body, nil), " \t\r\n")
}

func byMark(body []byte) encoding.Encoding {
	switch {
	case bytes.HasPrefix(body, []byte("\xfe\xff")):
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case bytes.HasPrefix(body, []byte("\xff\xfe")):
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	}
	return nil
}

// wide reports whether text in the encoding is valid UTF-8 without being it.
func wide(name string) bool {
	return name == "utf-16le" || name == "utf-16be" || name == "iso-2022-jp" || name == "hz-gb-2312"
}

// hasUTF8 reports whether there is any letter in UTF-8 that is not ASCII.
func hasUTF8(body []byte) bool {
	for len(body) > 0 {
		r, size := utf8.DecodeRune(body)
		if size > 1 && r != utf8.RuneError {
			return true
		}
		body = body[size:]
	}
	return false
}

// latin decodes Windows-1252; its five bytes without a letter become control characters, as in browsers.
func latin(body []byte) []byte {
	out := make([]byte, 0, len(body)*5/4)
	for _, b := range body {
		r := charmap.Windows1252.DecodeByte(b)
		if r == utf8.RuneError {
			r = rune(b)
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}
