package article

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// SummaryLength is the usual length of a summary, in runes: what fits on a card, and in the
// description that search engines show.
const SummaryLength = 300

// fullEnough says when no second paragraph is wanted: once the summary has this part of its length.
const fullEnough = 3

// Summary is the lede of a body: its first paragraph, or the first few when they are short, as
// one line of plain text. Headings, captions and tables do not count, nor does a picture's
// credit; a dateline does. A lede of more than maxRunes runes is cut at the end of a sentence, or, if
// the first one is too long, between two words, where it ends in "…" (which counts).
//
// A body that holds no paragraph gives what other text comes first.
func Summary(bodyHTML string, maxRunes int) string {
	if maxRunes <= 0 {
		return ""
	}
	var lede, other string
	for b := range blocks(bodyHTML) {
		switch {
		case !strings.ContainsFunc(b.text, isLetterOrDigit): // "* * *"
			continue
		case b.aside:
			if utf8.RuneCountInString(other) < maxRunes/fullEnough {
				other = joinParagraphs(other, b.text)
			}
			continue
		case isCredit(b.text):
			continue
		}
		lede = joinParagraphs(lede, b.text)
		if utf8.RuneCountInString(lede) >= maxRunes/fullEnough {
			break
		}
	}
	if lede == "" {
		lede = other
	}
	return shorten(lede, maxRunes)
}

func isLetterOrDigit(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// creditLength is the longest paragraph that can be a picture's credit, in runes.
const creditLength = 150

// isCredit reports whether a paragraph belongs to the picture beside it, as in articles that
// have no figures: "Ảnh: Nguyễn Văn A", "(Ảnh minh họa)".
func isCredit(s string) bool {
	if utf8.RuneCountInString(s) > creditLength {
		return false
	}
	s = strings.TrimLeft(s, "([*– ")
	for _, word := range []string{"Ảnh", "Hình", "Nguồn ảnh", "Video", "Clip", "Đồ họa", "Photo", "Picture"} {
		if rest, ok := strings.CutPrefix(s, word); ok {
			for _, kind := range []string{" minh họa", " minh hoạ", " tư liệu"} {
				rest, _ = strings.CutPrefix(rest, kind)
			}
			if rest == "" || strings.ContainsAny(rest[:1], ":.)];") || strings.HasPrefix(rest, " :") {
				return true
			}
		}
	}
	return false
}

// joinParagraphs adds a paragraph to a text. One that ends without a stop, like a dateline, is
// given one, or two sentences would run together.
func joinParagraphs(s, next string) string {
	if s == "" {
		return next
	}
	end, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(s, isCloser))
	if isLetterOrDigit(end) {
		s += "."
	}
	return s + " " + next
}

// shorten cuts s, one line, to maxRunes runes.
func shorten(s string, maxRunes int) string {
	limit := offsetOfRune(s, maxRunes)
	if limit == len(s) {
		return s
	}
	if end := lastSentenceEnd(s, limit); end > 0 {
		return s[:end]
	}
	return cutWords(s, maxRunes)
}

// offsetOfRune is the byte offset of the nth rune of s, or its length.
func offsetOfRune(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// nameWords is how many words a cut may go back to keep a name whole.
const nameWords = 6

// cutWords cuts s between two words, and neither after an abbreviation ("TP.…") nor inside a
// name ("Nguyễn Văn…"), if it can. A word of more than maxRunes runes is cut itself.
func cutWords(s string, maxRunes int) string {
	head := s[:offsetOfRune(s, maxRunes-1)]
	if !strings.HasPrefix(s[len(head):], " ") {
		i := strings.LastIndexByte(head, ' ')
		if i < 0 {
			return cut(s, maxRunes)
		}
		head = head[:i]
	}
	best := head
	for range nameWords {
		i := strings.LastIndexByte(head, ' ')
		next, _ := utf8.DecodeRuneInString(s[len(head)+1:])
		last := head[i+1:]
		first, _ := utf8.DecodeRuneInString(last)
		partOfName := unicode.IsUpper(next) && unicode.IsUpper(first) && !strings.ContainsAny(last[len(last)-1:], ",;:)")
		if !partOfName && !(strings.HasSuffix(last, ".") && isAbbreviation(strings.TrimSuffix(last, "."))) {
			best = head
			break
		}
		if i < 0 {
			break // capitals all the way
		}
		head = head[:i]
	}
	return strings.TrimRightFunc(best, func(r rune) bool {
		return !isLetterOrDigit(r) && !unicode.Is(unicode.M, r) && !strings.ContainsRune(")]}»”’\"'%!?", r)
	}) + ellipsis
}
