package sample

import (
	"image"
	"math"
	"runtime"
	"sync"
)

// A scene is a landscape, painted by arithmetic alone: sky and clouds over hills or a
// skyline, and in front of them water that reflects it all, a field or a street. Lengths are
// in heights of the picture; u runs to the right from its left edge, v downwards from its top.
type scene struct {
	seed    uint64
	light   light
	aspect  float64 // width by height
	horizon float64 // v
	clouds  float64 // 0 to 1
	sun     point
	hills   int
	skyline float64 // height of the tallest building; 0 for none
	pines   bool
	bridge  bool
	ground  ground
	stalls  bool
	lamps   int
	rain    bool
}

type point struct{ u, v float64 }

// ground is what lies below the horizon.
type ground int

const (
	river ground = iota
	flood
	field
	pitch
	street
)

// light is the time of day.
type light struct {
	zenith, horizon, sun, haze color
	cloud                      color
	shade                      float64 // brightness of what is lit
	glow                       float64 // strength of the sun
	windows                    float64 // share of windows that are lit
}

var (
	dawn     = light{color{.34, .50, .74}, color{1, .82, .66}, color{1, .86, .62}, color{.90, .80, .76}, color{1, .90, .84}, .75, .8, .1}
	day      = light{color{.16, .42, .78}, color{.74, .87, .96}, color{1, .98, .9}, color{.72, .82, .90}, color{1, 1, 1}, 1, .35, 0}
	dusk     = light{color{.17, .18, .42}, color{1, .55, .30}, color{1, .72, .38}, color{.72, .44, .42}, color{.95, .55, .45}, .42, 1, .35}
	overcast = light{color{.50, .55, .60}, color{.80, .82, .82}, color{1, 1, 1}, color{.72, .75, .77}, color{.42, .46, .50}, .62, 0, .08}
	night    = light{color{.03, .05, .15}, color{.26, .20, .36}, color{.9, .9, 1}, color{.10, .10, .20}, color{.20, .18, .30}, .20, .25, .45}
)

// painter holds what of a scene is computed once: outlines, buildings and lamps.
type painter struct {
	scene
	ridges [][]float64 // for each range of hills, v of its ridge by column
	blocks []block
	roof   float64 // v of the highest building's top
	lit    []lamp
	pixel  float64 // length of a pixel
}

type block struct {
	left, right, top float64
	tone             color
	seed             uint64
}

type lamp struct {
	point
	size float64
	tone color
}

// paint gives the scene at height pixels, from all processors; the result does not depend
// on their number.
func (s scene) paint(height int) *image.RGBA {
	width := int(math.Round(s.aspect * float64(height)))
	p := &painter{scene: s, pixel: 1 / float64(height)}
	p.raiseHills(width)
	p.build()
	p.hangLamps()
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	byRows(height, func(y int) {
		v := (float64(y) + .5) * p.pixel
		for x := range width {
			u := (float64(x) + .5) * p.pixel
			c := p.at(u, v).graded(u/s.aspect, v)
			i := img.PixOffset(x, y)
			img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = byte8(c.r), byte8(c.g), byte8(c.b), 255
		}
	})
	return img
}

// byRows calls row for every y below height, dividing them among the processors.
func byRows(height int, row func(y int)) {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for worker := range n {
		wg.Go(func() {
			for y := worker; y < height; y += n {
				row(y)
			}
		})
	}
	wg.Wait()
}

func (p *painter) raiseHills(width int) {
	for i := range p.hills {
		near := float64(i+1) / float64(p.hills)
		ridge := make([]float64, width)
		for x := range ridge {
			u := float64(x) * p.pixel
			h := fbm(u*(1.1+near), 7.3*float64(i), p.seed+uint64(i), 6)
			ridge[x] = p.horizon - (.30-.19*near)*(h*1.9-.32)
			if p.pines && i == p.hills-1 {
				tree := noise(u*55, 3, p.seed+90)
				ridge[x] -= .075 * tree * tree * (1 - math.Abs(math.Mod(u*42, 1)*2-1)*.8)
			}
		}
		p.ridges = append(p.ridges, ridge)
	}
}

func (p *painter) build() {
	p.roof = p.horizon
	if p.skyline == 0 {
		return
	}
	for u, i := -.05, uint64(0); u < p.aspect; i++ {
		r := func(salt uint64) float64 { return random(i, salt, p.seed) }
		width := .018 + .05*r(1)*r(1)
		// Taller towards a centre, as cities are.
		centre := math.Exp(-sq((u - p.aspect*.56) / (p.aspect * .26)))
		height := p.skyline * (.12 + .25*r(2) + .63*centre*r(3)*r(3))
		p.roof = min(p.roof, p.horizon-height)
		grey := .35 + .45*r(4)
		p.blocks = append(p.blocks, block{u, u + width, p.horizon - height,
			color{grey + .10*r(5), grey + .04*r(5), grey}, i + p.seed})
		u += width * (.65 + .4*r(6))
	}
}

func (p *painter) hangLamps() {
	tones := []color{{1, .35, .12}, {1, .72, .25}, {1, .25, .22}, {.95, .55, .9}}
	for i := range uint64(p.lamps) {
		r := func(salt uint64) float64 { return random(i, salt, p.seed+5) }
		near := r(3)
		p.lit = append(p.lit, lamp{point{r(1) * p.aspect, p.horizon * (.45 + .52*(1-near*near))},
			.004 + .011*near*near, tones[int(r(4)*4)]})
	}
}

// at is the colour of the scene at a point.
func (p *painter) at(u, v float64) color {
	var c color
	switch {
	case v < p.horizon:
		c = p.above(u, v)
	default:
		c = p.below(u, v)
	}
	if p.stalls {
		c = p.market(u, v, c)
	}
	if p.bridge {
		c = p.crossing(u, v, c)
	}
	if p.rain {
		streak := noise(u*260+v*40, v*14, p.seed+70)
		c = c.mix(color{.85, .88, .9}, .22*smooth(.62, 1, streak))
	}
	return c
}

// above is what stands over the horizon, which water also reflects.
func (p *painter) above(u, v float64) color {
	c := p.sky(u, v)
	x := min(max(int(u/p.pixel), 0), int(p.aspect/p.pixel)-1)
	for i, ridge := range p.ridges {
		x := min(x, len(ridge)-1)
		if v < ridge[x] {
			continue
		}
		near := float64(i+1) / float64(p.hills)
		grain := fbm(u*30*near+9, v*50, p.seed+40+uint64(i), 4)
		slope := color{.16, .30, .14}.mix(color{.34, .42, .20}, grain).scale(p.light.shade * (.6 + .6*grain))
		c = slope.mix(p.light.haze, .78-.66*near)
	}
	if v >= p.roof {
		for _, b := range p.blocks {
			if u >= b.left && u < b.right && v >= b.top {
				c = p.facade(b, u, v)
			}
		}
	}
	for _, l := range p.lit {
		if d := (sq(u-l.u) + sq(v-l.v)) / sq(l.size); d < 30 {
			c = c.add(l.tone.scale(1.3*math.Exp(-d*1.6) + .32*math.Exp(-d*.14)))
		}
	}
	return c
}

func (p *painter) sky(u, v float64) color {
	l := p.light
	c := l.zenith.mix(l.horizon, math.Pow(min(v/p.horizon, 1), 1.5))
	d := math.Hypot(u-p.sun.u, v-p.sun.v)
	c = c.add(l.sun.scale(l.glow * (.55*math.Exp(-d*3.2) + 1.2*smooth(.035, .028, d))))
	if p.clouds > 0 {
		depth := 1 / (.18 + p.horizon - v) // clouds lie on a plane: flatter towards the horizon
		n := fbm(u*depth*.55+3, depth*2.1, p.seed+20, 6)
		cover := smooth(.78-.5*p.clouds, 1.02-.45*p.clouds, n)
		lit := l.cloud.mix(l.zenith, .45*smooth(.5, .9, n))
		c = c.mix(lit.add(l.sun.scale(.35*l.glow*math.Exp(-d*2.5))), cover*.85)
	}
	return c
}

func (p *painter) facade(b block, u, v float64) color {
	across := (u - b.left) / (b.right - b.left)
	wall := b.tone.scale(p.light.shade * (.72 + .4*across) * (.9 + .2*noise(u*80, v*80, b.seed)))
	const storey, bay = .0095, .0075
	row, column := math.Floor((v-b.top)/storey), math.Floor((u-b.left)/bay)
	dv, du := (v-b.top)/storey-row, (u-b.left)/bay-column
	if row > 0 && dv > .3 && dv < .85 && du > .2 && du < .8 {
		if random(uint64(row)*131+uint64(column), 5, b.seed) < p.light.windows {
			return color{1, .82, .48}.scale(.75 + .25*random(uint64(row), uint64(column), b.seed))
		}
		wall = wall.scale(.62).mix(p.light.zenith, .25)
	}
	return wall.mix(p.light.haze, .22+.1*random(1, 1, b.seed))
}
