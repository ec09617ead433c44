package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxFaults is how many faults an [InvalidError] keeps.
	MaxFaults = 100
	// shownFaults is how many of them its text names: more than a person reads at once.
	shownFaults = 20
	// shownRunes is the length to which a value in a fault is cut.
	shownRunes = 80
)

// InvalidError says that an event breaks the contract. Sending the same again cannot help.
type InvalidError struct {
	// Faults are those that were found, in the order of their paths; at most [MaxFaults].
	Faults []Fault
	// Total counts all that were found.
	Total int
}

// Fault is one thing that is wrong with an event.
type Fault struct {
	// Path is the JSON pointer (RFC 6901) of the value in the structured event, such as
	// /data/images/0/url, whichever mode the event came in: /id stands for the header ce-id
	// too. It is empty for the event as a whole.
	Path string `json:"path"`
	// Value is what was found there: quoted, cut to 80 characters, addresses without their
	// user name and query, which may be secret.
	Value string `json:"value"`
	// Expected says in words what would have been right.
	Expected string `json:"expected"`
}

// String gives, for example,
//
//	/data/version: got -3, expected an integer from 1 to 9007199254740991
func (f Fault) String() string {
	path := f.Path
	if path == "" {
		path = "(event)"
	}
	return fmt.Sprintf("%s: got %s, expected %s", path, f.Value, f.Expected)
}

// Error names the first twenty faults on one line.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("invalid event: ")
	shown := min(len(e.Faults), shownFaults)
	for i, f := range e.Faults[:shown] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.String())
	}
	if more := max(e.Total, len(e.Faults)) - shown; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// faults collects what is wrong with one event: one fault a path, the first to be added.
type faults struct {
	list []Fault
	seen map[string]bool
}

func (fs *faults) add(path, value, expected string) {
	if fs.seen[path] {
		return
	}
	if fs.seen == nil {
		fs.seen = make(map[string]bool)
	}
	fs.seen[path] = true
	fs.list = append(fs.list, Fault{Path: path, Value: value, Expected: expected})
}

// err is nil when nothing was added.
func (fs *faults) err() error {
	if len(fs.list) == 0 {
		return nil
	}
	slices.SortStableFunc(fs.list, func(a, b Fault) int { return comparePaths(a.Path, b.Path) })
	return &InvalidError{Faults: slices.Clip(fs.list[:min(len(fs.list), MaxFaults)]), Total: len(fs.list)}
}

// comparePaths orders /images/2 before /images/10.
func comparePaths(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), func(a, b string) int {
		m, errA := strconv.Atoi(a)
		n, errB := strconv.Atoi(b)
		if errA == nil && errB == nil {
			return cmp.Compare(m, n)
		}
		return cmp.Compare(a, b)
	})
}

// invalid is an error of a single fault.
func invalid(path, value, expected string) error {
	var fs faults
	fs.add(path, value, expected)
	return fs.err()
}

// pointer joins reference tokens to a JSON pointer that is fit to show: a name that the sender
// made up is cut, and has no control characters.
func pointer(tokens ...string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(pointerEscape.Replace(printable(cut(t))))
	}
	return b.String()
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

const nothing = "nothing"

// show gives a JSON value as a fault shows it.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(cut(redact(v)))
	case json.Number:
		return cut(string(v))
	case []any:
		return fmt.Sprintf("a list of %d items", len(v))
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprint(v)
	}
}

var (
	userinfo = regexp.MustCompile(`//\S*@`) // up to the last @: a password may hold a slash
	urlQuery = regexp.MustCompile(`(://[^?#\s]*)\?[^#\s]*`)
)

// redact hides what may be secret in an address: user name and password, and the query, which
// is where signed addresses carry their keys.
func redact(s string) string {
	if len(s) > 1<<12 { // a body, not an address; it is cut long before this
		s = s[:1<<12]
	}
	s = userinfo.ReplaceAllString(s, "//***@")
	return urlQuery.ReplaceAllString(s, "$1?***")
}

func cut(s string) string {
	if len(s) <= shownRunes {
		return s
	}
	n := 0
	for i := range s {
		if n == shownRunes {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// printable replaces what would disturb a line of a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
