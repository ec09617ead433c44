package article

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining marks a character may carry, in runes. Vietnamese needs two
// and Tibetan a handful; towers of dozens are written to spill over their neighbours.
const maxMarks = 8

// ellipsis ends a text that was cut.
const ellipsis = "…"

// Text makes s one line of plain text that may stand anywhere: in a title, a name, a feed, a
// terminal. The result is valid UTF-8 in NFC, holds XML 1.0 Chars alone (§2.2), and no
// invisible character that lets a text pass for another (bidi controls, zero-width spaces,
// fillers); joiners stay where a script or an emoji needs them. White space is folded to
// single spaces and trimmed. A text of more than maxRunes runes is cut between two graphemes and
// ends in "…", which counts.
//
// Text is not markup: "<b>" and "&amp;" are kept as they are written.
func Text(s string, maxRunes int) string {
	return cut(strings.Join(strings.Fields(scrub(s, true)), " "), maxRunes)
}

// Lines is [Text] for a text of several lines: line breaks stay, and so does one empty line
// between paragraphs.
func Lines(s string, maxRunes int) string {
	var b strings.Builder
	empty := 0
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n\n").Replace(s)
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.Join(strings.Fields(scrub(line, true)), " ")
		if line == "" {
			empty++
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n\n"[:min(empty, 1)+1])
		}
		b.WriteString(line)
		empty = 0
	}
	return cut(b.String(), maxRunes)
}

// Chars makes s fit to stand in any document, and changes nothing else: valid UTF-8 in NFC, XML
// 1.0 Chars alone, no bidi overrides, embeddings or isolates. White space and the controls that
// typography uses (soft hyphens, joiners) stay. It is what [Sanitise] does to text; rendering
// calls it again before it writes a document. A text that is in order is returned as it is.
func Chars(s string) string { return scrub(s, false) }

// scrub removes the runes that may not stand and brings the rest to NFC. When plain, it
// removes those too that only markup or a typesetter has use for.
func scrub(s string, plain bool) string {
	if isCommon(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	var base, last rune // what marks and joiners stand on (0: nothing), and the last rune kept
	for i, r := range s {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[i:]) // 1 for an invalid byte: written as U+FFFD
		}
		switch {
		case r == '\r' && !plain: // line ends as HTML and XML parsers read them
			if strings.HasPrefix(s[i:], "\r\n") {
				continue
			}
			r = '\n'
		case unicode.IsSpace(r):
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || plain {
				r = ' '
			}
		case !xmlChar(r), forbidden(r), plain && invisible(r) && !joins(base, r, s[i+size:]):
			continue
		case unicode.Is(unicode.Variation_Selector, r):
			if base == 0 || unicode.Is(unicode.Variation_Selector, last) {
				continue // strings of selectors hide data
			}
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
			if base == 0 && (plain || last == 0) {
				continue // it would join the markup or the space before it
			}
		}
		switch {
		case unicode.IsSpace(r):
			base = 0
		case !unicode.Is(unicode.M, r) && !isJoiner(r) && !isSkinTone(r):
			base = r
		}
		last = r
		b.WriteRune(r)
	}
	return capMarks(norm.NFC.String(b.String()))
}

// isCommon reports whether s consists of the characters that nearly all Vietnamese text does,
// none of which needs care: they are visible or white space, composed, and carry no marks.
func isCommon(s string) bool {
	for _, r := range s {
		switch {
		case r >= ' ' && r < 0x7F, r == '\n', r == '\t',
			r >= 0xA0 && r < 0x0300 && r != '\u00AD', // Latin, and the no-break space
			r >= 'Ạ' && r <= 'ỹ',                     // U+1EA0 to U+1EF9
			r == '–', r == '—', r == '‘', r == '’', r == '“', r == '”', r == '…', r == '•':
		default:
			return false
		}
	}
	return true
}

// xmlChar reports whether r is a Char of XML 1.0 §2.2, and not one of the discouraged ones:
// C1 controls and noncharacters.
func xmlChar(r rune) bool {
	switch {
	case r < ' ':
		return r == '\t' || r == '\n' || r == '\r'
	case r >= 0x7F && r <= 0x9F:
		return r == 0x85 // next line: white space
	}
	return !unicode.Is(unicode.Noncharacter_Code_Point, r) && !unicode.Is(unicode.Cs, r)
}

// forbidden reports whether r may stand in no text at all: it reorders what follows, or says
// something that nobody sees.
func forbidden(r rune) bool {
	switch {
	case r >= 0x202A && r <= 0x202E, // bidi embeddings and overrides
		r >= 0x2066 && r <= 0x206F,   // bidi isolates, deprecated controls
		r == 0xFEFF,                  // byte order mark
		r >= 0xFFF9 && r <= 0xFFFB,   // interlinear annotation
		r >= 0xE0000 && r <= 0xE007F: // tags
		return true
	}
	return false
}

// invisible reports whether r shows nothing: format controls and what Unicode calls default
// ignorable. Signs that enclose numbers (Prepended_Concatenation_Mark) are format controls that do show.
func invisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func isJoiner(r rune) bool   { return r == '\u200C' || r == '\u200D' }
func isSkinTone(r rune) bool { return r >= 0x1F3FB && r <= 0x1F3FF }

// joins reports whether r is a joiner (ZWJ, ZWNJ) with work to do between base and rest: between
// two emoji, or two letters of a script whose letters change shape when they meet.
func joins(base, r rune, rest string) bool {
	if !isJoiner(r) || rest == "" {
		return false
	}
	next, _ := utf8.DecodeRuneInString(rest)
	return isEmoji(base) && isEmoji(next) || shapes(base) && shapes(next)
}

func isEmoji(r rune) bool {
	// The left-right arrow is the one that counts as a mathematical sign.
	return unicode.Is(unicode.So, r) && r != utf8.RuneError || r == '↔'
}

func shapes(r rune) bool {
	return unicode.IsLetter(r) && !invisible(r) && !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic,
		unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}

// capMarks drops the combining marks beyond maxMarks in a row. Its s is in NFC, and so is its result.
func capMarks(s string) string {
	marks := 0
	tooMany := func(r rune) bool {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			marks++
		} else {
			marks = 0
		}
		return marks > maxMarks
	}
	if strings.IndexFunc(s, tooMany) < 0 {
		return s
	}
	marks = 0
	return strings.Map(func(r rune) rune {
		if tooMany(r) {
			return -1
		}
		return r
	}, s)
}

// cut shortens s to maxRunes runes, the ellipsis included, between two grapheme clusters
// (Unicode Standard Annex 29).
func cut(s string, maxRunes int) string {
	if maxRunes <= 0 {
		return ""
	}
	if len(s) <= maxRunes || utf8.RuneCountInString(s) <= maxRunes {
		return s
	}
	end, runes := 0, 0
	for g := graphemes.FromString(s); g.Next(); {
		runes += utf8.RuneCountInString(g.Value())
		if runes > maxRunes-1 {
			break
		}
		end += len(g.Value())
	}
	return strings.TrimRightFunc(s[:end], func(r rune) bool { return unicode.IsSpace(r) || isJoiner(r) }) + ellipsis
}
