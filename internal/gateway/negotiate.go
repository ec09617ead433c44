package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// acceptsGzip reports whether a reader takes gzip and does not like plain better (RFC 9110
// §12.5.3). A weight that is none counts as a refusal.
func acceptsGzip(accept []string) bool {
	gzip, identity, other := -1.0, -1.0, -1.0 // -1: not mentioned
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(part, ";")
			q := weight(params)
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, "gzip"), strings.EqualFold(coding, "x-gzip"):
				gzip = max(gzip, q)
			case strings.EqualFold(coding, "identity"):
				identity = q
			case coding == "*":
				other = q
			}
		}
	}
	if gzip < 0 {
		gzip = other
	}
	return gzip > 0 && gzip >= identity
}

// weight reads "q=0.5"; 1 when there is none.
func weight(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(0 <= q && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// precondition evaluates a GET's conditions (RFC 9110 §13.2.2) and gives 200, 304 or 412. The
// tag is strong. A zero time answers no question about time.
func precondition(h http.Header, tag string, modified time.Time) int {
	if match, ok := h["If-Match"]; ok {
		if !listed(match, tag, false) {
			return http.StatusPreconditionFailed
		}
	} else if since, ok := headerTime(h, "If-Unmodified-Since"); ok && !modified.IsZero() && modified.Truncate(time.Second).After(since) {
		return http.StatusPreconditionFailed
	}
	if none, ok := h["If-None-Match"]; ok {
		if listed(none, tag, true) {
			return http.StatusNotModified
		}
		return http.StatusOK // If-Modified-Since does not count beside it
	}
	if since, ok := headerTime(h, "If-Modified-Since"); ok && !modified.IsZero() && !modified.Truncate(time.Second).After(since) {
		return http.StatusNotModified
	}
	return http.StatusOK
}

// headerTime reads a date; one that is none is as good as absent.
func headerTime(h http.Header, name string) (time.Time, bool) {
	values := h[name]
	if len(values) != 1 {
		return time.Time{}, false
	}
	t, err := http.ParseTime(values[0])
	return t, err == nil
}

// listed reports whether a list of entity tags, or "*", has the tag; with weak, tags that say
// of themselves that they are weak count too (RFC 9110 §8.8.3.2).
func listed(lines []string, tag string, weak bool) bool {
	for _, line := range lines {
		for rest := line; ; {
			rest = strings.TrimLeft(rest, " \t,")
			if rest == "" {
				break
			}
			if rest[0] == '*' {
				return true
			}
			strong, isWeak := strings.CutPrefix(rest, "W/")
			end := strings.IndexByte(strings.TrimPrefix(strong, `"`), '"')
			if strong == "" || strong[0] != '"' || end < 0 {
				break // not a tag; what follows cannot be understood
			}
			one := strong[:end+2]
			if one == tag && (weak || !isWeak) {
				return true
			}
			rest = strong[len(one):]
		}
	}
	return false
}
