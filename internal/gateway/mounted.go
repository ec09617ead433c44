package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// AcceptsGzip reports whether who asks takes gzip, and does not like plain better: for those who
// are mounted.
func AcceptsGzip(h http.Header) bool {
	weights, identity := codingWeights(h["Accept-Encoding"])
	return weights[codedGzip] > 0 && weights[codedGzip] >= identity
}

// Accepted is the weight of a media type that Accept names as such; 0 when it does not.
func Accepted(h http.Header, mediaType string) float64 { return accepted(h["Accept"], mediaType) }

// Conditions evaluates a GET's conditions on a strong entity tag, and gives 200, 304 or 412.
func Conditions(h http.Header, tag string) int { return precondition(h, tag, time.Time{}) }

// PageStyle is the style sheet of the gateway's pages.
func PageStyle() string { return pageCSS }

// StylePolicy is the Content-Security-Policy of a page that has one style sheet, and nothing else.
func StylePolicy(css string) string {
	sum := sha256.Sum256([]byte(css))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
