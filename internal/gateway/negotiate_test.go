package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/gateway"
)

func TestAcceptEncoding(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"":                            false,
		"gzip":                        true,
		"GZIP":                        true,
		"x-gzip":                      true,
		"br, gzip, zstd":              true,
		"gzip;q=0":                    false,
		"gzip;q=0.0, *":               false,
		"gzip ; q=0.001":              true,
		"gzip;q=1.0, identity;q=0.5":  true,
		"gzip;q=0.3, identity;q=0.8":  false,
		"identity":                    false,
		"identity;q=0":                false,
		"*":                           true,
		"*;q=0":                       false,
		"identity;q=0, *;q=0.5":       true,
		"br;q=1, *;q=0.1":             true,
		"gzip;q=abc":                  false,
		"gzip;q=7":                    false,
		"gzip;q=NaN":                  false,
		"gzip;level=9;q=0":            false,
		"gzipped, notgzip":            false,
		",,gzip,,":                    true,
		"deflate, gzip;q=1.0, *;q=.5": true,
	} {
		if got := gateway.AcceptsGzip([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
	if !gateway.AcceptsGzip([]string{"br", "gzip"}) || gateway.AcceptsGzip(nil) {
		t.Error("several lines, or none")
	}
}

func FuzzRequestHeaders(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", `W/"a", "b"`, "Fri, 20 Nov 2026 02:00:00 GMT")
	f.Add(";;;q==,", `"`, "x")
	f.Add("*", `*, W/`, "")
	f.Fuzz(func(t *testing.T, accept, match, since string) {
		gateway.AcceptsGzip([]string{accept, accept})
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
