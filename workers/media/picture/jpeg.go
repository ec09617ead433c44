package picture

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// JPEG markers (ITU-T T.81, table B.1).
const (
	mSOF0  = 0xc0
	mSOF1  = 0xc1
	mSOF2  = 0xc2
	mDHT   = 0xc4
	mRST0  = 0xd0
	mRST7  = 0xd7
	mSOI   = 0xd8
	mEOI   = 0xd9
	mSOS   = 0xda
	mDQT   = 0xdb
	mDRI   = 0xdd
	mAPP0  = 0xe0
	mAPP1  = 0xe1
	mAPP2  = 0xe2
	mAPP13 = 0xed
	mAPP14 = 0xee
	mAPP15 = 0xef
	mCOM   = 0xfe
)

// How application segments begin.
const (
	jfifPrefix      = "JFIF\x00"
	exifPrefix      = "Exif\x00\x00"
	iccPrefix       = "ICC_PROFILE\x00"
	photoshopPrefix = "Photoshop 3.0\x00"
	adobePrefix     = "Adobe"
)

// maxScans bounds a progressive picture's passes over all pixels: encoders make about 10.
// Thousands of empty ones cost their reader minutes.
const maxScans = 100

// jpegWalk goes through a JPEG file once, segment by segment.
type jpegWalk struct {
	file
	jfif  []byte // the first APP0 segment's content
	rest  []byte // the segments that are kept, and the scans between them
	icc   [][]byte
	scans int
	rgb   bool // put together from planes
}

func openJPEG(data []byte) (*file, error) {
	var w jpegWalk
	if err := w.walk(data[2:]); err != nil {
		return nil, err
	}
	if w.scans == 0 || w.width == 0 {
		return nil, refused("JPEG without a picture")
	}
	if w.rgb {
		w.decoded += 4 * int64(w.width) * int64(w.height)
	}
	w.meta.icc = bytes.Join(w.icc, nil)
	w.clean = slices.Grow([]byte{0xff, mSOI}, len(w.rest)+1<<10)
	if w.jfif != nil {
		w.clean = appendSegment(w.clean, mAPP0, jfifPrefix, w.jfif)
	}
	if exif := w.meta.exif(true); exif != nil {
		w.clean = appendSegment(w.clean, mAPP1, exifPrefix, exif)
	}
	if xmp := w.meta.xmp(); xmp != nil {
		w.clean = appendSegment(w.clean, mAPP1, xmpPrefix, xmp)
	}
	w.clean = append(w.clean, w.rest...)
	return &w.file, nil
}

// walk follows the segments up to the end of the first picture. What lies behind it (previews,
// gain maps, videos, archives) is left out. A file that lacks only the end marker gets one;
// whether picture data are missing is seen in decoding.
func (w *jpegWalk) walk(b []byte) error {
	for {
		// A marker is any number of 0xff and a code; bytes between segments are passed over, as
		// decoders do.
		at := bytes.IndexByte(b, 0xff)
		if at < 0 {
			break
		}
		for b = b[at:]; len(b) > 0 && b[0] == 0xff; b = b[1:] {
		}
		if len(b) == 0 {
			break
		}
		marker := b[0]
		b = b[1:]
		if marker == mEOI {
			break
		}
		if marker == 0 || marker >= mRST0 && marker <= mRST7 {
			continue
		}
		if len(b) < 2 {
			break
		}
		size := int(binary.BigEndian.Uint16(b))
		if size < 2 || size > len(b) {
			return refused("truncated JPEG: segment %#x of %d bytes, %d left", marker, size, len(b))
		}
		content := b[2:size]
		b = b[size:]
		if err := w.segment(marker, content); err != nil {
			return err
		}
		if marker == mSOS {
			n := scanLength(b)
			w.rest = append(w.rest, b[:n]...)
			b = b[n:]
		}
	}
	w.rest = append(w.rest, 0xff, mEOI)
	return nil
}

// segment keeps what decoding needs and the colour profile, and reads the rest.
func (w *jpegWalk) segment(marker byte, content []byte) error {
	switch marker {
	case mSOF0, mSOF1, mSOF2:
		if err := w.frame(marker, content); err != nil {
			return err
		}
	case mSOS:
		if w.scans++; w.scans > maxScans {
			return &RefusedError{Reason: "scans or more in a JPEG", Value: int64(w.scans), Limit: maxScans}
		}
	case mDHT, mDQT, mDRI:
	case mAPP0:
		if bytes.HasPrefix(content, []byte(jfifPrefix)) && w.jfif == nil {
			w.jfif = make([]byte, 9)                    // version, density, size of the thumbnail:
			copy(w.jfif[:7], content[len(jfifPrefix):]) // none
		}
		return nil
	case mAPP1:
		if bytes.HasPrefix(content, []byte(exifPrefix)) {
			w.meta.readEXIF(content)
		}
		if xmp, ok := bytes.CutPrefix(content, []byte(xmpPrefix)); ok {
			w.meta.readXMP(xmp)
		}
		return nil
	case mAPP2:
		if !bytes.HasPrefix(content, []byte(iccPrefix)) || len(content) < len(iccPrefix)+2 {
			return nil
		}
		// Two bytes number the parts; encoders write them in order.
		w.icc = append(w.icc, content[len(iccPrefix)+2:])
	case mAPP13:
		if iptc, ok := bytes.CutPrefix(content, []byte(photoshopPrefix)); ok {
			w.meta.readIPTC(iptc)
		}
		return nil
	case mAPP14:
		if !bytes.HasPrefix(content, []byte(adobePrefix)) || len(content) < 12 {
			return nil
		}
		w.rgb = w.rgb || content[11] == 0
		content = content[:12]
	default:
		if marker > mAPP0 && marker <= mAPP15 || marker == mCOM {
			return nil
		}
		return refused("JPEG of an unusual kind: marker %#x", marker)
	}
	w.rest = appendSegment(w.rest, marker, "", content)
	return nil
}

// frame reads the frame header (T.81 §B.2.2).
func (w *jpegWalk) frame(marker byte, b []byte) error {
	if w.width != 0 || len(b) < 6 || len(b) != 6+3*int(b[5]) {
		return refused("JPEG with a faulty frame header")
	}
	w.height = int(binary.BigEndian.Uint16(b[1:]))
	w.width = int(binary.BigEndian.Uint16(b[3:]))
	if w.width == 0 || w.height == 0 {
		return refused("picture of %d x %d pixels", w.width, w.height)
	}
	components := b[6:]
	var blocks, hMax, vMax int64 // blocks a unit, and the unit's size in blocks
	for c := range slices.Chunk(components, 3) {
		h, v := int64(c[1]>>4), int64(c[1]&15)
		if h < 1 || h > 4 || v < 1 || v > 4 {
			return refused("JPEG with a faulty frame header")
		}
		blocks, hMax, vMax = blocks+h*v, max(hMax, h), max(vMax, v)
	}
	if len(components) == 3 { // one component: its sampling has no meaning
		blocks, hMax, vMax = 1, 1, 1
	}
	units := ceil(int64(w.width), 8*hMax) * ceil(int64(w.height), 8*vMax)
	w.decoded = units * blocks * 64
	if marker == mSOF2 {
		w.decoded += units * blocks * 64 * 4 // all coefficients, as int32, until the last scan
	}
	if len(components) == 4*3 { // CMYK is put together from planes
		w.decoded += 4 * int64(w.width) * int64(w.height)
	}
	if len(components) == 3*3 && components[0] == 'R' && components[3] == 'G' && components[6] == 'B' {
		w.rgb = true
	}
	return nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// scanLength is how far the entropy-coded data reach: to the next marker that is neither a
// stuffed byte nor a restart.
func scanLength(b []byte) int {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], 0xff)
		if i < 0 {
			return len(b)
		}
		if at += i; at+1 == len(b) {
			return at // half a marker
		}
		if m := b[at+1]; m == 0 || m >= mRST0 && m <= mRST7 {
			at += 2
			continue
		}
		return at
	}
}

// appendSegment writes one segment, whose prefix and content are less than 64 KiB.
func appendSegment(out []byte, marker byte, prefix string, content []byte) []byte {
	out = append(out, 0xff, marker)
	out = binary.BigEndian.AppendUint16(out, uint16(2+len(prefix)+len(content)))
	out = append(out, prefix...)
	return append(out, content...)
}

// addToJPEG puts artist, copyright, credit and profile into a JPEG file that has no metadata yet.
func addToJPEG(file []byte, m *metadata) []byte {
	const partMax = 0xffff - 2 - len(iccPrefix) - 2
	var head []byte
	if exif := m.exif(false); exif != nil {
		head = appendSegment(head, mAPP1, exifPrefix, exif)
	}
	if xmp := m.xmp(); xmp != nil {
		head = appendSegment(head, mAPP1, xmpPrefix, xmp)
	}
	profile := m.carried()
	parts := byte(ceil(int64(len(profile)), int64(partMax)))
	number := byte(0)
	for part := range slices.Chunk(profile, partMax) {
		number++
		head = appendSegment(head, mAPP2, iccPrefix, slices.Concat([]byte{number, parts}, part))
	}
	if len(head) == 0 {
		return file
	}
	return slices.Concat(file[:2], head, file[2:])
}
