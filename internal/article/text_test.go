package article

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestText(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		max  int
		want string
	}{
		"plain text stays":                      {"Phường Bến Nghé", 100, "Phường Bến Nghé"},
		"decomposed letters are composed":       {norm.NFD.String("Ủy ban nhân dân quận"), 100, "Ủy ban nhân dân quận"},
		"markup is text":                        {"<b>Giá</b> &amp; ]]><script>", 100, "<b>Giá</b> &amp; ]]><script>"},
		"white space is folded and trimmed":     {" \tBản\r\n tin\u00A0\u2003sáng\u2028nay\u0085", 100, "Bản tin sáng nay"},
		"controls go":                           {"a\x00\x07\x1Bb\x7F\u0090c\u000Bd", 100, "abc d"},
		"what XML cannot hold goes":             {"a\uFFFEb\uFFFFc\U0001FFFEd\uFDD0", 100, "abcd"},
		"invalid UTF-8 is marked":               {"a\xFFb\xE1\xBA", 100, "a\uFFFDb\uFFFD\uFFFD"},
		"surrogates in UTF-8 are marked":        {"a\xED\xA0\x80", 100, "a\uFFFD\uFFFD\uFFFD"},
		"bidi overrides go":                     {"thanh toán \u202Etxt.exe\u202C", 100, "thanh toán txt.exe"},
		"bidi isolates and marks go":            {"\u2066a\u2069\u200F\u061Cb", 100, "ab"},
		"zero-width spaces and the BOM go":      {"\uFEFFHà\u200B \u2060Nội\u00AD", 100, "Hà Nội"},
		"tags and fillers go":                   {"Giá\U000E0041\u3164\u115F", 100, "Giá"},
		"selectors do not pile up":              {"❤\uFE0F\uFE0F\uFE01 a", 100, "❤\uFE0F a"},
		"a family stays together":               {"👩\u200D👩\u200D👧 vui", 100, "👩\u200D👩\u200D👧 vui"},
		"a nodding face too":                    {"🙂\u200D↔\uFE0F", 100, "🙂\u200D↔\uFE0F"},
		"Persian keeps its non-joiners":         {"می\u200Cخواهم", 100, "می\u200Cخواهم"},
		"Latin needs none":                      {"ngân\u200Chàng\u200D", 100, "ngânhàng"},
		"a joiner at the edge joins nothing":    {"\u200D👩\u200D", 100, "👩"},
		"marks need a letter":                   {"\u0301a \u0338b", 100, "a b"},
		"towers of marks are levelled":          {"a" + strings.Repeat("\u0316", 500) + "b", 100, "a" + strings.Repeat("\u0316", maxMarks) + "b"},
		"a long text is cut":                    {"Mưa lớn kéo dài", 8, "Mưa lớn…"},
		"not before a mark":                     {"x\u0316\u0316\u0316yz", 3, "…"},
		"nor inside an emoji":                   {"a 👩\u200D👩\u200D👧 b", 4, "a…"},
		"nor between the letters of a flag":     {"🇻🇳🇻🇳", 2, "…"},
		"a text as long as the limit stays":     {"Tết", 3, "Tết"},
		"no room":                               {"Tết", 0, ""},
		"nothing but what cannot be seen":       {"\u200B\u202E\u3164 ", 10, ""},
		"numbers with an Arabic number sign":    {"\u0600\u0661", 10, "\u0600\u0661"},
		"an ideograph keeps its variant":        {"葛\U000E0100", 10, "葛\U000E0100"},
		"composition across a removed override": {"e\u202E\u0301", 10, "é"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Text(test.in, test.max); got != test.want {
				t.Errorf("got %+q, want %+q", got, test.want)
			}
		})
	}
}

func TestTextOfOneMegabyte(t *testing.T) {
	for name, unit := range map[string]string{
		"letters": "Đường ", "marks": "\u0316", "emoji": "👩\u200D", "overrides": "\u202E", "invalid": "\xFF", "jamo": "\u1100\u1161",
	} {
		t.Run(name, func(t *testing.T) {
			got := Text(strings.Repeat(unit, 1<<20/len(unit)), 200)
			if n := utf8.RuneCountInString(got); n > 200 {
				t.Errorf("%d runes", n)
			}
		})
	}
}

func TestLines(t *testing.T) {
	const in = "  Đính chính:\r\n\r\n\r\nBản trước  ghi sai\ttên.\u2028Xin lỗi\u202E bạn đọc.\n\n"
	const want = "Đính chính:\n\nBản trước ghi sai tên.\nXin lỗi bạn đọc."
	if got := Lines(in, 1000); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Lines(in, 12); got != "Đính chính:…" {
		t.Errorf("cut: %q", got)
	}
}

func TestChars(t *testing.T) {
	for in, want := range map[string]string{
		"a\u000Bb\x00c\uFFFEd": "a bcd",
		"\u202Ea\u2066\uFEFF":  "a",
		"Hà\u00A0Nội\u00AD\n":  "Hà\u00A0Nội\u00AD\n",
		"a\r\nb":               "a\nb",
		"o\u0302\u0301":        "ố",
		"<p>a\u0338</p>":       "<p>a\u0338</p>",
	} {
		if got := Chars(in); got != want {
			t.Errorf("Chars(%+q) = %+q, want %+q", in, got, want)
		}
	}
	fit := "Đã đúng: <p>Hà Nội</p>"
	if n := testing.AllocsPerRun(10, func() { Chars("plain") }); n != 0 || Chars(fit) != fit {
		t.Errorf("plain text costs %v allocations", n)
	}
}

// FuzzText checks that text is safe for every document, and stays as it is the second time.
func FuzzText(f *testing.F) {
	f.Add("Hà Nội \u202E\u200D👩\u200D👧", 10)
	f.Add("\u0958\u0344\u0344\u0338>\u0338", 5)
	f.Add("\u1100\u1161\u200C\u0915\u200D\u3164", 100)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(limit%1000, 0)
		for name, clean := range map[string]func(string) string{
			"Text":  func(s string) string { return Text(s, limit) },
			"Lines": func(s string) string { return Lines(s, limit) },
			"Chars": Chars,
		} {
			got := clean(s)
			checkChars(t, got)
			if again := clean(got); again != got {
				t.Errorf("%s(%+q) = %+q, then %+q", name, s, got, again)
			}
			if n := utf8.RuneCountInString(got); name != "Chars" && n > limit {
				t.Errorf("%s: %d runes of %d", name, n, limit)
			}
		}
	})
}

// checkChars reports what may not stand in any document.
func checkChars(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("invalid UTF-8: %+q", s)
	}
	if !norm.NFC.IsNormalString(s) {
		t.Errorf("not NFC: %+q", s)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' || r >= 0xFFFE && r <= 0xFFFF || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 {
			t.Errorf("%+q holds %U", s, r)
		}
	}
}
