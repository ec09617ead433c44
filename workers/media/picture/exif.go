package picture

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
)

// Tags of the first directory of Exif metadata (Exif 2.32, §4.6.4), which is a TIFF file.
const (
	tagOrientation = 0x0112
	tagArtist      = 0x013B
	tagCopyright   = 0x8298
)

// TIFF field types.
const (
	typeASCII = 2
	typeShort = 3
)

// maxText is in bytes: a name or a notice is shorter; what is longer is cut.
const maxText = 512

// readEXIF takes what is kept from a TIFF structure; prefix or not, since WebP files are seen
// with both. What is out of bounds is passed over: faulty metadata is no reason to refuse a
// picture.
func (m *metadata) readEXIF(b []byte) {
	b = bytes.TrimPrefix(b, []byte(exifPrefix))
	if len(b) < 8 {
		return
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return
	}
	ifd := uint64(order.Uint32(b[4:]))
	if ifd+2 > uint64(len(b)) {
		return
	}
	entries := b[ifd+2:]
	for range order.Uint16(b[ifd:]) {
		if len(entries) < 12 {
			return
		}
		e := entries[:12]
		entries = entries[12:]
		kind, count := order.Uint16(e[2:]), uint64(order.Uint32(e[4:]))
		switch tag := order.Uint16(e); {
		case tag == tagOrientation && kind == typeShort && count == 1:
			// Editors have been seen to add a second Exif segment: the first counts, as in browsers.
			if o := int(order.Uint16(e[8:])); o >= 1 && o <= 8 && m.orientation == 0 {
				m.orientation = o
			}
		case (tag == tagArtist || tag == tagCopyright) && kind == typeASCII:
			value := e[8:]
			if count > 4 { // it does not fit, so its place is given
				at := uint64(order.Uint32(value))
				if at+count > uint64(len(b)) {
					continue
				}
				value = b[at : at+count]
			} else {
				value = value[:count]
			}
			if tag == tagArtist {
				m.artist = cleanText(value)
			} else {
				m.copyright = cleanText(value)
			}
		}
	}
}

// exif writes the orientation, if withOrientation and it is not the normal one, artist and
// copyright as a TIFF structure; nil when there is nothing to say.
func (m *metadata) exif(withOrientation bool) []byte {
	type field struct {
		tag, kind uint16
		short     uint16
		text      string // with its final NUL
	}
	var fields []field // in the order of their tags, as TIFF wants them
	if withOrientation && m.orientation > 1 {
		fields = append(fields, field{tag: tagOrientation, kind: typeShort, short: uint16(m.orientation)})
	}
	if m.artist != "" {
		fields = append(fields, field{tag: tagArtist, kind: typeASCII, text: m.artist + "\x00"})
	}
	if m.copyright != "" {
		fields = append(fields, field{tag: tagCopyright, kind: typeASCII, text: m.copyright + "\x00"})
	}
	if len(fields) == 0 {
		return nil
	}
	be := binary.BigEndian
	b := append([]byte("MM\x00*"), 0, 0, 0, 8)
	b = be.AppendUint16(b, uint16(len(fields)))
	texts := len(b) + 12*len(fields) + 4
	var tail []byte
	for _, f := range fields {
		b = be.AppendUint16(b, f.tag)
		b = be.AppendUint16(b, f.kind)
		switch {
		case f.kind == typeShort:
			b = be.AppendUint32(b, 1)
			b = be.AppendUint16(b, f.short)
			b = append(b, 0, 0)
		case len(f.text) <= 4:
			b = be.AppendUint32(b, uint32(len(f.text)))
			b = append(b, f.text...)
			b = append(b, make([]byte, 4-len(f.text))...)
		default:
			b = be.AppendUint32(b, uint32(len(f.text)))
			b = be.AppendUint32(b, uint32(texts+len(tail)))
			tail = append(tail, f.text...)
			if len(tail)%2 == 1 { // values begin on a word boundary
				tail = append(tail, 0)
			}
		}
	}
	b = be.AppendUint32(b, 0) // no further directory
	return append(b, tail...)
}

// readIPTC takes artist, copyright and credit from a Photoshop resource block (APP13), where press
// agencies write them, unless Exif gave them.
func (m *metadata) readIPTC(b []byte) {
	const iptcResource = 0x0404
	for len(b) >= 12 && string(b[:4]) == "8BIM" {
		id := binary.BigEndian.Uint16(b[4:])
		name := 1 + int(b[6]) // a Pascal string, padded to an even length
		at := 6 + name + name%2
		if at+4 > len(b) {
			return
		}
		size := int(binary.BigEndian.Uint32(b[at:]))
		b = b[at+4:]
		if size > len(b) {
			return
		}
		if id == iptcResource {
			m.readIIM(b[:size])
		}
		b = b[min(size+size%2, len(b)):]
	}
}

// readIIM reads IPTC IIM datasets: a tag marker, record, dataset, length and value each.
func (m *metadata) readIIM(b []byte) {
	const (
		byLine    = 2<<8 | 80
		credit    = 2<<8 | 110
		copyright = 2<<8 | 116
	)
	for len(b) >= 5 && b[0] == 0x1c {
		id := int(b[1])<<8 | int(b[2])
		size := int(binary.BigEndian.Uint16(b[3:]))
		b = b[5:]
		if size > len(b) { // also the extended form, for values of 32 KiB and more
			return
		}
		switch {
		case id == byLine && m.artist == "":
			m.artist = cleanText(b[:size])
		case id == copyright && m.copyright == "":
			m.copyright = cleanText(b[:size])
		case id == credit && m.credit == "":
			m.credit = cleanText(b[:size])
		}
		b = b[size:]
	}
}

// cleanText is the first non-empty of the NUL-separated parts of a text (Exif parts the
// photographer's copyright from the editor's so), valid and on one line.
func cleanText(b []byte) string {
	for part := range bytes.SplitSeq(b, []byte{0}) {
		s := strings.ToValidUTF8(string(part), "")
		s = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, s)
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if len(s) > maxText {
			s = strings.TrimSpace(strings.ToValidUTF8(s[:maxText], ""))
		}
		return s
	}
	return ""
}
