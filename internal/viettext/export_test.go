package viettext

import (
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// Encode writes Vietnamese in an older encoding, as letters of Windows-1252: what Convert
// takes back.
func Encode(e Encoding, s string) string {
	var back = map[rune]string{}
	switch e {
	case TCVN3, VPS:
		table := &tcvn3
		if e == VPS {
			table = &vps
		}
		for b, r := range table {
			if r != 0 {
				back[r] = strings.Replace(string(charmap.Windows1252.DecodeByte(byte(b))), "\uFFFD", string(rune(b)), 1)
			}
		}
	case VNI:
		for r, to := range vniSingle {
			back[to] = string(r)
		}
		for pair, to := range vniPairs {
			if have, ok := back[to]; !ok || string(pair[:]) < have { // the capital mark after a capital letter
				back[to] = string(pair[:])
			}
		}
	case Mojibake:
		out := ""
		for _, b := range []byte(s) {
			r := charmap.Windows1252.DecodeByte(b)
			if r == '\uFFFD' { // not a letter there; browsers take the byte for a control character
				r = rune(b)
			}
			out += string(r)
		}
		return out
	}
	out := ""
	for _, r := range s {
		if to, ok := back[r]; ok {
			out += to
		} else {
			out += string(r)
		}
	}
	return out
}
