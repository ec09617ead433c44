package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/gateway"
)

func TestAcceptEncoding(t *testing.T) {
	t.Parallel()
	type weights struct{ br, zstd, gzip, identity float64 }
	for accept, want := range map[string]weights{
		"":                            {},
		"gzip":                        {gzip: 1},
		"GZIP":                        {gzip: 1},
		"x-gzip":                      {gzip: 1},
		"br, gzip, zstd":              {1, 1, 1, 0},
		"gzip;q=0":                    {},
		"gzip;q=0.0, *":               {br: 1, zstd: 1},
		"gzip ; q=0.001":              {gzip: 0.001},
		"gzip;q=1.0, identity;q=0.5":  {gzip: 1, identity: 0.5},
		"gzip;q=0.3, identity;q=0.8":  {gzip: 0.3, identity: 0.8},
		"identity":                    {identity: 1},
		"identity;q=0":                {},
		"*":                           {1, 1, 1, 0},
		"*;q=0":                       {},
		"identity;q=0, *;q=0.5":       {0.5, 0.5, 0.5, 0},
		"br;q=1, *;q=0.1":             {1, 0.1, 0.1, 0},
		"gzip;q=abc":                  {},
		"gzip;q=7":                    {},
		"gzip;q=NaN":                  {},
		"gzip;level=9;q=0":            {},
		"gzipped, notgzip":            {},
		",,gzip,,":                    {gzip: 1},
		"deflate, gzip;q=1.0, *;q=.5": {0.5, 0.5, 1, 0},
	} {
		got, identity := gateway.CodingWeights([]string{accept})
		if got := (weights{got[gateway.Brotli], got[gateway.Zstd], got[gateway.Gzip], identity}); got != want {
			t.Errorf("%q: %v, expected %v", accept, got, want)
		}
	}
	if got, _ := gateway.CodingWeights([]string{"br", "gzip"}); got[gateway.Brotli] != 1 || got[gateway.Gzip] != 1 || got[gateway.Zstd] != 0 {
		t.Errorf("several lines: %v", got)
	}
}

func FuzzRequestHeaders(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", `W/"a", "b"`, "Fri, 20 Nov 2026 02:00:00 GMT")
	f.Add(";;;q==,", `"`, "x")
	f.Add("*", `*, W/`, "")
	f.Fuzz(func(t *testing.T, accept, match, since string) {
		gateway.CodingWeights([]string{accept, accept})
		gateway.PrefersPage([]string{accept, match})
		h := http.Header{"If-None-Match": {match}, "If-Modified-Since": {since}}
		if got := gateway.Precondition(h, `"tag"`, time.Time{}); got != 200 && got != 304 {
			t.Errorf("%d", got)
		}
		h = http.Header{"If-None-Match": {match + `, "tag"`}}
		if got := gateway.Precondition(h, `"tag"`, time.Time{}); got == 412 {
			t.Errorf("%d", got)
		}
	})
}
