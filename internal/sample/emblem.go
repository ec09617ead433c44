package sample

import (
	"bytes"
	"image"
	"image/png"
	"math"
)

// drawEmblem gives the city's emblem, a PNG with a transparent ground: a disc with the sun
// over hills and the river.
func drawEmblem() []byte {
	const size = 512
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	byRows(size, func(y int) {
		for x := range size {
			u, v := (float64(x)+.5)/size*2-1, (float64(y)+.5)/size*2-1
			c, alpha := emblem(u, v)
			i := img.PixOffset(x, y)
			img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = byte8(c.r), byte8(c.g), byte8(c.b), byte8(alpha)
		}
	})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// emblem is its colour and opacity at a point; the disc has radius .94 about the middle.
func emblem(u, v float64) (color, float64) {
	const soft = .006 // the width of an edge
	gold, navy := color{.88, .69, .27}, color{.07, .22, .42}
	d := math.Hypot(u, v)
	angle := math.Atan2(v, u)
	c := navy.mix(color{.12, .34, .58}, .5-.5*v)

	sun := math.Hypot(u, v+.12)
	rays := .5 + .5*math.Cos(math.Atan2(v+.12, u)*24)
	c = c.mix(gold.mix(navy, .25), smooth(.62, .30, sun)*smooth(.45, .6, rays)*.8)
	c = c.mix(color{.97, .80, .36}, smooth(.27+soft, .27-soft, sun))

	for i, tone := range []color{{.22, .48, .36}, {.13, .36, .27}} {
		ridge := .10 + .10*float64(i) - .13*math.Sin(u*(3.1+float64(i))+1.2+2.1*float64(i))
		c = c.mix(tone.scale(.85+.4*noise(u*14, v*14, 3)), smooth(ridge-soft, ridge+soft, v))
	}
	for i := range 3 {
		wave := .40 + .13*float64(i) + .030*math.Sin(u*11+float64(i)*1.9)
		c = c.mix(color{.16, .46, .68}.mix(color{.62, .83, .93}, float64(i)*.3), smooth(wave-soft, wave+soft, v))
	}
	// A rim of rice grains.
	if d > .74 {
		c = navy.scale(.8)
		grain := math.Abs(math.Mod(angle/(2*math.Pi)*48+48, 1)-.5) + math.Abs(d-.83)*7
		c = c.mix(gold, smooth(.5, .42, grain))
	}
	c = c.mix(gold, smooth(.012+soft, .012, math.Abs(d-.75))).mix(gold, smooth(.02+soft, .02, math.Abs(d-.915)))
	return c, smooth(.94+soft, .94-soft, d)
}
