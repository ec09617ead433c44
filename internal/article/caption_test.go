package article

import "testing"

func TestPicturesHaveTheirCaptions(t *testing.T) {
	image := func(src string) (Picture, bool) {
		p := Picture{Src: "loa-media:media/ab/w640.jpg", Caption: "Chợ < cầu"}
		switch src {
		case "https://hoabinh.example.vn/a.jpg":
			return p, true
		case "https://hoabinh.example.vn/khong.jpg":
			p.Caption = ""
			return p, true
		}
		return Picture{}, false
	}
	const (
		in       = `<img src="/a.jpg">`
		img      = `<img src="loa-media:media/ab/w640.jpg" loading="lazy"/>`
		caption  = `<figcaption>Chợ &lt; cầu</figcaption>`
		captured = `<figure>` + img + caption + `</figure>`
	)
	for what, tc := range map[string][2]string{
		"alone":                        {in, captured},
		"in a paragraph of its own":    {`<p> ` + in + ` </p><p>x</p>`, captured + `<p>x</p>`},
		"in the middle of a paragraph": {`<p>x ` + in + ` y <b>z</b></p>`, `<p>x </p>` + captured + `<p> y <b>z</b></p>`},
		"at the end of a paragraph":    {`<p>x` + in + `<br></p>`, `<p>x</p>` + captured},
		"two in a paragraph":           {`<p>` + in + in + `</p>`, captured + captured},
		"in a link":                    {`<p><a href="/b.jpg">` + in + `</a></p>`, `<figure><a href="https://hoabinh.example.vn/b.jpg">` + img + `</a>` + caption + `</figure>`},
		"in a figure without":          {`<figure>` + in + `</figure>`, captured},
		"in a figure with another":     {`<figure>` + in + `<figcaption>Khác</figcaption></figure>`, `<figure>` + img + `<figcaption>Khác</figcaption></figure>`},
		"in a figure of two":           {`<figure>` + in + in + `</figure>`, `<figure>` + img + img + `</figure>`},
		"in a cell":                    {`<table><tbody><tr><td>` + in + `</td></tr></tbody></table>`, `<table><tbody><tr><td>` + captured + `</td></tr></tbody></table>`},
		"in a line of other markup":    {`<h2>x ` + in + `</h2><p><b>y ` + in + `</b></p>`, `<h2>x ` + img + `</h2><p><b>y ` + img + `</b></p>`},
		"without":                      {`<p><img src="/khong.jpg"></p>`, `<p>` + img + `</p>`},
	} {
		opts := SanitiseOptions{Base: page, Image: image}
		got, err := Sanitise(tc[0], opts)
		if err != nil || got != tc[1] {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", what, got, err, tc[1])
		}
		opts.Stored = true // another picture came late: nothing is captioned twice
		if again, err := Sanitise(got, opts); err != nil || again != got {
			t.Errorf("%s, again:\ngot  %s, %v\nwant %s", what, again, err, got)
		}
	}
}
