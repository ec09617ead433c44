package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"testing"

	"github.com/deepteams/webp"
)

func FuzzJPEG(f *testing.F) {
	data := jpegFile(f, card(9, 7))
	fuzzPictures(f, data,
		into(data, segment(mAPP1, exifPrefix+string(secretEXIF(6))), segment(mAPP2, iccPrefix+"\x01\x01abc")),
		into(data, segment(mAPP1, xmpPrefix+`<a xmlns:p="`+nsPhotoshop+`" p:Credit="x"/>`), segment(mAPP13, photoshopPrefix+"8BIM\x04\x04\x00\x00\x00\x00\x00\x06\x1c\x02\x6e\x00\x01x")),
		flatJPEG(mSOF2, 9, 7, 3, 2), flatJPEG(mSOF0, 9, 7, 4, 1), flatJPEG(mSOF0, 9, 7, 1, 1))
}

func FuzzPNG(f *testing.F) {
	grey := image.NewGray16(image.Rect(0, 0, 9, 7))
	paletted := image.NewPaletted(image.Rect(0, 0, 9, 7), color.Palette{red, green, color.Transparent})
	data := pngFile(f, card(9, 7))
	fuzzPictures(f, data, pngFile(f, grey), pngFile(f, paletted), pngFile(f, image.NewNRGBA(grey.Rect)), pngHeader(9, 7, 16, pngRGBA),
		append(appendPNGChunk(appendPNGChunk(data[:33:33], "eXIf", secretEXIF(5)), "iTXt", []byte(xmpKeyword+"\x00\x00\x00\x00\x00<a/>")), data[33:]...))
}

func FuzzGIF(f *testing.F) {
	var still, moving bytes.Buffer
	if err := gif.Encode(&still, card(9, 7), &gif.Options{NumColors: 4}); err != nil {
		f.Fatal(err)
	}
	small := image.NewPaletted(image.Rect(2, 1, 6, 5), color.Palette{red, color.Transparent})
	if err := gif.EncodeAll(&moving, &gif.GIF{Image: []*image.Paletted{small, small}, Delay: []int{1, 1},
		Config: image.Config{Width: 9, Height: 7, ColorModel: small.Palette}}); err != nil {
		f.Fatal(err)
	}
	fuzzPictures(f, still.Bytes(), moving.Bytes())
}

func FuzzWebP(f *testing.F) {
	img := card(9, 7)
	lossy := webpFile(f, img, nil)
	fuzzPictures(f, lossy, webpFile(f, image.NewNRGBA(img.Rect), nil),
		webpFile(f, img, func(o *webp.EncoderOptions) { o.Lossless, o.EXIF = true, secretEXIF(3) }),
		webpFile(f, img, func(o *webp.EncoderOptions) { o.ICC, o.XMP = profile("RGB ", "x", 200), []byte("<a/>") }),
		animatedWebP(20, 20, []image.Point{{0, 0}, {2, 4}}, lossy, lossy))
}

// FuzzHEIF has what is looked at before the other process is started; behind that, a panic harms
// nobody.
func FuzzHEIF(f *testing.F) {
	f.Add(testFile(f, "card.heic"))
	f.Add(testFile(f, "card.avif"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, h := heifSize(data); w < 0 || h < 0 {
			t.Fatalf("size %d x %d", w, h)
		}
		if _, err := Open(data, Limits{}); err == nil && NeedsConversion(data) {
			t.Fatal("it is taken, and needs to be converted")
		}
	})
}

// fuzzPictures opens and renders what the seeds become: each is refused with a reason, or a
// picture that other decoders read.
func fuzzPictures(f *testing.F, seeds ...[]byte) {
	for _, data := range seeds {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		forms := forms(16)
		forms.Crops = []Crop{Square}
		p, err := Open(data, Limits{Pixels: 1 << 12, Memory: 4 << 20})
		if err != nil {
			if r := (*RefusedError)(nil); !errors.As(err, &r) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again, err := Open(p.Original, Limits{})
		if err != nil {
			t.Fatalf("the cleaned file is refused: %v", err)
		}
		if !bytes.Equal(again.Original, p.Original) || again.Width != p.Width || again.Height != p.Height {
			t.Fatal("cleaning a clean file changes it")
		}
		out, err := p.Render(t.Context(), forms)
		if err != nil {
			if r := (*RefusedError)(nil); !errors.As(err, &r) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, r := range out.Renditions {
			decodeRendition(t, r)
		}
	})
}
