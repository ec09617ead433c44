package picture

import (
	"encoding/binary"
)

// Flags of the VP8X chunk (RFC 9649 §2.7.1).
const (
	webpXMP  = 1 << 2
	webpEXIF = 1 << 3
)

// openWebP walks the RIFF chunks. Unknown ones are left out; Exif and XMP are reduced.
func openWebP(data []byte) (*file, error) {
	le := binary.LittleEndian
	size := int64(le.Uint32(data[4:])) + 8
	if size > int64(len(data)) {
		return nil, refused("truncated WebP: %d bytes of %d", len(data), size)
	}
	if size < 12 {
		return nil, refused("WebP with a faulty header")
	}
	f := &file{clean: append(make([]byte, 0, size), data[:12]...)}
	extended := -1 // where the VP8X chunk's flags are in clean
	found := false
	for b := data[12:size]; len(b) >= 8; {
		kind, n := string(b[:4]), int64(le.Uint32(b[4:]))
		if n > int64(len(b)-8) {
			return nil, refused("truncated WebP: chunk %q of %d bytes, %d left", kind, n, len(b)-8)
		}
		content := b[8 : 8+n]
		b = b[min(8+n+n%2, int64(len(b))):]
		switch kind {
		case "VP8X":
			if len(f.clean) != 12 || n < 10 {
				return nil, refused("WebP with a faulty header")
			}
			f.width, f.height = uint24(content[4:])+1, uint24(content[7:])+1
			extended = 20
		case "VP8 ", "VP8L":
			if found {
				continue
			}
			w, h, ok := webpFrameSize(kind, content)
			if !ok {
				return nil, refused("WebP with a faulty frame header")
			}
			if extended < 0 {
				f.width, f.height = w, h
			}
			if w != f.width || h != f.height {
				return nil, refused("WebP with a frame of another size than its canvas")
			}
			f.decoded = webpMemory * int64(w) * int64(h)
			found = true
		case "ANMF":
			f.frames++
			if !found {
				if !f.firstWebPFrame(content) {
					return nil, refused("WebP with a faulty first frame")
				}
				found = true
			}
		case "ICCP":
			f.meta.icc = content
		case "EXIF":
			f.meta.readEXIF(content)
			continue
		case "XMP ":
			f.meta.readXMP(content)
			continue
		case "ANIM", "ALPH":
		default:
			continue
		}
		f.clean = appendWebPChunk(f.clean, kind, content)
	}
	if !found {
		return nil, refused("WebP without a picture")
	}
	if extended > 0 {
		f.clean[extended] &^= webpXMP | webpEXIF
		if exif := f.meta.exif(true); exif != nil {
			f.clean[extended] |= webpEXIF
			f.clean = appendWebPChunk(f.clean, "EXIF", exif)
		}
		if xmp := f.meta.xmp(); xmp != nil {
			f.clean[extended] |= webpXMP
			f.clean = appendWebPChunk(f.clean, "XMP ", xmp)
		}
	} else {
		f.meta = metadata{} // chunks that a simple file cannot have
	}
	le.PutUint32(f.clean[4:], uint32(len(f.clean)-8))
	return f, nil
}

// webpMemory is what a pixel costs the decoder, in bytes: ARGB, then NRGBA (lossless), or
// planes of luma, colour and alpha, then NRGBA.
const webpMemory = 8

// webpFrameSize reads the header of a bitstream (RFC 6386 §9.1, RFC 9649 §3.4). The decoder
// makes a picture of that size, whatever the container says.
func webpFrameSize(kind string, b []byte) (w, h int, ok bool) {
	le := binary.LittleEndian
	if kind == "VP8L" {
		if len(b) < 5 || b[0] != 0x2f {
			return 0, 0, false
		}
		bits := le.Uint32(b[1:])
		return int(bits&0x3fff) + 1, int(bits>>14&0x3fff) + 1, true
	}
	if len(b) < 10 || string(b[3:6]) != "\x9d\x01\x2a" {
		return 0, 0, false
	}
	return int(le.Uint16(b[6:]) & 0x3fff), int(le.Uint16(b[8:]) & 0x3fff), true
}

// firstWebPFrame reads an ANMF chunk: position, size, duration, then chunks.
func (f *file) firstWebPFrame(b []byte) bool {
	const header = 16
	if len(b) < header {
		return false
	}
	f.frameX, f.frameY = 2*uint24(b), 2*uint24(b[3:])
	width, height := uint24(b[6:])+1, uint24(b[9:])+1
	for b = b[header:]; len(b) >= 8; {
		kind, n := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		if n > int64(len(b)-8) {
			return false
		}
		if kind == "VP8 " || kind == "VP8L" {
			w, h, ok := webpFrameSize(kind, b[8:8+n])
			f.decoded = webpMemory*int64(w)*int64(h) + 4*int64(f.width)*int64(f.height)
			return ok && w == width && h == height && f.frameX+w <= f.width && f.frameY+h <= f.height
		}
		b = b[min(8+n+n%2, int64(len(b))):]
	}
	return false
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func appendWebPChunk(out []byte, kind string, content []byte) []byte {
	out = append(out, kind...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(content)))
	out = append(out, content...)
	if len(content)%2 == 1 {
		out = append(out, 0)
	}
	return out
}
