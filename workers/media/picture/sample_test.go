package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"
	"testing"

	"github.com/deepteams/webp"
)

// The corners of the test card.
var (
	red   = color.NRGBA{R: 220, G: 30, B: 30, A: 255}
	green = color.NRGBA{R: 30, G: 180, B: 60, A: 255}
	blue  = color.NRGBA{R: 30, G: 60, B: 200, A: 255}
	white = color.NRGBA{R: 250, G: 250, B: 250, A: 255}
)

// card draws four quadrants: top left, top right, bottom left, bottom right.
func card(w, h int, q ...color.NRGBA) *image.NRGBA {
	if len(q) == 0 {
		q = []color.NRGBA{red, green, blue, white}
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, q[2*(2*y/h)+2*x/w])
		}
	}
	return img
}

func jpegFile(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngFile(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func webpFile(t testing.TB, img image.Image, change func(*webp.EncoderOptions)) []byte {
	t.Helper()
	o := webp.DefaultOptions()
	o.AlphaCompression = 0
	o.Method = webpMethod // any other would disturb the encoder under test
	if change != nil {
		change(o)
	}
	var b bytes.Buffer
	if err := webp.Encode(&b, img, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// animatedWebP makes frames of WebP files, 100 ms each, at the given places.
func animatedWebP(w, h int, at []image.Point, frames ...[]byte) []byte {
	size := func(b []byte, n int) []byte { return append(b, byte(n-1), byte((n-1)>>8), byte((n-1)>>16)) }
	const animated = 1 << 1
	out := []byte("RIFF\x00\x00\x00\x00WEBP")
	out = appendWebPChunk(out, "VP8X", size(size([]byte{animated, 0, 0, 0}, w), h))
	out = appendWebPChunk(out, "ANIM", make([]byte, 6))
	for i, f := range frames {
		fw, fh, _ := webpFrameSize(string(f[12:16]), f[20:])
		head := size(size(size(size(size(nil, at[i].X/2+1), at[i].Y/2+1), fw), fh), 100+1)
		out = appendWebPChunk(out, "ANMF", slices.Concat(head, []byte{0}, f[12:]))
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// segment is a JPEG segment; into puts segments behind a file's first marker.
func segment(marker byte, content string) []byte {
	return appendSegment(nil, marker, "", []byte(content))
}

func into(file []byte, segments ...[]byte) []byte {
	return slices.Concat(file[:2], slices.Concat(segments...), file[2:])
}

// flatJPEG writes a grey, CMYK or other flat picture that encoders at hand cannot: any frame
// type, any number of components and scans, a few bytes a scan.
func flatJPEG(sof byte, w, h, components, scans int) []byte {
	be := binary.BigEndian
	var b []byte
	b = append(b, 0xff, mSOI)
	if components == 4 {
		b = append(b, segment(mAPP14, "Adobe\x00\x64\x00\x00\x00\x00\x00")...)
	}
	quant := append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)
	b = appendSegment(b, mDQT, "", quant)
	frame := []byte{8}
	frame = be.AppendUint16(frame, uint16(h))
	frame = be.AppendUint16(frame, uint16(w))
	frame = append(frame, byte(components))
	scan := []byte{byte(components)}
	for i := range components {
		frame = append(frame, byte(i+1), 0x11, 0)
		scan = append(scan, byte(i+1), 0)
	}
	b = appendSegment(b, sof, "", frame)
	table := func(class byte, symbol byte) []byte { // one symbol, with the code 0
		return append([]byte{class << 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, symbol)
	}
	b = appendSegment(b, mDHT, "", table(0, 0))
	blocks := (w + 7) / 8 * ((h + 7) / 8)
	if sof != mSOF2 {
		b = appendSegment(b, mDHT, "", table(1, 0))
		b = appendSegment(b, mSOS, "", append(scan, 0, 63, 0))
		b = append(b, make([]byte, blocks*components*2/8+1)...)
		return append(b, 0xff, mEOI)
	}
	b = appendSegment(b, mSOS, "", append(scan, 0, 0, 0))
	b = append(b, make([]byte, blocks*components/8+1)...)
	b = appendSegment(b, mDHT, "", table(1, 0xe0)) // a run of 16,384 and more empty blocks
	for i := 1; i < scans; i++ {
		b = appendSegment(b, mSOS, "", []byte{1, byte(i%components + 1), 0, 1, 63, 0})
		b = append(b, make([]byte, (blocks/16384+1)*15/8+1)...)
	}
	return append(b, 0xff, mEOI)
}

// pngHeader is a PNG file that says it is of that size, and holds nothing.
func pngHeader(w, h uint32, depth, colour byte) []byte {
	be := binary.BigEndian
	content := be.AppendUint32(be.AppendUint32(nil, w), h)
	content = append(content, depth, colour, 0, 0, 0)
	b := appendPNGChunk([]byte(pngSignature), "IHDR", content)
	b = appendPNGChunk(b, "IDAT", nil)
	return appendPNGChunk(b, "IEND", nil)
}

// profile is a colour profile as far as anybody here looks into it.
func profile(space, description string, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, uint32(size))
	copy(p[12:], "mntr"+space+"XYZ ")
	copy(p[36:], "acsp")
	copy(p[iccHeader:], description)
	for i := iccHeader + len(description); i < size; i++ {
		p[i] = byte(i * 7)
	}
	return p
}

// secretEXIF is TIFF metadata with all that must go: a place (GPS directory), a camera's
// number, a thumbnail; and the three fields that stay.
func secretEXIF(orientation uint16) []byte {
	be := binary.BigEndian
	const entries = 5
	b := append([]byte("MM\x00*"), 0, 0, 0, 8)
	texts := uint32(8 + 2 + 12*entries + 4)
	var tail []byte
	text := func(tag uint16, s string) {
		b = be.AppendUint16(b, tag)
		b = be.AppendUint16(b, typeASCII)
		b = be.AppendUint32(b, uint32(len(s)+1))
		b = be.AppendUint32(b, texts+uint32(len(tail)))
		tail = append(tail, s...)
		tail = append(tail, 0)
	}
	b = be.AppendUint16(b, entries)
	text(0x0110, "SECRET camera model")
	b = be.AppendUint16(b, tagOrientation)
	b = be.AppendUint16(b, typeShort)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint16(b, orientation)
	b = append(b, 0, 0)
	text(tagArtist, "Nguyễn Thị Hoa")
	text(tagCopyright, "© Báo Phường")
	text(0x8825, "SECRET gps 10.7769N 106.7009E")
	b = be.AppendUint32(b, 0)
	return append(b, tail...)
}

const (
	artist    = "Nguyễn Thị Hoa"
	copyright = "© Báo Phường"
)

func near(t *testing.T, what string, got color.Color, want color.NRGBA) {
	t.Helper()
	g := color.NRGBAModel.Convert(got).(color.NRGBA)
	const tolerance = 14
	for _, d := range []int{int(g.R) - int(want.R), int(g.G) - int(want.G), int(g.B) - int(want.B), int(g.A) - int(want.A)} {
		if d > tolerance || d < -tolerance {
			t.Errorf("%s: %v; want %v", what, g, want)
			return
		}
	}
}
