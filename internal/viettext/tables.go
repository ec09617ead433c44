package viettext

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// tones are none, huyền, hỏi, ngã, sắc and nặng, as combining marks.
var tones = [...]string{"", "\u0300", "\u0309", "\u0303", "\u0301", "\u0323"}

// compose gives the letter of a vowel with a tone.
func compose(vowel rune, tone string) rune {
	return []rune(norm.NFC.String(string(vowel) + tone))[0]
}

// tcvn3 are the bytes of TCVN 5712:1993, VN3. Of capital letters it has only those without tone.
var tcvn3 = singleByteTable(map[rune]string{ // vowel: bytes with huyền, hỏi, ngã, sắc, nặng, and with none
	'a': "\xb5\xb6\xb7\xb8\xb9", 'ă': "\xbb\xbc\xbd\xbe\xc6\xa8", 'â': "\xc7\xc8\xc9\xca\xcb\xa9",
	'e': "\xcc\xce\xcf\xd0\xd1", 'ê': "\xd2\xd3\xd4\xd5\xd6\xaa", 'i': "\xd7\xd8\xdc\xdd\xde",
	'o': "\xdf\xe1\xe2\xe3\xe4", 'ô': "\xe5\xe6\xe7\xe8\xe9\xab", 'ơ': "\xea\xeb\xec\xed\xee\xac",
	'u': "\xef\xf1\xf2\xf3\xf4", 'ư': "\xf5\xf6\xf7\xf8\xf9\xad", 'y': "\xfa\xfb\xfc\xfd\xfe",
}, map[byte]rune{0xae: 'đ', 0xa1: 'Ă', 0xa2: 'Â', 0xa7: 'Đ', 0xa3: 'Ê', 0xa4: 'Ô', 0xa5: 'Ơ', 0xa6: 'Ư'})

// vps are the bytes of the Vietnamese Professionals Society's encoding: all small letters, and
// the capital ones that are neither control characters nor typographic marks in Windows-1252.
var vps = singleByteTable(map[rune]string{
	'a': "\xe0\xe4\xe3\xe1\xe5", 'ă': "\xa2\xa3\xa4\xa1\xa5\xe6", 'â': "\xc0\xc4\xc5\xc3\xc6\xe2",
	'e': "\xe8\xc8\xeb\xe9\xcb", 'ê': "\x8a\x8b\xcd\x89\x8c\xea", 'i': "\xec\xcc\xef\xed\xce",
	'o': "\xf2\xd5\xf5\xf3\x86", 'ô': "\xd2\xb0\x87\xd3\xb6\xf4", 'ơ': "\xa9\xaa\xab\xa7\xae\xd6",
	'u': "\xf9\xfb\xdb\xfa\xf8", 'ư': "\xd8\xba\xbb\xd9\xbf\xdc", 'y': "\xff\x9b\xcf\x9a\x9c",
}, map[byte]rune{0xc7: 'đ', 0xf1: 'Đ', 0xc1: 'Á', 0x80: 'À', 0x81: 'Ả', 0x82: 'Ã', 0xc2: 'Â', 0x83: 'Ấ', 0x84: 'Ầ', 0x88: 'Ă', 0x8d: 'Ắ', 0x8e: 'Ằ', 0x8f: 'Ẳ', 0xf0: 'Ẵ',
	0xc9: 'É', 0xd7: 'È', 0xde: 'Ẻ', 0xfe: 'Ẽ', 0xca: 'Ê', 0x90: 'Ế', 0xb4: 'Í', 0xb5: 'Ì', 0xb7: 'Ỉ', 0xb8: 'Ĩ', 0xb9: 'Ó', 0xbc: 'Ò', 0xbd: 'Ỏ', 0xbe: 'Õ', 0xd4: 'Ô', 0x98: 'Ổ', 0x99: 'Ỗ',
	0xf7: 'Ơ', 0x9d: 'Ớ', 0x9e: 'Ờ', 0x9f: 'Ở', 0xa6: 'Ỡ', 0xda: 'Ú', 0xa8: 'Ù', 0xd1: 'Ủ', 0xac: 'Ũ', 0xd0: 'Ư', 0xad: 'Ứ', 0xaf: 'Ừ', 0xb1: 'Ử', 0xdd: 'Ý', 0xb2: 'Ỳ', 0xfd: 'Ỷ', 0xb3: 'Ỹ'})

func singleByteTable(small map[rune]string, others map[byte]rune) (table [256]rune) {
	for vowel, bytes := range small {
		for i := range len(bytes) {
			table[bytes[i]] = compose(vowel, tones[(i+1)%len(tones)])
		}
	}
	for b, r := range others {
		table[b] = r
	}
	return table
}

// VNI writes a letter and, as a second character, its mark and tone: vniPairs. Some letters are one
// character: vniSingle, in which ơ and ư may be followed by a tone.
var vniPairs, vniSingle = vniTables()

func vniTables() (pairs map[[2]rune]rune, single map[rune]rune) {
	pairs, single = map[[2]rune]rune{}, map[rune]rune{}
	both := func(set func(upper func(rune) rune)) {
		set(func(r rune) rune { return r })
		set(func(r rune) rune { return []rune(strings.ToUpper(string(r)))[0] })
	}
	marked := []struct {
		vowel   rune
		first   rune   // the character that it is written with
		marks   []rune // huyền, hỏi, ngã, sắc, nặng
		without rune   // the mark of the vowel without tone; 0: none
		alone   bool   // first stands for the vowel by itself
	}{
		{'a', 'a', []rune("øûõùï"), 0, false}, {'ă', 'a', []rune("èúüéë"), 'ê', false}, {'â', 'a', []rune("àåãáä"), 'â', false},
		{'e', 'e', []rune("øûõùï"), 0, false}, {'ê', 'e', []rune("àåãáä"), 'â', false},
		{'o', 'o', []rune("øûõùï"), 0, false}, {'ô', 'o', []rune("àåãáä"), 'â', false}, {'ơ', 'ô', []rune("øûõùï"), 0, true},
		{'u', 'u', []rune("øûõùï"), 0, false}, {'ư', 'ö', []rune("øûõùï"), 0, true}, {'y', 'y', []rune("øûõù"), 0, false},
	}
	for _, m := range marked {
		both(func(upper func(rune) rune) {
			for i, mark := range m.marks {
				letter := upper(compose(m.vowel, tones[i+1]))
				// A capital letter may have a small mark: the shift key was let go in between.
				pairs[[2]rune{upper(m.first), upper(mark)}] = letter
				pairs[[2]rune{upper(m.first), mark}] = letter
			}
			if m.without != 0 {
				pairs[[2]rune{upper(m.first), upper(m.without)}] = upper(m.vowel)
				pairs[[2]rune{upper(m.first), m.without}] = upper(m.vowel)
			}
			if m.alone {
				single[upper(m.first)] = upper(m.vowel)
			}
		})
	}
	for from, to := range map[rune]rune{'ñ': 'đ', 'æ': 'ỉ', 'ó': 'ĩ', 'ò': 'ị', 'î': 'ỵ'} { // í and ì are themselves
		both(func(upper func(rune) rune) { single[upper(from)] = upper(to) })
	}
	return pairs, single
}
