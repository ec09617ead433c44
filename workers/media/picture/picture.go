// Package picture turns a picture file from outside into files fit for publication: the
// original without its private metadata, and renditions of given widths in JPEG and WebP, whole
// or cropped about a focal point.
//
//	bytes ──Open──▶ Picture ──Render──▶ renditions
//	         │         └ Original, without GPS, thumbnails, trailing data
//	         └ refused by name, header, size
//
// [Open] only walks the container (JPEG segments, PNG chunks, GIF blocks, RIFF chunks): it
// learns the format, the size and what decoding will cost, before a pixel is decoded, and
// copies what belongs to the picture. [Picture.Render] decodes that copy, so that what is
// stored is what was found to decode. It knows nothing of HTTP or S3.
//
// Of the metadata, the colour profile, artist, copyright and credit stay, in the original and in
// the renditions. The orientation (Exif 2.32, tag 0x0112) stays in the original, which is copied
// without loss, and is applied to the renditions, which are upright.
//
// A wide-gamut profile is kept rather than converted to sRGB: every browser of today manages
// colours, so that nobody sees more for a conversion, while a wide screen would show less, and
// the profile costs half a kilobyte.
package picture

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// Format is a kind of picture file, by its media type.
type Format string

// The formats that are taken.
const (
	JPEG Format = "image/jpeg"
	PNG  Format = "image/png"
	GIF  Format = "image/gif"
	WebP Format = "image/webp"
)

// Ext is the format's file name extension, without a dot.
func (f Format) Ext() string {
	switch f {
	case JPEG:
		return "jpg"
	case PNG:
		return "png"
	case GIF:
		return "gif"
	default:
		return "webp"
	}
}

// Limits bound what a picture may be, and what is made of it. Zero fields take the defaults.
type Limits struct {
	// Pixels is the most that width times height may be: 50 million, what today's cameras make.
	Pixels int64
	// Side is the most that width or height may be: 20,000 pixels.
	Side int
	// Memory is the most that decoding and resizing may take, in bytes: 256 MiB. It stops
	// what is small in pixels but not in bytes, as 16-bit PNG and progressive JPEG.
	Memory int64
	// PixelBytes is the most that a pixel may take in decoding, in bytes: 24, as those of CMYK
	// in progressive JPEG do. Small pictures, for which blocks are rounded up, are exempt.
	PixelBytes int64
	// Frames is the most that an animation may have: 1,000. Only the first is shown, but all
	// are stored.
	Frames int
	// Time is the most that decoding may take: 20 s, some 20 times what the greatest picture
	// needs. It ends files that are made to be slow.
	Time time.Duration
	// Width is the greatest that a rendition may be asked to have: 1,280 pixels.
	Width int
}

const (
	maxPixels     = 50_000_000
	maxSide       = 20_000
	maxMemory     = 256 << 20
	maxPixelBytes = 24
	maxFrames     = 1000
	maxTime       = 20 * time.Second
	maxWidth      = 1280
	// smallDecoded is in bytes: what is less needs no limit for each pixel.
	smallDecoded = 1 << 20
)

func (l Limits) withDefaults() Limits {
	l.Pixels = cmp.Or(l.Pixels, maxPixels)
	l.Side = cmp.Or(l.Side, maxSide)
	l.Memory = cmp.Or(l.Memory, maxMemory)
	l.PixelBytes = cmp.Or(l.PixelBytes, maxPixelBytes)
	l.Frames = cmp.Or(l.Frames, maxFrames)
	l.Time = cmp.Or(l.Time, maxTime)
	l.Width = cmp.Or(l.Width, maxWidth)
	return l
}

// Picture is a picture file whose container is sound.
type Picture struct {
	Format Format
	// Width and Height are in pixels, of the picture as it is shown, upright.
	Width, Height int
	// Memory is about what [Picture.Render] takes at its peak, in bytes.
	Memory int64
	// Original is the file without metadata, except colour profile, orientation, artist,
	// copyright and credit.
	Original []byte

	file   *file
	limits Limits
}

// file is what the walk through a container found out.
type file struct {
	// width and height are those of the pixels as stored, before orientation, of the whole
	// canvas where a format has one.
	width, height int
	// decoded is what the decoder will allocate, in bytes.
	decoded int64
	// frames is how many pictures an animation has; 0 or 1 when it is none.
	frames int
	// frameX and frameY place an animation's first frame on its canvas.
	frameX, frameY int
	clean          []byte
	meta           metadata
}

// metadata is what is kept.
type metadata struct {
	// orientation is 1 to 8 as in Exif; 0 when not given.
	orientation int
	artist      string
	copyright   string
	credit      string
	icc         []byte
}

// Open examines a picture file. What it does not take gives a [*RefusedError].
func Open(data []byte, limits Limits) (*Picture, error) {
	format, err := sniff(data)
	if err != nil {
		return nil, err
	}
	limits = limits.withDefaults()
	var f *file
	switch format {
	case JPEG:
		f, err = openJPEG(data)
	case PNG:
		f, err = openPNG(data)
	case GIF:
		f, err = openGIF(data)
	case WebP:
		f, err = openWebP(data)
	}
	if err != nil {
		return nil, err
	}
	if err := f.check(limits); err != nil {
		return nil, err
	}
	p := &Picture{Format: format, Width: f.width, Height: f.height, Original: f.clean, file: f, limits: limits}
	p.Memory = f.decoded + f.rendered(limits.Width)
	if f.meta.sideways() {
		p.Width, p.Height = p.Height, p.Width
	}
	if p.Memory > limits.Memory {
		return nil, &RefusedError{Reason: "bytes of memory to decode", Value: p.Memory, Limit: limits.Memory}
	}
	return p, nil
}

func (f *file) check(l Limits) error {
	if f.width <= 0 || f.height <= 0 {
		return refused("picture of %d x %d pixels", f.width, f.height)
	}
	if side := max(f.width, f.height); side > l.Side {
		return &RefusedError{Reason: "pixels a side", Value: int64(side), Limit: int64(l.Side)}
	}
	if pixels := int64(f.width) * int64(f.height); pixels > l.Pixels {
		return &RefusedError{Reason: "pixels", Value: pixels, Limit: l.Pixels}
	}
	if each := f.decoded / (int64(f.width) * int64(f.height)); each > l.PixelBytes && f.decoded > smallDecoded {
		return &RefusedError{Reason: "bytes a pixel to decode", Value: each, Limit: l.PixelBytes}
	}
	if f.frames > l.Frames {
		return &RefusedError{Reason: "frames", Value: int64(f.frames), Limit: int64(l.Frames)}
	}
	return nil
}

// rendered is about what resizing and encoding take beside the decoded picture, in bytes: for the
// whole, or for a square crop of a panorama, of which more is left when it is narrowed.
func (f *file) rendered(width int) int64 {
	side := min(f.width, f.height)
	return max(narrowed(f.width, f.height, width), narrowed(side, side, width))
}

// narrowed is what a part of that size takes to be narrowed to width but not yet lowered, and as
// the greatest rendition with the encoders' copies of it.
func narrowed(w, h, width int) int64 {
	scale := min(1, float64(width)/float64(w))
	return int64(4 * math.Ceil(float64(w)*scale) * (float64(h) + 3*math.Ceil(float64(h)*scale)))
}

// sideways reports whether the stored width is the shown height.
func (m metadata) sideways() bool { return m.orientation >= 5 && m.orientation <= 8 }

// RefusedError says why a picture is not taken. Trying again does not help.
type RefusedError struct {
	Reason string
	// Value and Limit are those that Reason speaks of; both 0 when it speaks of none.
	Value, Limit int64
}

func (e *RefusedError) Error() string {
	if e.Limit == 0 {
		return "picture refused: " + e.Reason
	}
	return fmt.Sprintf("picture refused: %d %s, at most %d", e.Value, e.Reason, e.Limit)
}

func refused(format string, args ...any) *RefusedError {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}
