package article

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentences are found by rules for Vietnamese (and for the little English in its news). The
// default rules of Unicode (UAX 29) are no base for them: they end a sentence after "TP." in
// "TP. Hà Nội" and after "?" in "“Sao vậy?” ông hỏi", and none before "300 đại biểu".

// lastSentenceEnd is the offset of the last end of a sentence in the first limit bytes of s, one
// line of text; 0 when there is none. An end inside quotation marks or brackets counts only
// if there is no other.
func lastSentenceEnd(s string, limit int) int {
	var outer, inner int
	start, depth, straight := 0, 0, false
	for i := 0; i < limit; {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch r {
		case '“', '«', '(', '[':
			depth++
		case '”', '»', ')', ']':
			depth = max(0, depth-1)
		case '"':
			straight = !straight
		}
		if !isStop(r) {
			i += size
			continue
		}
		stop := i
		end := skip(s, i, isStop)
		for end < len(s) { // closing marks belong to the sentence
			r, size := utf8.DecodeRuneInString(s[end:])
			if !isCloser(r) || r == '"' && !straight {
				break
			}
			if r == '"' {
				straight = false
			} else if r != '\'' && r != '’' {
				depth = max(0, depth-1)
			}
			end += size
		}
		if end <= limit && endsSentence(s, start, stop, end) {
			inner = end
			if depth == 0 && !straight {
				outer = end
			}
			start = end
		}
		i = end
	}
	if outer > 0 {
		return outer
	}
	return inner
}

// endsSentence reports whether the stop at s[stop:], which with its closing marks reaches to end,
// ends the sentence that began at start.
func endsSentence(s string, start, stop, end int) bool {
	if end == len(s) {
		return true
	}
	if s[end] != ' ' { // 81.033,18; 8.30; www.example.vn; TP.HCM
		wide, _ := utf8.DecodeLastRuneInString(s[:end])
		return strings.ContainsRune("。！？", wide)
	}
	rest := s[end:]
	next, _ := utf8.DecodeRuneInString(rest[skip(rest, 0, isOpener):])
	if unicode.IsLower(next) { // v.v. và; “Sao vậy?” ông hỏi
		return false
	}
	if s[stop:end] != "." {
		return true
	}
	word := s[start:stop]
	if strings.TrimSpace(word) == "" {
		return false
	}
	if isLabel(word) { // "Điều 3. Phạm vi", "II. Nhiệm vụ"
		return false
	}
	rest = strings.TrimLeftFunc(rest, isOpener)
	if words := strings.Fields(word); len(words) > 2 && isLabel(strings.Join(words[len(words)-2:], " ")) {
		return opensSentence(rest) // "theo Điều 3. Luật Đất đai" is one sentence, "theo Điều 3. Sau đó" two
	}
	word = strings.TrimLeftFunc(word[strings.LastIndexByte(word, ' ')+1:], isOpener)
	return !joinsNext(word, rest)
}

func isStop(r rune) bool { return strings.ContainsRune(".!?…。！？", r) }

func isCloser(r rune) bool { return strings.ContainsRune(")]}»”’\"'", r) }

// isOpener reports whether r can stand between two sentences, before the first word.
func isOpener(r rune) bool { return strings.ContainsRune(" ([{«“‘\"'–—-•", r) }

// skip is the offset of the first rune from i on that is not of the kind.
func skip(s string, i int, kind func(rune) bool) int {
	if j := strings.IndexFunc(s[i:], func(r rune) bool { return !kind(r) }); j >= 0 {
		return i + j
	}
	return len(s)
}

// joinsNext reports whether the stop after word belongs to it, and the sentence goes on with rest.
func joinsNext(word, rest string) bool {
	next, _ := utf8.DecodeRuneInString(rest)
	if i := strings.LastIndexByte(word, '.'); i >= 0 && word != "v.v" { // GS.TS: the last part decides
		if abbreviations[word] {
			return !opensSentence(rest)
		}
		word = word[i+1:]
	}
	if unicode.IsDigit(next) {
		return numbered[word]
	}
	return isAbbreviation(word) && !opensSentence(rest)
}

// isAbbreviation reports whether word, without its stop, is one that a name follows: of the
// table, or an initial ("V.", and "Ng.", which Vietnamese counts as one letter).
func isAbbreviation(word string) bool {
	if abbreviations[word] || initials[word] {
		return true
	}
	r, size := utf8.DecodeRuneInString(word)
	return size > 0 && size == len(word) && unicode.IsUpper(r)
}

// isLabel reports whether a whole sentence, as far as its stop, does nothing but number what
// follows: "1", "II", "a", "Điều 3", "Phụ lục I".
func isLabel(s string) bool {
	s = strings.TrimFunc(s, isOpener)
	if i := strings.LastIndexByte(s, ' '); i >= 0 {
		return labels[s[:i]] && (isNumber(s[i+1:]) || isRoman(s[i+1:]))
	}
	_, size := utf8.DecodeRuneInString(s)
	return size == len(s) || isNumber(s) && len(s) <= len("99.9") || isRoman(s)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789.") == "" }
func isRoman(s string) bool  { return s != "" && strings.Trim(s, "IVXLC") == "" }

// opensSentence reports whether s begins with a word that a sentence begins with, rather than
// a name. Words that are names too (Bà in Bà Rịa, Tuy in Tuy Hòa) count only with their second word.
func opensSentence(s string) bool {
	first, rest, _ := strings.Cut(s, " ")
	second, _, _ := strings.Cut(rest, " ")
	trim := func(w string) string { return strings.TrimRight(w, ",;:!?") }
	return openers[trim(first)] || openers[first+" "+trim(second)]
}

var (
	// abbreviations are followed by a name.
	abbreviations = set(`
		TP Tp tp T.P TX Tx tx TT Tt tt KP Kp KĐT ĐT Đt Đg ĐL NXB BV ĐH CĐ Cty CTy
		ThS Ths Th.S TS Ts T.S PGS GS TSKH BS Bs BSCK BSCKI BSCKII CKI CKII KS Ks KTS Kts CN DS Ds LS Ls ThS.BS
		NSND NSƯT NGND NGƯT NNND NNƯT TTND TTƯT ĐD Đ/c đ/c ĐC Đc Ô/B TM T/M KT TL TUQ
		Tel Fax Hotline
		Mr Mrs Ms Dr Prof St Gen Col Capt Lt Sgt Rev Sen Rep Gov Hon Mt`)
	// numbered are followed by a number.
	numbered = set(`
		TP Tp tp TX TT KP Kp Q P H X K T F Đ q p tr Tr ĐT Đt SĐT Tel Fax Hotline No Nos no Vol vol Fig fig Art Sec Ch pp Jan Feb
		Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec`)
	// initials are written with two letters, since Vietnamese reads them as one sound.
	initials = set("Ch Gi Kh Ng Ngh Nh Ph Qu Th Tr")
	// labels number the parts of a text.
	labels = map[string]bool{
		"Bài": true, "Bảng": true, "Bước": true, "Chương": true, "Câu": true, "Hình": true, "Khoản": true, "Kỳ": true, "Mục": true,
		"Phần": true, "Phụ lục": true, "Quyển": true, "Số": true, "Tập": true, "Tiết": true, "Điều": true, "Điểm": true,
		"Article": true, "Chapter": true, "Part": true, "Section": true, "Step": true,
	}
	// openers begin sentences, and hardly ever names.
	openers = openerSet()
)

func openerSet() map[string]bool {
	m := set(`
		Theo Ông Chị Họ Nó Tôi Sau Trước Tại Ngày Ngay Trong Trên Dưới Ngoài Hiện Đến Khi Nếu Vì Do Nhưng Song Còn Cũng Đây Đó
		Các Những Một Nhiều Mỗi Mọi Cả Tất Với Để Được Bị Bởi Nhờ Cho Cùng Cơ Bên Người Vụ Việc Không Có Vừa Mới Lúc Hôm Chiều
		Tối UBND HĐND Bộ Sở
		The A An It He She They We This That These Those In On At But And After Before However`)
	for _, pair := range []string{
		"Bà cho", "Bà nói", "Bà cũng", "Bà còn", "Bà được", "Tuy nhiên", "Tuy vậy", "Mặt khác", "Đồng thời", "Đặc biệt", "Công an",
		"Công ty", "Lực lượng", "Chính quyền", "Chính phủ", "Thời gian", "Từ đó", "Từ ngày", "Qua đó", "Sáng nay", "Sáng cùng", "Toàn bộ",
		"Như vậy", "Năm nay", "Năm ngoái", "Đại diện", "Cuối cùng",
	} {
		m[pair] = true
	}
	return m
}
