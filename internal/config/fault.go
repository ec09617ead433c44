package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loa-syndication/loa/internal/secret"
)

// Place is where a setting was made.
type Place struct {
	// Source is the file's name, or the flag and the variable that overrule the file.
	Source string
	// Line and Column count from 1; 0 outside of a file.
	Line, Column int
	// lines are those of the file, if this one is fit to show.
	lines []string
}

// String gives "loa.yaml:12:5".
func (p Place) String() string {
	if p.Line == 0 {
		return p.Source
	}
	return fmt.Sprintf("%s:%d:%d", p.Source, p.Line, p.Column)
}

// Fault is one thing that is wrong with the configuration, or, as a [Warning], unwise.
type Fault struct {
	Place Place
	// Path names the setting, such as portals[0].timeout.
	Path string
	// Problem says what was found, if it is not a secret, and what was expected.
	Problem string
}

// Warning is a setting that Loa obeys, but that somebody should look at.
type Warning = Fault

// String gives "loa.yaml:12:5: portals[0].timeout: found …, expected …".
func (f Fault) String() string {
	var b strings.Builder
	for _, part := range []string{f.Place.String(), f.Path} {
		if part != "" {
			b.WriteString(part)
			b.WriteString(": ")
		}
	}
	b.WriteString(f.Problem)
	return b.String()
}

// excerpt shows the line of the file, with a mark under the column; nothing if there is none.
func (f Fault) excerpt() string {
	i := f.Place.Line - 1
	if i < 0 || i >= len(f.Place.lines) {
		return ""
	}
	line := []rune(showable(f.Place.lines[i]))
	shown := string(line[:min(len(line), maxLine)])
	number := fmt.Sprintf("%5d", f.Place.Line)
	mark := ""
	if c := f.Place.Column; 0 < c && c <= min(len(line), maxLine) {
		mark = fmt.Sprintf("\n%s | %s^", strings.Repeat(" ", len(number)), strings.Repeat(" ", c-1))
	}
	return fmt.Sprintf("\n%s | %s%s", number, shown, mark)
}

const (
	// maxShown is how many faults the text of an [Error] names: a screen or two.
	maxShown = 40
	// maxValue and maxLine are the lengths, in characters, to which values and lines are cut.
	maxValue = 60
	maxLine  = 120
)

// Error is everything that is wrong with a configuration.
type Error struct {
	Faults []Fault // in the order of the file
}

// Error names the faults one below the other, each with its line of the file.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("the configuration has 1 fault:")
	if n := len(e.Faults); n != 1 {
		b.Reset()
		fmt.Fprintf(&b, "the configuration has %d faults:", n)
	}
	for _, f := range e.Faults[:min(len(e.Faults), maxShown)] {
		b.WriteString("\n" + f.String() + f.excerpt())
	}
	if more := len(e.Faults) - maxShown; more > 0 {
		fmt.Fprintf(&b, "\nand %d more", more)
	}
	return b.String()
}

// quote shows a value: cut, without control characters, without what may be secret in it.
func quote(value string) string {
	value = mask(value)
	if runes := []rune(value); len(runes) > maxValue {
		value = string(runes[:maxValue]) + "…"
	}
	return fmt.Sprintf("%q", value)
}

var (
	// secretLine matches "key: value" where the key sounds as if the value were secret. Custom
	// headers, which hold portals' API keys, begin with X- by custom.
	secretLine = regexp.MustCompile(`(?i)^(.*(?:secret|password|passwd|token|key|auth|cookie|bearer|["']?x-)[^:]*:)\s*\S.*$`)
	// wordSecret is a webhook secret, wherever it stands.
	wordSecret = regexp.MustCompile(`whsec_\S*`)
	userinfo   = regexp.MustCompile(`//[^/?#\s]*@`)
	query      = regexp.MustCompile(`(://[^?#\s]*)\?[^#\s]*`)
)

func mask(s string) string {
	s = wordSecret.ReplaceAllString(s, secret.Hidden)
	s = userinfo.ReplaceAllString(s, "//***@")
	return query.ReplaceAllString(s, "$1?***")
}

// showable is a line of the file as an excerpt may show it.
func showable(line string) string {
	line = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, strings.TrimRight(line, " \r\n"))
	return mask(secretLine.ReplaceAllString(line, "$1 "+secret.Hidden))
}
