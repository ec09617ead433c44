package picture

import (
	"fmt"
	"image"

	"github.com/disintegration/imaging"
	"github.com/galdor/go-thumbhash"
)

// Placeholder is what a page may show until a picture is there.
type Placeholder struct {
	// Thumbhash is about 25 bytes (https://evanw.github.io/thumbhash/).
	Thumbhash []byte
	// Colour is the dominant one, as "#rrggbb" in the picture's own colour space: of a wide-gamut
	// picture it is a little duller than the picture.
	Colour string
}

// placeholderSide is the greatest that a thumbhash takes, in pixels.
const placeholderSide = 100

// placeholder makes both of an upright picture.
func placeholder(img image.Image) Placeholder {
	small := imaging.Fit(img, placeholderSide, placeholderSide, imaging.Box)
	return Placeholder{Thumbhash: thumbhash.EncodeImage(small), Colour: dominant(small)}
}

// dominant is the mean of the colours in the fullest of 4,096 boxes of alike ones; what is
// transparent does not count. Empty when all is.
func dominant(img *image.NRGBA) string {
	type box struct{ weight, r, g, b uint64 }
	boxes := make([]box, 1<<12)
	fullest := &boxes[0]
	for i := 0; i+3 < len(img.Pix); i += 4 {
		r, g, b, weight := uint64(img.Pix[i]), uint64(img.Pix[i+1]), uint64(img.Pix[i+2]), uint64(img.Pix[i+3])
		in := &boxes[r>>4<<8|g>>4<<4|b>>4]
		in.weight, in.r, in.g, in.b = in.weight+weight, in.r+r*weight, in.g+g*weight, in.b+b*weight
		if in.weight > fullest.weight {
			fullest = in
		}
	}
	if fullest.weight == 0 {
		return ""
	}
	mean := func(sum uint64) uint64 { return (sum + fullest.weight/2) / fullest.weight }
	return fmt.Sprintf("#%02x%02x%02x", mean(fullest.r), mean(fullest.g), mean(fullest.b))
}
