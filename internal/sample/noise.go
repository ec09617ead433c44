package sample

import (
	"math"
	"sync"
)

// color is red, green and blue, 0 to 1 in sRGB; sums may exceed 1 until they are graded.
type color struct{ r, g, b float64 }

func (c color) scale(f float64) color { return color{c.r * f, c.g * f, c.b * f} }
func (c color) add(d color) color     { return color{c.r + d.r, c.g + d.g, c.b + d.b} }

// mix is c where t is 0 and d where t is 1.
func (c color) mix(d color, t float64) color {
	return color{c.r + (d.r-c.r)*t, c.g + (d.g-c.g)*t, c.b + (d.b-c.b)*t}
}

// graded darkens the corners a little and compresses highlights, as a camera does. x and y
// run from 0 to 1 over the picture.
func (c color) graded(x, y float64) color {
	f := 1 - .32*sq(sq(x-.5)+sq(y-.5))*4
	shoulder := func(a float64) float64 {
		a = max(a*f, 0)
		if a > .8 {
			a = .8 + .2*(1-math.Exp(-(a-.8)*5))
		}
		return a
	}
	return color{shoulder(c.r), shoulder(c.g), shoulder(c.b)}
}

func byte8(a float64) uint8 { return uint8(min(max(a, 0), 1)*255 + .5) }

func sq(a float64) float64 { return a * a }

// smooth rises from 0 at from to 1 at to, without a kink; from may exceed to.
func smooth(from, to, a float64) float64 {
	t := min(max((a-from)/(to-from), 0), 1)
	return t * t * (3 - 2*t)
}

// hash mixes its arguments (the finaliser of SplitMix64).
func hash(a, b, seed uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 ^ b*0xc2b2ae3d27d4eb4f ^ seed*0x165667b19e3779f9
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// random is a number from 0 up to 1 that depends on its arguments alone.
func random(a, b, seed uint64) float64 { return float64(hash(a, b, seed)>>11) / (1 << 53) }

// lattice holds the random numbers of noise, which repeat every 256 whole coordinates: a
// table costs a quarter of hashing each.
var lattice = sync.OnceValue(func() *[1 << 16]float32 {
	var table [1 << 16]float32
	for i := range table {
		table[i] = float32(random(uint64(i), 0, 0))
	}
	return &table
})

// noise is value noise: random at whole coordinates, smooth in between.
func noise(x, y float64, seed uint64) float64 {
	table := lattice()
	fx, fy := math.Floor(x), math.Floor(y)
	tx, ty := x-fx, y-fy
	tx, ty = tx*tx*(3-2*tx), ty*ty*(3-2*ty)
	ix, iy := uint64(int64(fx))+seed*37, uint64(int64(fy))+seed*101
	at := func(x, y uint64) float64 { return float64(table[y&255<<8|x&255]) }
	a, b := at(ix, iy), at(ix+1, iy)
	c, d := at(ix, iy+1), at(ix+1, iy+1)
	top, bottom := a+(b-a)*tx, c+(d-c)*tx
	return top + (bottom-top)*ty
}

// fbm sums octaves of noise, each twice as fine and half as strong: 0 to 1.
func fbm(x, y float64, seed uint64, octaves int) float64 {
	sum, weight, total := 0.0, 1.0, 0.0
	for i := range octaves {
		sum += weight * noise(x, y, seed+uint64(i)*101)
		total += weight
		weight *= .5
		x, y = x*2+17.1, y*2+9.7
	}
	return sum / total
}
