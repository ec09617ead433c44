package picture

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Forms are what [Picture.Render] makes of a picture: each width in each format, of the whole
// picture and of each crop.
type Forms struct {
	// Widths are in pixels, at most [Limits.Width].
	Widths []int
	// Formats are of [JPEG] and [WebP].
	Formats []Format
	Crops   []Crop
	// Focal is what the crops must not lose.
	Focal Focal
}

// DefaultForms are three widths in two formats, without crops.
func DefaultForms() Forms {
	return Forms{Widths: []int{320, 640, 1280}, Formats: []Format{JPEG, WebP}}
}

// String names the forms, whatever their focal point: two that make the same of every picture
// have the same name.
func (f Forms) String() string {
	var parts []string
	for _, w := range f.Widths {
		parts = append(parts, strconv.Itoa(w))
	}
	for _, format := range f.Formats {
		parts = append(parts, format.Ext())
	}
	for _, c := range f.Crops {
		parts = append(parts, string(c))
	}
	return strings.Join(parts, " ")
}

// Crop is a ratio of width to height to which a picture is cut.
type Crop string

// The crops that there are.
const (
	Square Crop = "1:1"
	Wide   Crop = "16:9"
)

func (c Crop) ratio() (w, h int) {
	if c == Wide {
		return 16, 9
	}
	return 1, 1
}

// Focal is a point of the upright picture, in hundredths of its width and height: finer steps
// would only make more files.
type Focal struct{ X, Y int }

// Middle is where the focal point is of a picture that comes without one.
var Middle = Focal{50, 50}

// FocalAt is the focal point at x and y, of which each runs from 0 to 1.
func FocalAt(x, y float64) Focal {
	percent := func(v float64) int { return int(math.Round(100 * min(max(v, 0), 1))) }
	return Focal{percent(x), percent(y)}
}

func (f Focal) String() string { return fmt.Sprintf("%d-%d", f.X, f.Y) }

// rect is the greatest part of an upright picture that has the crop's ratio, as near as can be
// with the focal point in its middle.
func (c Crop) rect(size image.Point, f Focal) image.Rectangle {
	w, h := c.ratio()
	part := image.Pt(size.X, scaled(h, size.X, w))
	if part.Y > size.Y {
		part = image.Pt(min(size.X, scaled(w, size.Y, h)), size.Y)
	}
	at := image.Pt(
		min(max(size.X*f.X/100-part.X/2, 0), size.X-part.X),
		min(max(size.Y*f.Y/100-part.Y/2, 0), size.Y-part.Y))
	return image.Rectangle{Min: at, Max: at.Add(part)}
}

// stored is where a part of the upright picture lies in the pixels as they are stored, size
// being theirs.
func (m metadata) stored(r image.Rectangle, size image.Point) image.Rectangle {
	if m.sideways() { // turned about the diagonal first
		r = image.Rect(r.Min.Y, r.Min.X, r.Max.Y, r.Max.X)
	}
	if slices.Contains([]int{2, 3, 7, 8}, m.orientation) {
		r.Min.X, r.Max.X = size.X-r.Max.X, size.X-r.Min.X
	}
	if slices.Contains([]int{3, 4, 6, 7}, m.orientation) {
		r.Min.Y, r.Max.Y = size.Y-r.Max.Y, size.Y-r.Min.Y
	}
	return r
}
