package viettext

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// onsets are the consonants that a syllable may begin with; longer ones first.
var onsets = []string{"ngh", "ng", "nh", "ch", "gh", "gi", "kh", "ph", "qu", "th", "tr", "b", "c", "d", "đ", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "x"}

// rhymes are what may follow, without tone.
var rhymes = func() map[string]bool {
	m := map[string]bool{}
	for rhyme := range strings.FieldsSeq(`
		a ac ach ai am an ang anh ao ap at au ay  ăc ăm ăn ăng ăp ăt  âc âm ân âng âp ât âu ây
		e ec em en eng eo ep et  ê êch êm ên êng ênh êp êt êu
		i ia ich im in inh ip it iu  iêc iêm iên iêng iêp iêt iêu
		o oa oac oach oai oam oan oang oanh oao oap oat oay oăc oăm oăn oăng oăt oc oe oen oeo oet oi om on ong ooc oong op ot
		ô ôc ôi ôm ôn ông ôp ôt  ơ ơi ơm ơn ơp ơt
		u ua uâ uân uâng uât uây uc uê uêch uênh uơ ui um un ung up ut uôc uôi uôm uôn uông uôt uy uya uych uynh uyt uyu uyên uyêt
		ư ưa ưc ưi ưm ưn ưng ưt ưu ươc ươi ươm ươn ương ươp ươt ươu
		y yêm yên yêng yêt yêu`) {
		m[rhyme] = true
	}
	return m
}()

// isSyllable tells whether a word is one that Vietnamese could have: a syllable of its onsets and
// rhymes, whose tone goes with its end.
func isSyllable(word string) bool {
	var bare strings.Builder
	tone := ""
	for _, r := range norm.NFD.String(strings.ToLower(word)) {
		switch mark := string(r); mark {
		case tones[1], tones[2], tones[3], tones[4], tones[5]:
			if tone != "" {
				return false
			}
			tone = mark
		default:
			bare.WriteRune(r)
		}
	}
	s := norm.NFC.String(bare.String())
	if fits(s, tone) {
		return true
	}
	for _, onset := range onsets {
		if rest, ok := strings.CutPrefix(s, onset); ok && fits(rest, tone) {
			return true
		}
	}
	return false
}

func fits(rhyme, tone string) bool {
	if !rhymes[rhyme] {
		return false
	}
	if strings.HasSuffix(rhyme, "c") || strings.HasSuffix(rhyme, "ch") || strings.HasSuffix(rhyme, "p") || strings.HasSuffix(rhyme, "t") {
		return tone == tones[4] || tone == tones[5] // a stop has sắc or nặng
	}
	return true
}
