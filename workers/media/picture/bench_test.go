package picture

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"testing"
	"time"
)

// photograph draws what compresses like one: gradients, edges and some grain. 12 megapixels,
// with orientation and a colour profile, as a telephone makes it.
func photograph(tb testing.TB, w, h int) []byte {
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	grain := uint32(1)
	for y := range h {
		for x := range w {
			grain = grain*1664525 + 1013904223
			v := 128 + 60*math.Sin(float64(x)/97)*math.Cos(float64(y)/61) + float64(grain>>28)
			if (x/160+y/120)%7 == 0 {
				v -= 50
			}
			img.Y[y*img.YStride+x] = uint8(v)
		}
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = uint8(110+i%img.CStride*40/img.CStride), uint8(120+i/img.CStride%30)
	}
	return into(jpegFile(tb, img), segment(mAPP1, exifPrefix+string(secretEXIF(6))),
		segment(mAPP2, iccPrefix+"\x01\x01"+string(profile("RGB ", "Display P3", 536))))
}

// BenchmarkRender makes 3 widths in 2 formats from 12 megapixels. Its floor is one decoding of
// the same file, in the same run: the metric "x-decode" is the ratio.
func BenchmarkRender(b *testing.B) {
	data := photograph(b, 4000, 3000)
	var floor, whole time.Duration
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		floor += time.Since(start)
		start = time.Now()
		p := open(b, data)
		out := render(b, p)
		whole += time.Since(start)
		size = 0
		for _, r := range out {
			size += len(r.Data)
		}
	}
	b.ReportMetric(float64(whole.Milliseconds())/float64(b.N), "ms/picture")
	b.ReportMetric(float64(floor.Milliseconds())/float64(b.N), "ms/decode")
	b.ReportMetric(float64(whole)/float64(floor), "x-decode")
	b.ReportMetric(float64(size), "B/renditions")
}

// BenchmarkOpen walks the segments of 12 megapixels.
func BenchmarkOpen(b *testing.B) {
	data := photograph(b, 4000, 3000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		open(b, data)
	}
}
