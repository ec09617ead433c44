package gateway

import (
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// codingWeights gives what a reader thinks of each content coding, and of none (RFC 9110 §12.5.3): 0
// where it refuses, or a weight is none. That of none is 0 as well when it is not mentioned: no
// reader asks for a coding to be spared it.
func codingWeights(accept []string) (weights [codingCount]float64, identity float64) {
	const unsaid = -1
	for i := range weights {
		weights[i] = unsaid
	}
	other := 0.0
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			switch name = strings.TrimSpace(name); {
			case name == "":
			case name == "*":
				other = weight(params)
			case strings.EqualFold(name, "identity"):
				identity = weight(params)
			default:
				if i := codingNamed(name); i >= 0 {
					weights[i] = max(weights[i], weight(params))
				}
			}
		}
	}
	for i := range weights {
		if weights[i] == unsaid {
			weights[i] = other
		}
	}
	return weights, identity
}

// usualWeights are those of what browsers and feed readers send, without reading it anew.
var usualWeights = func() map[string]*[codingCount]float64 {
	usual := make(map[string]*[codingCount]float64)
	for _, accept := range []string{"gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, deflate", "gzip,deflate", "gzip", "br", "br, gzip, zstd", "br,gzip"} {
		weights, _ := codingWeights([]string{accept}) // none of them mentions identity
		usual[accept] = &weights
	}
	return usual
}()

// codingNamed is the coding of a name; -1 when it is none of ours.
func codingNamed(name string) int {
	for i := range codings {
		if strings.EqualFold(name, codings[i].name) {
			return i
		}
	}
	if strings.EqualFold(name, "x-gzip") { // RFC 9110 §8.4.1.3
		return codedGzip
	}
	return -1
}

// accepted is the weight of a media type that Accept names as such; 0 when it does not (RFC 9110
// §12.5.1).
func accepted(accept []string, mediaType string) (q float64) {
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) {
				q = max(q, weight(params))
			}
		}
	}
	return q
}

// weight reads "q=0.5"; 1 when there is none.
func weight(params string) float64 {
	if params == "" {
		return 1
	}
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
	if len(lines) == 1 && lines[0] == tag { // as most readers send it
		return true
	}
	for one := range entityTags(lines) {
		if one.tag == "*" || one.tag == tag && (weak || !one.weak) {
			return true
		}
	}
	return false
}

type entityTag struct {
	tag  string // with its quotes; or "*"
	weak bool
}

// entityTags reads a list of them, as far as it can be understood.
func entityTags(lines []string) iter.Seq[entityTag] {
	return func(yield func(entityTag) bool) {
		for _, line := range lines {
			for rest := line; ; {
				rest = strings.TrimLeft(rest, " \t,")
				if rest == "" {
					break
				}
				if rest[0] == '*' {
					yield(entityTag{tag: "*"})
					return
				}
				strong, weak := strings.CutPrefix(rest, "W/")
				end := strings.IndexByte(strings.TrimPrefix(strong, `"`), '"')
				if strong == "" || strong[0] != '"' || end < 0 {
					break // not a tag; what follows cannot be understood
				}
				one := strong[:end+2]
				if !yield(entityTag{one, weak}) {
					return
				}
				rest = strong[len(one):]
			}
		}
	}
}
