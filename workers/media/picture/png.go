package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// PNG colour types (PNG third edition, table 12).
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// openPNG walks the chunks up to IEND. Checksums and compressed data are the decoder's to check.
func openPNG(data []byte) (*file, error) {
	f := &file{clean: make([]byte, 0, len(data))}
	f.clean = append(f.clean, pngSignature...)
	b := data[len(pngSignature):]
	var transparent bool
	var depth, colour, interlace byte
	for first := true; ; first = false {
		if len(b) < 12 {
			return nil, refused("truncated PNG: no end")
		}
		size, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if size > int64(len(b)-12) {
			return nil, refused("truncated PNG: chunk %q of %d bytes, %d left", kind, size, len(b)-12)
		}
		chunk, content := b[:12+size], b[8:8+size]
		b = b[12+size:]
		if first != (kind == "IHDR") || first && size != 13 {
			return nil, refused("PNG with a faulty header")
		}
		switch kind {
		case "IHDR":
			// Compared as int64: a width over 2^31 must not become a negative one.
			w, h := int64(binary.BigEndian.Uint32(content)), int64(binary.BigEndian.Uint32(content[4:]))
			if w > 1<<31-1 || h > 1<<31-1 {
				return nil, refused("PNG with a faulty header")
			}
			f.width, f.height = int(w), int(h)
			depth, colour, interlace = content[8], content[9], content[12]
		case "tRNS":
			transparent = true
		case "iCCP":
			f.meta.icc = inflateProfile(content)
		case "eXIf":
			f.meta.readEXIF(content)
			continue
		case "tEXt", "iTXt":
			f.meta.readPNGText(kind, content)
			continue
		case "PLTE", "IDAT", "IEND":
		case "gAMA", "cHRM", "sRGB", "sBIT", "cICP", "mDCV", "cLLI", "pHYs", "bKGD": // how it is to look
		case "fcTL": // how it moves
			f.frames++
		case "acTL", "fdAT":
		default:
			continue
		}
		if kind == "IEND" {
			f.decoded = pngMemory(f.width, f.height, depth, colour, transparent, interlace != 0)
			// Written here, last: Exif may come after the picture, and decoders read either way.
			if exif := f.meta.exif(true); exif != nil {
				f.clean = appendPNGChunk(f.clean, "eXIf", exif)
			}
			if xmp := f.meta.xmp(); xmp != nil {
				// Compression flag and method, no language, no translated keyword.
				f.clean = appendPNGChunk(f.clean, "iTXt", slices.Concat([]byte(xmpKeyword+"\x00\x00\x00\x00\x00"), xmp))
			}
			f.clean = append(f.clean, chunk...)
			return f, nil
		}
		f.clean = append(f.clean, chunk...)
	}
}

// pngMemory follows what image/png makes of the colour types.
func pngMemory(w, h int, depth, colour byte, transparent, interlaced bool) int64 {
	var pixel int64
	switch colour {
	case pngPalette:
		pixel = 1
	case pngGrey:
		pixel = 1
		if transparent {
			pixel = 4
		}
	default:
		pixel = 4
	}
	if depth == 16 {
		pixel *= 2
	}
	if interlaced {
		pixel *= 2 // each pass is decoded into a picture of its own
	}
	return pixel * int64(w) * int64(h)
}

// readPNGText takes artist and copyright from text chunks that are not compressed (PNG §11.3.3).
func (m *metadata) readPNGText(kind string, b []byte) {
	keyword, text, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return
	}
	if kind == "iTXt" {
		// Compression flag and method, language tag, translated keyword, text.
		if len(text) < 2 || text[0] != 0 {
			return
		}
		_, text, ok = bytes.Cut(text[2:], []byte{0})
		if ok {
			_, text, ok = bytes.Cut(text, []byte{0})
		}
		if !ok {
			return
		}
	} else {
		text = latin1(text)
	}
	switch string(keyword) {
	case xmpKeyword:
		m.readXMP(text)
	case "Author":
		m.artist = cleanText(text)
	case "Copyright":
		m.copyright = cleanText(text)
	}
}

// latin1 converts what tEXt holds to UTF-8; no more of it than is kept.
func latin1(b []byte) []byte {
	out := make([]byte, 0, maxText)
	for _, c := range b[:min(len(b), maxText)] {
		out = append(out, string(rune(c))...)
	}
	return out
}

// inflateProfile reads an iCCP chunk: a name, a compression method and zlib data. Of what is
// longer than renditions carry only so much is inflated as shows it.
func inflateProfile(b []byte) []byte {
	_, packed, ok := bytes.Cut(b, []byte{0})
	if !ok || len(packed) < 1 || packed[0] != 0 {
		return nil
	}
	r, err := zlib.NewReader(bytes.NewReader(packed[1:]))
	if err != nil {
		return nil
	}
	defer r.Close()
	profile, err := io.ReadAll(io.LimitReader(r, maxProfile+1))
	if err != nil {
		return nil
	}
	return profile
}

func appendPNGChunk(out []byte, kind string, content []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(content)))
	from := len(out)
	out = append(out, kind...)
	out = append(out, content...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[from:]))
}
