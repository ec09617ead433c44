package objects

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxKey is S3's limit for a key, in bytes.
	maxKey = 1024
	// maxSegment is the limit in bytes for a part of a key between slashes, on servers that
	// keep objects as files.
	maxSegment = 255
	// maxUserMeta is S3's limit for the names and values of user metadata together, in bytes.
	maxUserMeta = 2 << 10
)

// CheckKey says whether every S3 server can store an object under key: UTF-8 without control
// characters or white space around it, at most 1,024 bytes, segments of 1 to 255 bytes, none of them "." or "..". The
// error is [ErrKey].
func CheckKey(key string) error {
	fault := ""
	switch {
	case key == "":
		fault = "it is empty"
	case len(key) > maxKey:
		fault = fmt.Sprintf("it has %d bytes, more than %d", len(key), maxKey)
	case !utf8.ValidString(key):
		fault = "it is not UTF-8"
	case strings.ContainsFunc(key, unicode.IsControl):
		fault = "it holds a control character"
	case strings.TrimSpace(key) != key:
		fault = "there is white space around it"
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case fault != "":
		case segment == "":
			fault = "a part between slashes is empty"
		case segment == "." || segment == "..":
			fault = "it holds a relative path"
		case len(segment) > maxSegment:
			fault = fmt.Sprintf("a part between slashes has %d bytes, more than %d", len(segment), maxSegment)
		}
	}
	if fault != "" {
		return fmt.Errorf("%w %q: %s", ErrKey, shorten(key), fault)
	}
	return nil
}

// shorten keeps an error readable whatever the key.
func shorten(key string) string {
	const most = 80 // bytes
	if len(key) <= most {
		return key
	}
	return key[:most] + "..."
}

// check refuses metadata that would not come back as it went, or would become another header.
func (m Meta) check() error {
	for _, v := range []string{m.ContentType, m.CacheControl, m.ContentEncoding} {
		if !printable(v) {
			return fmt.Errorf("%w: header value %q is not printable ASCII", ErrMeta, shorten(v))
		}
	}
	size := 0
	for name, value := range m.User {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			strings.HasPrefix(name, "x-amz-") {
			return fmt.Errorf("%w: name %q: want lower-case letters, digits and hyphens, and not x-amz-", ErrMeta, shorten(name))
		}
		if !printable(value) || strings.TrimSpace(value) != value {
			return fmt.Errorf("%w: value %q of %s is not printable ASCII without space around it", ErrMeta, shorten(value), name)
		}
		size += len(name) + len(value)
	}
	if size > maxUserMeta {
		return fmt.Errorf("%w: user metadata has %d bytes, more than %d", ErrMeta, size, maxUserMeta)
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
