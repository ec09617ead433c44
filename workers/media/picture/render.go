package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/deepteams/webp"
	"github.com/disintegration/imaging"
)

const (
	// jpegQuality and webpQuality look alike; the latter is what libwebp calls 80.
	jpegQuality = 80
	webpQuality = 83
	// webpMethod trades 10 % of size for half the time of the default, 4. It has to be the
	// same throughout the process: the encoder reuses its memory, and one in a hundred
	// pictures comes out in wrong colours where methods alternate.
	webpMethod = 2
	// worthCollecting is how much a decoded picture takes, in bytes, that is collected as soon as
	// it has been resized: that of 8 megapixels. A collection takes some hundredth of the time
	// that such a picture does, and left to the runtime, two or three of them would lie about.
	worthCollecting = 12 << 20
)

// Rendition is a resized form of a picture.
type Rendition struct {
	Format Format
	// Crop is what the picture was cut to; empty for the whole of it.
	Crop          Crop
	Width, Height int
	Data          []byte
}

// Rendered is what became of a picture.
type Rendered struct {
	// Renditions are ordered by crop, the whole picture first, then by width.
	Renditions []Rendition
	// Placeholder stands for the whole picture.
	Placeholder Placeholder
}

// Render makes the picture's forms. A picture is never enlarged: of the widths that it does not
// reach, its own takes the place. WebP is left out where a side exceeds its format's 16,383
// pixels. Transparent pictures are laid on white for JPEG.
//
// A picture that cannot be decoded, or takes more than its time, gives a [*RefusedError]; when
// ctx ends first, its error is returned.
func (p *Picture) Render(ctx context.Context, forms Forms) (*Rendered, error) {
	return p.render(ctx, forms, true)
}

// RenderCrops is [Picture.Render] for the crops alone, as when a picture is given another focal
// point.
func (p *Picture) RenderCrops(ctx context.Context, forms Forms) ([]Rendition, error) {
	out, err := p.render(ctx, forms, false)
	if err != nil {
		return nil, err
	}
	return out.Renditions, nil
}

func (p *Picture) render(ctx context.Context, forms Forms, whole bool) (out *Rendered, err error) {
	// Codecs have had faults in the past: a panic is a fault of the picture.
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, refused("%s cannot be decoded: %v", p.Format, r)
		}
	}()
	var img image.Image // without crops, steps decodes it, and holds it no longer than it has to
	if len(forms.Crops) > 0 {
		if img, err = p.decode(ctx); err != nil {
			return nil, err
		}
	}
	out = new(Rendered)
	if whole {
		least, err := p.steps(ctx, out, img, image.Pt(p.Width, p.Height), "", forms)
		if err != nil {
			return nil, err
		}
		out.Placeholder = placeholder(least)
	}
	for _, crop := range forms.Crops {
		part := crop.rect(image.Pt(p.Width, p.Height), forms.Focal)
		cut, err := subImage(img, p.file.meta.stored(part, image.Pt(p.file.width, p.file.height)))
		if err != nil {
			return nil, err
		}
		if _, err := p.steps(ctx, out, cut, part.Size(), crop, forms); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// steps appends the renditions of one picture or part, of the size given when upright, and
// gives the smallest. A nil img is the whole picture.
func (p *Picture) steps(ctx context.Context, out *Rendered, img image.Image, size image.Point, crop Crop, forms Forms) (image.Image, error) {
	if img == nil {
		var err error
		if img, err = p.decode(ctx); err != nil {
			return nil, err
		}
	}
	widths := fit(size.X, forms.Widths)
	slices.Reverse(widths) // each is made from the next greater one
	from := len(out.Renditions)
	for i, width := range widths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		height := scaled(size.Y, width, size.X)
		if i == 0 {
			img = p.upright(img, width, height)
			if crop == "" && p.file.decoded >= worthCollecting {
				runtime.GC()
			}
		} else {
			img = imaging.Resize(img, width, height, imaging.Lanczos)
		}
		made, err := p.encode(img.(*image.NRGBA), forms.Formats)
		if err != nil {
			return nil, err
		}
		for _, r := range made {
			r.Crop = crop
			out.Renditions = append(out.Renditions, r)
		}
	}
	slices.SortStableFunc(out.Renditions[from:], func(a, b Rendition) int { return a.Width - b.Width })
	return img, nil
}

// subImage is a part of img, without copying it.
func subImage(img image.Image, part image.Rectangle) (image.Image, error) {
	parted, ok := img.(interface {
		SubImage(image.Rectangle) image.Image
	})
	if !ok {
		return nil, fmt.Errorf("cut a picture of type %T: not possible", img)
	}
	return parted.SubImage(part.Add(img.Bounds().Min)), nil
}

// fit is widths, ascending, without those over own, but with own itself if it lies between.
func fit(own int, widths []int) []int {
	var out []int
	for _, w := range widths {
		out = append(out, min(w, own))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// scaled is length by the ratio of width to from, at least one pixel.
func scaled(length, width, from int) int {
	return max(1, int(math.Round(float64(length)*float64(width)/float64(from))))
}

// upright resizes first and turns then, when there are fewer pixels to turn.
func (p *Picture) upright(img image.Image, width, height int) *image.NRGBA {
	if p.file.meta.sideways() {
		width, height = height, width
	}
	small := imaging.Resize(img, width, height, imaging.Lanczos)
	switch p.file.meta.orientation {
	case 2:
		return imaging.FlipH(small)
	case 3:
		return imaging.Rotate180(small)
	case 4:
		return imaging.FlipV(small)
	case 5:
		return imaging.Transpose(small)
	case 6:
		return imaging.Rotate270(small)
	case 7:
		return imaging.Transverse(small)
	case 8:
		return imaging.Rotate90(small)
	}
	return small
}

// decode makes pixels of the cleaned original.
func (p *Picture) decode(parent context.Context) (image.Image, error) {
	slow := refused("decoding takes more than %v", p.limits.Time)
	ctx, cancel := context.WithTimeoutCause(parent, p.limits.Time, slow)
	defer cancel()
	var img image.Image
	var err error
	r := &obedient{ctx: ctx, r: bytes.NewReader(p.Original)}
	switch p.Format {
	case JPEG:
		img, err = jpeg.Decode(r)
	case PNG:
		img, err = png.Decode(r)
	case GIF:
		img, err = gif.Decode(r) // the first frame
	case WebP:
		img, err = webp.Decode(r) // the first frame
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, refused("%s is truncated", p.Format)
	}
	if err != nil {
		return nil, refused("%s cannot be decoded: %v", p.Format, err)
	}
	if err := checkPalette(img); err != nil {
		return nil, err
	}
	return p.onCanvas(img)
}

// onCanvas puts an animation's first frame where it belongs. Any other picture is as large
// as its header said, or has deceived us.
func (p *Picture) onCanvas(img image.Image) (image.Image, error) {
	f := p.file
	size := img.Bounds().Size()
	if size == image.Pt(f.width, f.height) {
		return img, nil
	}
	if p.Format != GIF && p.Format != WebP {
		return nil, refused("%s of %v pixels, its header says %d x %d", p.Format, size, f.width, f.height)
	}
	canvas := image.NewNRGBA(image.Rect(0, 0, f.width, f.height))
	at := image.Rectangle{Max: size}.Add(image.Pt(f.frameX, f.frameY))
	draw.Draw(canvas, at, img, img.Bounds().Min, draw.Src)
	return canvas, nil
}

// checkPalette finds pixels without a colour. imaging would panic on one, in a goroutine of
// its own, where nobody can recover (CVE-2023-36308).
func checkPalette(img image.Image) error {
	p, ok := img.(*image.Paletted)
	if ok && len(p.Pix) > 0 && int(slices.Max(p.Pix)) >= len(p.Palette) {
		return refused("picture with a colour outside its palette")
	}
	return nil
}

// encode writes one rendition in the formats.
func (p *Picture) encode(img *image.NRGBA, formats []Format) (out []Rendition, err error) {
	width, height := img.Rect.Dx(), img.Rect.Dy()
	opaque := img.Opaque()
	for _, format := range formats {
		var data []byte
		switch {
		case format == JPEG:
			data, err = p.encodeJPEG(img, opaque)
		case max(width, height) > webp.MaxDimension:
			continue
		default:
			data, err = p.encodeWebP(img, false)
			if err == nil && !opaque {
				// Lossy pictures get their transparency uncompressed, one byte a pixel: drawings
				// and logos, which most transparent pictures are, come out smaller without loss.
				var lossless []byte
				if lossless, err = p.encodeWebP(img, true); len(lossless) < len(data) {
					data = lossless
				}
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Rendition{Format: format, Width: width, Height: height, Data: data})
	}
	return out, nil
}

func (p *Picture) encodeJPEG(img *image.NRGBA, opaque bool) ([]byte, error) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, onWhite(img, opaque), &jpeg.Options{Quality: jpegQuality}); err != nil {
		return nil, fmt.Errorf("encode JPEG of %v: %w", img.Rect.Size(), err)
	}
	return addToJPEG(b.Bytes(), &p.file.meta), nil
}

func (p *Picture) encodeWebP(img *image.NRGBA, lossless bool) ([]byte, error) {
	o := webp.DefaultOptions()
	o.Quality = webpQuality
	o.Method = webpMethod
	o.AlphaCompression = 0 // compressed transparency comes out invalid
	o.Lossless = lossless
	o.ICC = p.file.meta.carried()
	o.EXIF = p.file.meta.exif(false)
	o.XMP = p.file.meta.xmp()
	var b bytes.Buffer
	warmUp()
	if err := webp.Encode(&b, img, o); err != nil {
		return nil, fmt.Errorf("encode WebP of %v: %w", img.Rect.Size(), err)
	}
	return b.Bytes(), nil
}

// warmUp has the WebP encoder make its gamma tables. It does so at its first use, without a lock,
// and calls them made before they are (deepteams/webp 1.1.0): a second picture at the same time
// would get wrong colours.
var warmUp = sync.OnceFunc(func() {
	_ = webp.Encode(io.Discard, image.NewNRGBA(image.Rect(0, 0, 16, 16)), webp.DefaultOptions())
})

// onWhite gives img as opaque RGBA, for which image/jpeg has a fast path.
func onWhite(img *image.NRGBA, opaque bool) *image.RGBA {
	if opaque { // the same bytes
		return &image.RGBA{Pix: img.Pix, Stride: img.Stride, Rect: img.Rect}
	}
	out := image.NewRGBA(img.Rect)
	draw.Draw(out, out.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(out, out.Rect, img, img.Rect.Min, draw.Over)
	return out
}

// obedient is a reader that ends with its context. It gives out little at a time, so that a
// decoder which does much with little asks often.
type obedient struct {
	ctx context.Context
	r   io.Reader
}

// sip is in bytes.
const sip = 1 << 10

func (o *obedient) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.r.Read(p[:min(len(p), sip)])
}
