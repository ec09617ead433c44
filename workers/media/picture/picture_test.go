package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deepteams/webp"
	xwebp "golang.org/x/image/webp"
)

// forms are the common ones in the widths given.
func forms(widths ...int) Forms {
	f := DefaultForms()
	f.Widths = widths
	return f
}

func open(t testing.TB, data []byte) *Picture {
	t.Helper()
	p, err := Open(data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func render(t testing.TB, p *Picture) []Rendition {
	t.Helper()
	out, err := p.Render(t.Context(), DefaultForms())
	if err != nil {
		t.Fatal(err)
	}
	return out.Renditions
}

// decodeRendition reads with other decoders than those under test where there are any.
func decodeRendition(t testing.TB, r Rendition) image.Image {
	t.Helper()
	var img image.Image
	var err error
	if r.Format == JPEG {
		img, err = jpeg.Decode(bytes.NewReader(r.Data))
	} else {
		img, err = webp.Decode(bytes.NewReader(r.Data))
		if _, other := xwebp.Decode(bytes.NewReader(r.Data)); other != nil {
			t.Fatalf("x/image/webp refuses w%d: %v", r.Width, other)
		}
	}
	if err != nil {
		t.Fatalf("%s w%d: %v", r.Format, r.Width, err)
	}
	if img.Bounds().Dx() != r.Width || img.Bounds().Dy() != r.Height {
		t.Fatalf("%s is %v, said to be %d x %d", r.Format, img.Bounds(), r.Width, r.Height)
	}
	return img
}

func corners(t *testing.T, what string, img image.Image, want ...color.NRGBA) {
	t.Helper()
	b := img.Bounds()
	for i, c := range want {
		x, y := b.Min.X+b.Dx()/4+i%2*b.Dx()/2, b.Min.Y+b.Dy()/4+i/2*b.Dy()/2
		near(t, fmt.Sprintf("%s, quadrant %d", what, i), img.At(x, y), c)
	}
}

func wantRefused(t *testing.T, err error, reason string) *RefusedError {
	t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) || !strings.Contains(r.Error(), reason) {
		t.Fatalf("got %v; want a refusal that says %q", err, reason)
	}
	return r
}

func TestPicturesAreNeverEnlarged(t *testing.T) {
	for _, tc := range []struct {
		w, h int
		want string
	}{
		{3000, 2000, "320x213 640x427 1280x853"},
		{1280, 720, "320x180 640x360 1280x720"},
		{1279, 720, "320x180 640x360 1279x720"},
		{500, 333, "320x213 500x333"},
		{320, 10, "320x10"},
		{100, 50, "100x50"},
		{1, 1, "1x1"},
		{20000, 1, "320x1 640x1 1280x1"},
	} {
		var got []string
		for _, r := range render(t, open(t, jpegFile(t, card(tc.w, tc.h)))) {
			decodeRendition(t, r)
			if s := fmt.Sprintf("%dx%d", r.Width, r.Height); r.Format == JPEG {
				got = append(got, s)
			} else if got[len(got)-1] != s {
				t.Errorf("%s has no JPEG beside its WebP", s)
			}
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%d x %d: %s; want %s", tc.w, tc.h, s, tc.want)
		}
	}
}

func TestTooHighForWebPIsMadeInJPEGOnly(t *testing.T) {
	out := render(t, open(t, pngFile(t, card(4, 17000))))
	if len(out) != 1 || out[0].Format != JPEG || out[0].Height != 17000 {
		t.Fatalf("got %d renditions", len(out))
	}
}

func TestEveryKindOfFileIsUnderstood(t *testing.T) {
	src := card(400, 300)
	paletted := image.NewPaletted(src.Rect, color.Palette{red, green, blue, white})
	deep := image.NewNRGBA64(src.Rect)
	ycc := image.NewYCbCr(src.Rect, image.YCbCrSubsampleRatio420)
	for y := range 300 {
		for x := range 400 {
			paletted.Set(x, y, src.At(x, y))
			deep.Set(x, y, src.At(x, y))
			c := color.YCbCrModel.Convert(src.At(x, y)).(color.YCbCr)
			ycc.Y[ycc.YOffset(x, y)], ycc.Cb[ycc.COffset(x, y)], ycc.Cr[ycc.COffset(x, y)] = c.Y, c.Cb, c.Cr
		}
	}
	var gifFile bytes.Buffer
	if err := gif.Encode(&gifFile, paletted, nil); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"JPEG":          jpegFile(t, src),
		"JPEG 4:2:0":    jpegFile(t, ycc),
		"PNG":           pngFile(t, src),
		"PNG palette":   pngFile(t, paletted),
		"PNG 16 bit":    pngFile(t, deep),
		"GIF":           gifFile.Bytes(),
		"WebP":          webpFile(t, src, nil),
		"WebP lossless": webpFile(t, src, func(o *webp.EncoderOptions) { o.Lossless = true }),
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, data)
			if p.Width != 400 || p.Height != 300 {
				t.Errorf("size %d x %d", p.Width, p.Height)
			}
			out := render(t, p)
			if len(out) != 4 {
				t.Fatalf("%d renditions; want 2 widths in 2 formats", len(out))
			}
			for _, r := range out {
				corners(t, string(r.Format), decodeRendition(t, r), red, green, blue, white)
			}
		})
	}
}

func TestGreyAndCMYKAndProgressive(t *testing.T) {
	grey := color.NRGBA{128, 128, 128, 255}
	ink := color.NRGBA{64, 64, 64, 255} // half of each ink, half black
	deepGrey := image.NewGray16(image.Rect(0, 0, 90, 60))
	for i := range deepGrey.Pix {
		deepGrey.Pix[i] = 128
	}
	for name, tc := range map[string]struct {
		data []byte
		want color.NRGBA
	}{
		"grey JPEG":        {flatJPEG(mSOF0, 90, 60, 1, 1), grey},
		"progressive JPEG": {flatJPEG(mSOF2, 90, 60, 3, 10), grey},
		"CMYK JPEG":        {flatJPEG(mSOF0, 90, 60, 4, 1), ink},
		"grey 16-bit PNG":  {pngFile(t, deepGrey), grey},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range render(t, open(t, tc.data)) {
				near(t, string(r.Format), decodeRendition(t, r).At(45, 30), tc.want)
			}
		})
	}
}

func TestTransparencyIsKeptInWebPAndWhiteInJPEG(t *testing.T) {
	clear := color.NRGBA{}
	half := color.NRGBA{R: 200, A: 128}
	for _, noisy := range []bool{false, true} { // a logo, and a cut-out photograph
		img := card(200, 200, red, clear, half, blue)
		if noisy {
			for i := range img.Pix {
				if i%4 != 3 && img.Pix[i|3] == 255 {
					img.Pix[i] += byte(i * i % 5)
				}
			}
		}
		out := render(t, open(t, pngFile(t, img)))
		onWhite := color.NRGBA{227, 127, 127, 255}
		corners(t, "JPEG", decodeRendition(t, out[0]), red, color.NRGBA{255, 255, 255, 255}, onWhite, blue)
		got := decodeRendition(t, out[1])
		for i, want := range []uint8{255, 0, 128, 255} {
			if _, _, _, a := got.At(50+i%2*100, 50+i/2*100).RGBA(); uint8(a>>8) != want {
				t.Errorf("alpha of quadrant %d is %d; want %d", i, a>>8, want)
			}
		}
	}
}

func TestFirstFrameOfAnimations(t *testing.T) {
	palette := color.Palette{red, blue, white}
	frame := func(r image.Rectangle, c uint8) *image.Paletted {
		p := image.NewPaletted(r, palette)
		for i := range p.Pix {
			p.Pix[i] = c
		}
		return p
	}
	var g bytes.Buffer
	err := gif.EncodeAll(&g, &gif.GIF{
		Image:  []*image.Paletted{frame(image.Rect(50, 0, 100, 100), 0), frame(image.Rect(0, 0, 100, 100), 1)},
		Delay:  []int{10, 10},
		Config: image.Config{Width: 100, Height: 100, ColorModel: palette},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := animatedWebP(100, 100, []image.Point{{50, 0}, {}},
		webpFile(t, card(50, 100, red, red, red, red), nil), webpFile(t, card(100, 100), nil))

	p := open(t, g.Bytes())
	for _, p := range []*Picture{p, open(t, w)} {
		img := decodeRendition(t, render(t, p)[0])
		near(t, string(p.Format)+", beside the frame", img.At(20, 50), color.NRGBA{255, 255, 255, 255})
		near(t, string(p.Format)+", in the frame", img.At(80, 50), red)
	}
	if all, err := gif.DecodeAll(bytes.NewReader(p.Original)); err != nil || len(all.Image) != 2 {
		t.Errorf("the original lost its animation: %v", err)
	}
	if n := bytes.Count(open(t, w).Original, []byte("ANMF")); n != 2 {
		t.Errorf("%d frames are left in the WebP", n)
	}
}

func TestOrientationIsApplied(t *testing.T) {
	for o, stored := range [][]color.NRGBA{
		{}, {red, green, blue, white}, {green, red, white, blue}, {white, blue, green, red}, {blue, white, red, green},
		{red, blue, green, white}, {green, white, red, blue}, {white, green, blue, red}, {blue, red, white, green},
	} {
		if o == 0 {
			continue
		}
		w, h := 400, 200
		if o >= 5 {
			w, h = h, w
		}
		exif := string(secretEXIF(uint16(o)))
		img := card(w, h, stored...)
		p := append([]byte(nil), pngFile(t, img)...)
		end := len(p) - 12
		for name, data := range map[string][]byte{
			"JPEG": into(jpegFile(t, img), segment(mAPP1, exifPrefix+exif)),
			"PNG":  slices.Concat(appendPNGChunk(p[:end:end], "eXIf", []byte(exif)), p[end:]),
			"WebP": webpFile(t, img, func(e *webp.EncoderOptions) { e.EXIF = []byte(exif) }),
		} {
			name := fmt.Sprintf("%s, orientation %d", name, o)
			p := open(t, data)
			if p.Width != 400 || p.Height != 200 {
				t.Errorf("%s: %d x %d; want 400 x 200", name, p.Width, p.Height)
			}
			for _, r := range render(t, p) {
				corners(t, name, decodeRendition(t, r), red, green, blue, white)
				if want := []int{160, 200}; !slices.Contains(want, r.Height) {
					t.Errorf("%s: height %d", name, r.Height)
				}
			}
		}
	}
}

func TestTheFirstOrientationCounts(t *testing.T) {
	exif := func(o uint16) []byte { return segment(mAPP1, exifPrefix+string(secretEXIF(o))) }
	if p := open(t, into(jpegFile(t, card(40, 20)), exif(6), exif(1))); p.Width != 20 || p.Height != 40 {
		t.Errorf("%d x %d; want 20 x 40", p.Width, p.Height)
	}
}

func TestWhatIsNoPictureIsRefusedByName(t *testing.T) {
	for name, data := range map[string]string{
		"empty":     "",
		"SVG":       "<?xml version=\"1.0\"?>\n<!-- logo -->\n<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
		"HTML":      "<!DOCTYPE html><title>404</title>",
		"PDF":       "%PDF-1.7\n",
		"TIFF":      "II*\x00\x08\x00\x00\x00",
		"AVIF":      "\x00\x00\x00\x1cftypavif\x00\x00\x00\x00",
		"HEIC":      "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
		"video":     "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00",
		"JPEG XL":   "\xff\x0a\x00\x00",
		"image/bmp": "BM\x00\x00\x00\x00",
		"text":      "not found",
	} {
		_, err := Open([]byte(data), Limits{})
		wantRefused(t, err, name)
	}
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	src := card(300, 300)
	for i := range src.Pix { // so that the picture data are long
		if i%4 != 3 {
			src.Pix[i] ^= byte(i * i / 7 & 31)
		}
	}
	for name, data := range map[string][]byte{"JPEG": jpegFile(t, src), "PNG": pngFile(t, src), "WebP": webpFile(t, src, nil)} {
		for _, part := range []int{4, 20, len(data) / 2, len(data) - 100} {
			p, err := Open(data[:part], Limits{})
			if err == nil {
				_, err = p.Render(t.Context(), DefaultForms())
			}
			if wantRefused(t, err, ""); err == nil {
				t.Errorf("%s of %d bytes, of %d, passes", name, part, len(data))
			}
		}
	}
}

func TestMissingEndMarkerIsAdded(t *testing.T) {
	j := jpegFile(t, card(100, 100))
	p := open(t, j[:len(j)-2])
	render(t, p)
	if !bytes.HasSuffix(p.Original, []byte{0xff, mEOI}) {
		t.Error("the JPEG still has no end")
	}
	var g bytes.Buffer
	two := []*image.Paletted{image.NewPaletted(image.Rect(0, 0, 50, 50), color.Palette{red, blue})}
	two = append(two, two[0])
	if err := gif.EncodeAll(&g, &gif.GIF{Image: two, Delay: []int{1, 1}}); err != nil {
		t.Fatal(err)
	}
	p = open(t, g.Bytes()[:g.Len()-5])
	if all, err := gif.DecodeAll(bytes.NewReader(p.Original)); err != nil || len(all.Image) != 1 {
		t.Errorf("a GIF that breaks off in its second frame: %v", err)
	}
}

func TestBombsAreRefusedByTheirHeaders(t *testing.T) {
	for name, tc := range map[string]struct {
		data   []byte
		reason string
	}{
		"PNG of 50,000 squared":        {pngHeader(50_000, 50_000, 8, pngRGB), "50000 pixels a side, at most 20000"},
		"PNG of 10,000 squared":        {pngHeader(10_000, 10_000, 8, pngRGB), "100000000 pixels, at most 50000000"},
		"16-bit PNG of 7,000 squared":  {pngHeader(7_000, 7_000, 16, pngRGBA), "bytes of memory to decode, at most 268435456"},
		"PNG of no size":               {pngHeader(0, 5, 8, pngRGB), "0 x 5"},
		"PNG of negative size":         {pngHeader(1<<31+5, 5, 8, pngRGB), "faulty header"},
		"progressive JPEG":             {flatJPEG(mSOF2, 7000, 7000, 3, 1), "bytes of memory"},
		"JPEG of 65,535 squared":       {flatJPEG(mSOF0, 65535, 65535, 1, 1)[:4096], "pixels a side"},
		"JPEG of no size":              {flatJPEG(mSOF0, 0, 10, 1, 1), "0 x 10"},
		"JPEG with a thousand scans":   {flatJPEG(mSOF2, 64, 64, 1, 1000), "scans"},
		"lossless JPEG":                {flatJPEG(0xc3, 64, 64, 1, 1), "unusual kind"},
		"WebP frame beyond its canvas": {webpBomb(t), "another size than its canvas"},
		"GIF of no size":               {[]byte("GIF89a\x00\x00\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01\x00\x00;"), "0 x 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tc.data, Limits{})
			wantRefused(t, err, tc.reason)
		})
	}
}

func TestLimitsAreTheCallers(t *testing.T) {
	var g bytes.Buffer
	frames := &gif.GIF{Delay: []int{1, 1, 1}}
	for range frames.Delay {
		frames.Image = append(frames.Image, image.NewPaletted(image.Rect(0, 0, 20, 20), color.Palette{red, green}))
	}
	if err := gif.EncodeAll(&g, frames); err != nil {
		t.Fatal(err)
	}
	frame := webpFile(t, card(20, 20), nil)
	big := pngHeader(2_000, 1_000, 16, pngRGBA)
	for says, tc := range map[string]struct {
		data   []byte
		limits Limits
	}{
		"800 pixels, at most 799":                     {pngFile(t, card(40, 20)), Limits{Pixels: 799}},
		"40 pixels a side, at most 39":                {jpegFile(t, card(40, 20)), Limits{Side: 39}},
		"8 bytes a pixel to decode, at most 7":        {big, Limits{PixelBytes: 7}},
		"bytes of memory to decode, at most 16777216": {big, Limits{Memory: 16 << 20}},
		"3 frames, at most 2":                         {g.Bytes(), Limits{Frames: 2}},
		"3 frames, at most 1":                         {animatedWebP(20, 20, make([]image.Point, 3), frame, frame, frame), Limits{Frames: 1}},
	} {
		_, err := Open(tc.data, tc.limits)
		wantRefused(t, err, says)
	}
	p, err := Open(flatJPEG(mSOF2, 3000, 3000, 1, maxScans), Limits{Time: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Render(t.Context(), DefaultForms())
	wantRefused(t, err, "decoding takes more than 1ms")
}

// webpBomb says it is small, but holds a great frame.
func webpBomb(t *testing.T) []byte {
	data := webpFile(t, card(64, 64), func(o *webp.EncoderOptions) { o.ICC = profile("RGB ", "x", 200) })
	copy(data[24:], []byte{0, 0, 0, 0, 0, 0})
	return data
}

func TestScanBombEndsWithItsContext(t *testing.T) {
	// Under every limit, and yet much work for the decoder.
	p := open(t, flatJPEG(mSOF2, 5000, 5000, 1, maxScans))
	start := time.Now()
	if _, err := p.decode(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	ctx, cancel := context.WithTimeout(t.Context(), whole/20)
	defer cancel()
	start = time.Now()
	_, err := p.Render(ctx, DefaultForms())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v; want the context's error", err)
	}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		t.Error("the caller's deadline is taken for a fault of the picture")
	}
	if took := time.Since(start); took > whole/2 {
		t.Errorf("went on for %v, of %v", took, whole)
	}
}

func TestPixelOutsideThePaletteIsRefused(t *testing.T) {
	img := image.NewPaletted(image.Rect(0, 0, 2, 2), color.Palette{red})
	img.Pix[3] = 1
	wantRefused(t, checkPalette(img), "palette")
}
