package sample

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"slices"
)

// develop enlarges a painting to its full size, smoothly, and adds the grain of a sensor:
// without it a JPEG would be a fraction of a photograph's size.
func develop(painting *image.RGBA, width, height int, seed uint64) *image.RGBA {
	const one = 256 // fixed point
	from := painting.Bounds().Size()
	type column struct{ left, right, share int }
	columns := make([]column, width)
	for x := range columns {
		at := max((2*x+1)*from.X*one/(2*width)-one/2, 0)
		left := at / one
		columns[x] = column{left * 4, min(left+1, from.X-1) * 4, at % one}
	}
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	byRows(height, func(y int) {
		at := max((2*y+1)*from.Y*one/(2*height)-one/2, 0)
		top, share := at/one, at%one
		a := painting.Pix[top*painting.Stride:]
		b := painting.Pix[min(top+1, from.Y-1)*painting.Stride:]
		row := out.Pix[y*out.Stride : (y+1)*out.Stride]
		state := hash(uint64(y), 77, seed)
		for x, c := range columns {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			// The sum of three small numbers is near enough to a normal one.
			grain := int(state&7) + int(state>>8&7) + int(state>>16&7) - 10
			for k := range 3 {
				above := int(a[c.left+k])*(one-c.share) + int(a[c.right+k])*c.share
				below := int(b[c.left+k])*(one-c.share) + int(b[c.right+k])*c.share
				value := (above*(one-share)+below*share)>>16 + grain
				row[x*4+k] = uint8(min(max(value, 0), 255))
			}
			row[x*4+3] = 255
		}
	})
	return out
}

// turnLeft rotates a picture by 90 degrees counter-clockwise: what a camera stores when it
// was held upright and notes orientation 6.
func turnLeft(img *image.RGBA) *image.RGBA {
	size := img.Bounds().Size()
	out := image.NewRGBA(image.Rect(0, 0, size.Y, size.X))
	for y := range size.X {
		for x := range size.Y {
			copy(out.Pix[out.PixOffset(x, y):][:4], img.Pix[img.PixOffset(size.X-1-y, x):][:4])
		}
	}
	return out
}

// jpegQuality is that of a newspaper's originals: some 2.5 MB for 12 megapixels.
const jpegQuality = 90

// encodeJPEG writes a JPEG with the given EXIF block, if any.
func encodeJPEG(img image.Image, exif []byte) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: jpegQuality}); err != nil {
		panic(err) // a buffer takes everything, and no picture here is too large
	}
	if exif == nil {
		return b.Bytes()
	}
	segment := []byte{0xff, 0xe1} // APP1, directly after the start of image
	segment = binary.BigEndian.AppendUint16(segment, uint16(2+6+len(exif)))
	segment = append(segment, "Exif\x00\x00"...)
	return slices.Concat(b.Bytes()[:2], segment, exif, b.Bytes()[2:])
}

// TIFF types (EXIF 2.32 §4.6.2).
const (
	tiffByte     = 1
	tiffASCII    = 2
	tiffShort    = 3
	tiffLong     = 4
	tiffRational = 5
)

type tag struct {
	id, kind uint16
	count    uint32
	value    []byte
}

// cameraEXIF is what a telephone notes: how it was held, who took the picture, and where.
func cameraEXIF(artist, copyright string) []byte {
	be := binary.BigEndian
	text := func(id uint16, s string) tag { return tag{id, tiffASCII, uint32(len(s) + 1), append([]byte(s), 0)} }
	short := func(id, v uint16) tag { return tag{id, tiffShort, 1, be.AppendUint16(nil, v)} }
	degrees := func(id uint16, parts ...uint32) tag { // degrees, minutes, hundredths of seconds
		var b []byte
		for i, part := range parts {
			b = be.AppendUint32(be.AppendUint32(b, part), []uint32{1, 1, 100}[i])
		}
		return tag{id, tiffRational, 3, b}
	}
	gps := []tag{
		{0x0000, tiffByte, 4, []byte{2, 3, 0, 0}},
		text(0x0001, "N"), degrees(0x0002, 10, 21, 3318),
		text(0x0003, "E"), degrees(0x0004, 109, 4, 1592),
	}
	main := []tag{
		text(0x010f, "An Hoa"), text(0x0110, "Mau 12"),
		short(0x0112, 6), // turn by 90 degrees clockwise to show
		text(0x0132, "2026:11:14 17:42:10"),
		text(0x013b, artist), text(0x8298, copyright),
		{0x8825, tiffLong, 1, nil}, // where the GPS directory is; filled in below
	}
	const header = 8
	length := len(directory(main, 0))
	main[len(main)-1].value = be.AppendUint32(nil, uint32(header+length))
	exif := be.AppendUint32([]byte("MM\x00\x2a"), header)
	exif = append(exif, directory(main, header)...)
	return append(exif, directory(gps, header+length)...)
}

// directory lays out a TIFF directory that begins at offset: twelve bytes a tag, then what
// does not fit into four of them.
func directory(tags []tag, offset int) []byte {
	be := binary.BigEndian
	out := be.AppendUint16(nil, uint16(len(tags)))
	var rest []byte
	behind := offset + 2 + 12*len(tags) + 4
	for _, t := range tags {
		out = be.AppendUint32(be.AppendUint16(be.AppendUint16(out, t.id), t.kind), t.count)
		if len(t.value) <= 4 {
			var inline [4]byte
			copy(inline[:], t.value)
			out = append(out, inline[:]...)
			continue
		}
		out = be.AppendUint32(out, uint32(behind+len(rest)))
		rest = append(rest, t.value...)
		if len(rest)%2 == 1 {
			rest = append(rest, 0) // offsets are even
		}
	}
	return append(append(out, 0, 0, 0, 0), rest...)
}
