package sample

import "math"

// below is what lies under the horizon.
func (p *painter) below(u, v float64) color {
	// A point of the ground: far is its distance, side how much it is off the middle.
	far := .12 / (v - p.horizon + .004)
	side := (u - p.aspect/2) * far
	switch p.ground {
	case river, flood:
		return p.water(u, v, far, side)
	case street:
		return p.road(far, side)
	case pitch:
		return p.turf(far, side)
	default:
		return p.paddy(far, side)
	}
}

func (p *painter) water(u, v, far, side float64) color {
	depth := v - p.horizon
	ripple := fbm(side*5, far*26, p.seed+30, 4) - .5
	fine := noise(u*90, v*420, p.seed+31) - .5
	mirrored := p.horizon - depth*.92 + depth*(.30*ripple+.12*fine)
	c := p.above(u+.10*depth*ripple, min(max(mirrored, 0), p.horizon-p.pixel))
	body, share := color{.10, .22, .26}.scale(.35+.75*p.light.shade), .22+.45*depth
	if p.ground == flood {
		body, share = color{.50, .38, .25}.scale(.5+.7*p.light.shade), .72
	}
	c = c.scale(.9).mix(body, min(share, .85)).add(body.scale(.55 * ripple))
	glitter := math.Exp(-sq((u-p.sun.u)/(.05+.25*depth))) * smooth(.16, .42, ripple+fine*.6)
	return c.add(p.light.sun.scale(.8 * p.light.glow * glitter))
}

func (p *painter) paddy(far, side float64) color {
	n := fbm(side*6, far*14, p.seed+50, 6)
	bend := .25 * (noise(side*.8, far*.6, p.seed+51) - .5)
	row, plot := far*4.5+bend, side*2.2+.4*far+bend
	i, j := math.Floor(row), math.Floor(plot+.37*math.Floor(row))
	ripe := random(uint64(int64(i)), uint64(int64(j)), p.seed)
	c := color{.24, .42, .10}.mix(color{.70, .62, .22}, ripe*ripe).mix(color{.14, .24, .07}, .8*n)
	// Rows of seedlings, which fade with the distance, and banks between the plots.
	c = c.scale(1 + .22*math.Sin(side*160)*smooth(.9, .2, far))
	if row-i < .08 || plot+.37*i-j < .035 {
		c = color{.40, .33, .21}.scale(.6 + .8*n)
	}
	return c.scale(p.light.shade*(.75+.7*n)).mix(p.light.haze, min(far*.10, .75))
}

func (p *painter) turf(far, side float64) color {
	c := color{.20, .46, .14}
	if math.Mod(far*3+40, 2) < 1 { // mown in bands
		c = color{.25, .54, .18}
	}
	n := fbm(side*16, far*40, p.seed+50, 4)
	c = c.scale(p.light.shade * (.7 + .5*n))
	line := math.Abs(side) < .005 || math.Abs(math.Hypot(side, (far-.75)*1.1)-.32) < .006 || math.Abs(far-.75) < .008
	if line {
		c = c.mix(color{.95, .97, .95}, .75)
	}
	return c.mix(p.light.haze, min(far*.05, .5))
}

func (p *painter) road(far, side float64) color {
	n := fbm(side*14, far*14, p.seed+50, 5)
	edge := math.Abs(side)
	asphalt := color{.27, .27, .29}.scale(.7 + .6*n)
	verge := color{.62, .58, .52}.scale(.7 + .5*n)
	c := asphalt.mix(verge, smooth(.30, .31, edge))
	if edge > .46 {
		c = color{.22, .34, .14}.scale(.5 + n)
	}
	switch {
	case edge < .008 && math.Mod(far*1.6, 1) < .55, math.Abs(edge-.285) < .005:
		c = c.mix(color{.93, .92, .86}, .8)
	case p.rain:
		c = c.mix(p.light.horizon, .25*n)
	}
	return c.scale(.35+.65*p.light.shade).mix(p.light.haze, min(far*.09, .7))
}

// market sets two rows of stalls with striped awnings before the background.
func (p *painter) market(u, v float64, c color) color {
	tones := []color{{.80, .16, .14}, {.12, .36, .66}, {.13, .50, .30}, {.90, .62, .12}, {.52, .20, .48}}
	for row := range 2 {
		size := .17 + .13*float64(row)
		top := p.horizon - .10 + .20*float64(row)
		wide := size * 1.25
		shift := u + .37*float64(row)*wide
		n := math.Floor(shift / wide)
		x, y := shift/wide-n, (v-top)/size
		salt := uint64(int64(n)) + uint64(row)*57
		tone := tones[int(random(salt, 3, p.seed)*5)]
		sag := .05 * math.Sin(x*math.Pi)
		switch {
		case y < 0 || x < .03 || x > .97 || y > 1.25:
		case y < .34+sag+.03*math.Abs(math.Sin(x*28)):
			if math.Mod(x*9, 1) < .5 {
				tone = color{.93, .91, .86}
			}
			c = tone.scale(p.light.shade * (1.08 - .55*y) * (.88 + .24*noise(u*60, v*60, p.seed)))
		case y < .78: // the dark below, between posts
			c = color{.20, .16, .13}.mix(tone.scale(.35), .5).scale((1.7 - 1.5*y) * (.6 + .9*noise(u*40, v*22, p.seed+3)))
			if math.Abs(x-.06) < .012 || math.Abs(x-.94) < .012 {
				c = color{.45, .42, .40}.scale(p.light.shade)
			}
		default: // the goods: small round heaps
			gu, gv := u*62/(1+.5*float64(row)), v*70/(1+.5*float64(row))
			i, j := math.Floor(gu), math.Floor(gv)
			r := random(uint64(int64(i))+1000, uint64(int64(j)), p.seed)
			fruit := color{.90, .50, .10}.mix(color{.30, .58, .14}, smooth(.3, .6, r)).mix(color{.78, .12, .16}, smooth(.75, .8, r))
			d := math.Hypot(gu-i-.5, gv-j-.5)
			c = fruit.scale(p.light.shade*(1.15-1.1*d)).mix(color{.12, .08, .05}, smooth(.44, .54, d))
		}
	}
	return c
}

// crossing puts a cable-stayed bridge over the water.
func (p *painter) crossing(u, v float64, c color) color {
	deck := p.horizon + .012
	steel := color{.80, .80, .78}.scale(.25+.75*p.light.shade).mix(p.light.haze, .12)
	for _, at := range []float64{.30, .70} {
		foot := at * p.aspect
		const tall = .34
		head := deck - tall
		if v < head-.01 || v > deck+.10 {
			continue
		}
		for i := range 9 {
			reach := (.035 + .021*float64(i)) * p.aspect
			from := head + .012*float64(8-i)
			for _, sign := range []float64{-1, 1} {
				d := segment(point{u, v}, point{foot, from}, point{foot + sign*reach, deck})
				c = c.mix(steel, .85*smooth(1.3*p.pixel, .4*p.pixel, d))
			}
		}
		lean := .007 * (v - head) / tall
		if math.Abs(u-foot) < .006+lean && v >= head && v < deck+.09 {
			c = steel.scale(.72 + .5*smooth(-.01, .01, u-foot))
		}
	}
	if v >= deck && v < deck+.016 {
		c = steel.scale(.88 - 26*(v-deck))
		if p.light.windows > .2 && math.Mod(u*38, 1) < .12 && v < deck+.005 {
			c = color{1, .85, .55}
		}
	}
	return c
}

// segment is the distance of q from the line between a and b.
func segment(q, a, b point) float64 {
	du, dv := b.u-a.u, b.v-a.v
	t := ((q.u-a.u)*du + (q.v-a.v)*dv) / (du*du + dv*dv)
	t = min(max(t, 0), 1)
	return math.Hypot(q.u-a.u-t*du, q.v-a.v-t*dv)
}
