// Package viettext recognises Vietnamese text in the encodings that came before Unicode, and
// converts it.
//
// Such text reaches us as letters of Latin-1, because everything between its author and us took
// its bytes for that: TCVN3 ("Thµnh phè"), VNI ("Thaønh phoá"), VPS, and Unicode's own UTF-8 read
// wrongly ("ThÃ nh phá»‘"). What it is follows from one test: after the right conversion nearly
// every word is a syllable that Vietnamese has, and before it hardly any. French and German words
// never become syllables, and Vietnamese in Unicode is made of them as it stands, so neither is
// touched. Where the test does not say, [Detect] answers [Unsure], and a person has to look.
package viettext

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// Encoding is how a text is written.
type Encoding string

const (
	// Unicode is everything that is not one of the others, text without any Vietnamese included.
	Unicode Encoding = "Unicode"
	TCVN3   Encoding = "TCVN3"
	VNI     Encoding = "VNI"
	VPS     Encoding = "VPS"
	// Mojibake is UTF-8 that was read as Windows-1252 and written as UTF-8 again.
	Mojibake Encoding = "UTF-8 read as Windows-1252"
	// Unsure is text that looks like one of the older encodings, and cannot be told to be one.
	Unsure Encoding = "unsure"
)

const (
	// maxWords bounds how many words with accents are looked at: a page's worth decides.
	maxWords = 2000
	// enoughWords is how many different words have to become syllables. A few symbols beside letters
	// ("25 µm", "µA") can look like that.
	enoughWords = 3
	// convincing is the share of words that the right conversion makes syllables; the rest are names and
	// misprints. By a wrong one it is about a third.
	convincing = 0.8
	// suspicious is the share from which a text that is not Vietnamese as it stands is nothing else either.
	suspicious = 0.55
	// asItStands is the share from which a text is Vietnamese as it stands.
	asItStands = 0.5
)

// Hint tells the encoding by the name of a font, as old pages give it: ".VnTime", "VNI-Times".
func Hint(font string) (Encoding, bool) {
	for name := range strings.SplitSeq(strings.ToLower(font), ",") {
		name = strings.Trim(name, ` "'`)
		switch {
		case strings.HasPrefix(name, ".vn"):
			return TCVN3, true
		case strings.HasPrefix(name, "vni-"), strings.HasPrefix(name, "vni "):
			return VNI, true
		case strings.HasPrefix(name, "vps "), strings.HasPrefix(name, "vps-"):
			return VPS, true
		}
	}
	return "", false
}

// Detect tells how text is written. The more of it there is, the better: an article's title and
// body at once. A hint is what [Hint] found in it, or "".
func Detect(text string, hint Encoding) Encoding {
	if fixed := Mojibake.Convert(text); fixed != text {
		// The bytes of UTF-8 do not come about by chance; but whether they are Vietnamese does not
		// matter either.
		return Mojibake
	}
	seen := map[string]bool{}
	now := 0
	syllables := map[Encoding]int{}
	for word := range words(text) {
		if seen[word] {
			continue
		}
		seen[word] = true
		if standsAs(word) {
			now++
		}
		for _, e := range []Encoding{TCVN3, VNI, VPS} {
			if isSyllable(strings.TrimFunc(e.Convert(word), isPunctuation)) {
				syllables[e]++
			}
		}
		if len(seen) == maxWords {
			break
		}
	}
	all := float64(len(seen))
	if all == 0 {
		return Unicode
	}
	best := TCVN3
	for _, e := range []Encoding{VNI, VPS} {
		if syllables[e] > syllables[best] {
			best = e
		}
	}
	if hint != "" && syllables[hint] > now && float64(syllables[hint]) >= all*suspicious {
		return hint
	}
	share := float64(syllables[best]) / all
	switch {
	case float64(now) >= all*asItStands, syllables[best] < enoughWords:
		return Unicode
	case share >= convincing && syllables[best] > 2*now:
		return best
	case share >= suspicious:
		return Unsure
	}
	return Unicode
}

// standsAs reports whether a word is a syllable as it stands. A capital letter in its middle is none that a
// person wrote: "ViÖt".
func standsAs(word string) bool {
	small := false
	for _, r := range word {
		if small && unicode.IsUpper(r) {
			return false
		}
		small = small || unicode.IsLower(r)
	}
	return isSyllable(word)
}

// Mend converts a piece of a text that is in the encoding, such as its title or one paragraph, if that
// makes it more Vietnamese than it is: other pieces may be in Unicode. When neither is, inDoubt decides.
func (e Encoding) Mend(s string, inDoubt bool) string {
	converted := e.Convert(s)
	if converted == s || e == Mojibake {
		return converted
	}
	before, after := 0, 0
	for word := range words(s) {
		if standsAs(word) {
			before++
		}
		if isSyllable(strings.TrimFunc(e.Convert(word), isPunctuation)) {
			after++
		}
	}
	if after > before || after == before && inDoubt {
		return converted
	}
	return s
}

// words gives the words of a text that have accents, or what may be some in another encoding.
func words(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
			return r < utf8.RuneSelf && !unicode.IsLetter(r) || unicode.IsSpace(r)
		}) {
			word = strings.TrimFunc(word, isPunctuation)
			if hasAccent(word) && utf8.RuneCountInString(word) > 1 && !yield(word) {
				return
			}
		}
	}
}

func hasAccent(word string) bool {
	return strings.IndexFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0
}

// isPunctuation tells the marks of good typography, which are letters in no encoding but, for
// capital ones, VPS.
func isPunctuation(r rune) bool { return strings.ContainsRune("“”‘’–—…•", r) }

// Convert converts what is written in the encoding, and leaves everything else alone.
func (e Encoding) Convert(s string) string {
	if !hasAccent(s) {
		return s
	}
	switch e {
	case TCVN3:
		return capitals(s, singleBytes(s, &tcvn3))
	case VPS:
		return singleBytes(s, &vps)
	case VNI:
		return fromVNI(s)
	case Mojibake:
		return reread(s)
	}
	return s
}

func singleBytes(s string, table *[256]rune) string {
	return strings.Map(func(r rune) rune {
		if b, ok := byteOf(r); ok && table[b] != 0 {
			return table[b]
		}
		return r
	}, s)
}

// byteOf is the byte that was taken for the letter: in Windows-1252, as browsers read Latin-1.
func byteOf(r rune) (byte, bool) {
	if r >= 0x80 && r < 0x100 {
		return byte(r), true
	}
	if r < 0x80 {
		return 0, false
	}
	return charmap.Windows1252.EncodeRune(r)
}

// capitals gives accented letters the case of the others in their word. TCVN3 has no capital letters
// with tones: a font of its own (.VnTimeH) shows small ones as capitals.
func capitals(was, now string) string {
	small := func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' }) }
	large := func(s string) (n int) {
		for _, r := range s {
			if 'A' <= r && r <= 'Z' {
				n++
			}
		}
		return n
	}
	if large(was) < 2 {
		return now
	}
	if !small(was) {
		return strings.ToUpper(now)
	}
	var b strings.Builder
	at := 0
	for i, r := range now {
		if unicode.IsLetter(r) {
			continue
		}
		b.WriteString(capitalWord(now[at:i], small, large))
		b.WriteRune(r)
		at = i + utf8.RuneLen(r)
		if r == utf8.RuneError {
			at = i + 1
		}
	}
	return b.String() + capitalWord(now[at:], small, large)
}

func capitalWord(word string, small func(string) bool, large func(string) int) string {
	if large(word) >= 2 && !small(word) {
		return strings.ToUpper(word)
	}
	return word
}

// fromVNI joins letters with the marks that follow them.
func fromVNI(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	var last rune // not written yet: the next may be its mark; 0: none
	flush := func() {
		if last != 0 {
			if single, ok := vniSingle[last]; ok {
				last = single
			}
			b.WriteRune(last)
		}
	}
	for _, r := range s {
		if letter, ok := vniPairs[[2]rune{last, r}]; ok {
			b.WriteRune(letter)
			last = 0
			continue
		}
		flush()
		last = r
	}
	flush()
	return b.String()
}

// reread takes the letters for the bytes that they were, where these are UTF-8. That of "à" is C3 A0, of
// which the second is a no-break space, and often an ordinary one by now.
func reread(s string) string {
	if raw := bytesOf(s); raw != nil && utf8.Valid(raw) {
		return norm.NFC.String(string(raw))
	}
	if raw := bytesOf(strings.ReplaceAll(s, "Ã ", "Ã\u00a0")); raw != nil && utf8.Valid(raw) {
		return norm.NFC.String(string(raw))
	}
	return s
}

// bytesOf is nil when there are letters that no byte was taken for.
func bytesOf(s string) []byte {
	raw := make([]byte, 0, len(s))
	for _, r := range s {
		if r < utf8.RuneSelf {
			raw = append(raw, byte(r))
			continue
		}
		b, ok := byteOf(r)
		if !ok {
			return nil
		}
		raw = append(raw, b)
	}
	return raw
}
