package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"slices"
	"testing"

	"github.com/galdor/go-thumbhash"
)

// cropped renders the crops of a picture about a point, and decodes their JPEGs.
func cropped(t *testing.T, data []byte, about Focal, crops ...Crop) (all []Rendition, images []image.Image) {
	t.Helper()
	f := forms(100, 200)
	f.Crops, f.Focal = crops, about
	out, err := open(t, data).Render(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out.Renditions {
		if r.Crop != "" {
			img := decodeRendition(t, r)
			if r.Format == JPEG {
				all, images = append(all, r), append(images, img)
			}
		}
	}
	return all, images
}

func TestCropsHaveTheirRatioAndAreNeverEnlarged(t *testing.T) {
	for _, tc := range []struct {
		w, h int
		want string
	}{
		{400, 300, "1:1 100x100, 1:1 200x200, 16:9 100x56, 16:9 200x113"},
		{300, 800, "1:1 100x100, 1:1 200x200, 16:9 100x56, 16:9 200x113"},
		{900, 100, "1:1 100x100, 16:9 100x56, 16:9 178x100"},
		{1, 1, "1:1 1x1, 16:9 1x1"},
		{1, 500, "1:1 1x1, 16:9 1x1"},
	} {
		var got string
		all, _ := cropped(t, pngFile(t, card(tc.w, tc.h)), Middle, Square, Wide)
		for i, r := range all {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %dx%d", r.Crop, r.Width, r.Height)
		}
		if got != tc.want {
			t.Errorf("%d x %d: %s; want %s", tc.w, tc.h, got, tc.want)
		}
	}
}

// Whatever the orientation in which a picture is stored, its focal point is one of the picture
// as it is shown.
func TestCropsAreCutAboutTheFocalPoint(t *testing.T) {
	shown := card(800, 300) // a white mark at three quarters, black beside it
	draw.Draw(shown, shown.Rect, image.NewUniform(color.Black), image.Point{}, draw.Src)
	draw.Draw(shown, image.Rect(570, 0, 630, 300), image.NewUniform(white), image.Point{}, draw.Src)
	for o := 1; o <= 8; o++ {
		// Stored so that turning it gives what is shown.
		size := shown.Rect.Size()
		if o >= 5 {
			size = image.Pt(size.Y, size.X)
		}
		stored := image.NewNRGBA(image.Rectangle{Max: size})
		m := metadata{orientation: o}
		for y := range 300 {
			for x := range 800 {
				at := m.stored(image.Rect(x, y, x+1, y+1), size).Min
				stored.Set(at.X, at.Y, shown.At(x, y))
			}
		}
		data := into(jpegFile(t, stored), segment(mAPP1, exifPrefix+string(secretEXIF(uint16(o)))))
		_, images := cropped(t, data, FocalAt(0.75, 0.5), Square)
		square := images[len(images)-1] // 200 of 300 pixels a side, about the mark
		near(t, fmt.Sprintf("orientation %d, the middle", o), square.At(100, 100), white)
		for _, x := range []int{60, 140} {
			near(t, fmt.Sprintf("orientation %d, beside it at %d", o, x), square.At(x, 100), color.NRGBA{A: 255})
		}
	}
}

func TestFocalPointsAtTheEdgeStayInThePicture(t *testing.T) {
	data := pngFile(t, card(400, 200))
	for about, want := range map[Focal]color.NRGBA{FocalAt(0, 0): red, FocalAt(1, 0): green, FocalAt(-3, 0.2): red, FocalAt(9, 9): green} {
		_, images := cropped(t, data, about, Square)
		near(t, about.String(), images[0].At(50, 25), want)
	}
}

func TestPlaceholdersTellOfThePicture(t *testing.T) {
	img := card(400, 300, red, red, red, blue)
	out, err := open(t, pngFile(t, img)).Render(t.Context(), forms(320))
	if err != nil {
		t.Fatal(err)
	}
	if p := out.Placeholder; p.Colour != "#dc1e1e" {
		t.Errorf("dominant colour %s; want that of red", p.Colour)
	}
	shown, err := thumbhash.DecodeImage(out.Placeholder.Thumbhash)
	if err != nil || len(out.Placeholder.Thumbhash) > 40 {
		t.Fatalf("thumbhash of %d bytes: %v", len(out.Placeholder.Thumbhash), err)
	}
	b := shown.Bounds()
	r, _, blueness, _ := shown.At(b.Max.X-2, b.Max.Y-2).RGBA()
	if r > blueness {
		t.Errorf("its lower right corner is %v", shown.At(b.Max.X-2, b.Max.Y-2))
	}
	if b.Dx()*3 != b.Dy()*4 && b.Dx() <= b.Dy() {
		t.Errorf("it is of %v", b.Size())
	}
	clear, err := open(t, pngFile(t, image.NewNRGBA(image.Rect(0, 0, 40, 30)))).Render(t.Context(), forms(320))
	if err != nil || clear.Placeholder.Colour != "" {
		t.Errorf("what is all transparent has colour %q, %v", clear.Placeholder.Colour, err)
	}
}

func TestOnlyTheFormatsAskedForAreMade(t *testing.T) {
	f := forms(100)
	f.Formats = []Format{WebP}
	out, err := open(t, jpegFile(t, card(200, 100))).Render(t.Context(), f)
	if err != nil || len(out.Renditions) != 1 || out.Renditions[0].Format != WebP || !bytes.HasPrefix(out.Renditions[0].Data, []byte("RIFF")) {
		t.Errorf("%d renditions, %v", len(out.Renditions), err)
	}
	names := []string{DefaultForms().String(), f.String(), forms(100).String()}
	slices.Sort(names)
	if len(slices.Compact(names)) != 3 {
		t.Errorf("different forms have one name: %q", names)
	}
}
