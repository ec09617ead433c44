package picture

import (
	"encoding/binary"
	"errors"
)

// Blocks and extensions of a GIF file (GIF89a, appendix A).
const (
	gifExtension = 0x21
	gifImage     = 0x2c
	gifTrailer   = 0x3b

	gifControl     = 0xf9
	gifApplication = 0xff
)

// Application extensions that belong to the picture: how often it is repeated, its colours.
var gifKept = map[string]bool{"NETSCAPE2.0": true, "ANIMEXTS1.0": true, "ICCRGBG1012": true}

// errGIFEnds says that a block goes on behind the end of the file.
var errGIFEnds = errors.New("file ends")

// openGIF walks the blocks. An animation that breaks off is cut behind its last whole frame;
// many do, and browsers show them.
func openGIF(data []byte) (*file, error) {
	const header = 13
	if len(data) < header {
		return nil, refused("truncated GIF: no header")
	}
	f := &file{
		width:  int(binary.LittleEndian.Uint16(data[6:])),
		height: int(binary.LittleEndian.Uint16(data[8:])),
	}
	end := header + gifTable(data[10])
	if end > len(data) {
		return nil, refused("truncated GIF: no palette")
	}
	clean := append(make([]byte, 0, len(data)), data[:end]...)
	for b := data[end:]; len(b) > 0 && b[0] != gifTrailer; {
		n, keep, err := gifBlock(b)
		if errors.Is(err, errGIFEnds) && f.frames > 0 {
			break
		}
		if err != nil {
			return nil, refused("truncated or damaged GIF: %v", err)
		}
		if b[0] == gifImage {
			if f.frames == 0 {
				f.firstGIFFrame(b)
			}
			f.frames++
		}
		if keep {
			clean = append(clean, b[:n]...)
		}
		b = b[n:]
	}
	if f.frames == 0 {
		return nil, refused("GIF without a picture")
	}
	f.clean = append(clean, gifTrailer)
	return f, nil
}

// gifBlock measures the block that b begins with, and tells whether it is part of the picture.
func gifBlock(b []byte) (n int, keep bool, err error) {
	switch b[0] {
	case gifImage:
		if len(b) < 10 {
			return 0, false, errGIFEnds
		}
		n = 10 + gifTable(b[9]) + 1 // descriptor, palette, LZW code size
		keep = true
	case gifExtension:
		if len(b) < 3 {
			return 0, false, errGIFEnds
		}
		n = 2
		keep = b[1] == gifControl || b[1] == gifApplication && len(b) >= 14 && b[2] == 11 && gifKept[string(b[3:14])]
	default:
		return 0, false, errors.New("unknown block")
	}
	for { // sub-blocks, up to an empty one
		if n >= len(b) {
			return 0, false, errGIFEnds
		}
		size := int(b[n])
		n += 1 + size
		if size == 0 {
			return n, keep, nil
		}
	}
}

// gifTable is the length in bytes of the palette that the flags announce.
func gifTable(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (1 + flags&7)
}

func (f *file) firstGIFFrame(b []byte) {
	le := binary.LittleEndian
	f.frameX, f.frameY = int(le.Uint16(b[1:])), int(le.Uint16(b[3:]))
	w, h := int64(le.Uint16(b[5:])), int64(le.Uint16(b[7:]))
	f.decoded = w*h + 4*int64(f.width)*int64(f.height) // palette indices, and the canvas
}
