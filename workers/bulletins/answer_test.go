package bulletins

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
)

func TestClassify(t *testing.T) {
	p := portal.Portal{Name: "east", Timeout: 15 * time.Second}
	for status, want := range map[int]string{
		200: outcomeDelivered, 204: outcomeDelivered, 299: outcomeDelivered,
		101: outcomeDown, 300: outcomeDown, 301: outcomeDown, 304: outcomeDown, 308: outcomeDown,
		400: outcomeRefused, 402: outcomeRefused, 409: outcomeRefused, 413: outcomeRefused, 415: outcomeRefused, 422: outcomeRefused, 451: outcomeRefused,
		401: outcomeDown, 403: outcomeDown, 404: outcomeDown, 405: outcomeDown, 408: outcomeDown, 425: outcomeDown, 429: outcomeDown,
		410: outcomeGone, 500: outcomeDown, 502: outcomeDown, 503: outcomeDown, 599: outcomeDown, 999: outcomeDown,
	} {
		r := classify(p, answer{status: status, retryAfter: "120"})
		if r.outcome != want || (r.err == nil) != (want == outcomeDelivered) || r.gone != (want == outcomeGone) {
			t.Errorf("%d: %+v, expected %s", status, r, want)
		}
		if wantsPause := status == 429 || status == 503; wantsPause != (r.after == 2*time.Minute) {
			t.Errorf("%d: pause %s", status, r.after)
		}
	}
	for _, err := range []error{context.DeadlineExceeded, errors.New("connection reset"), &outbound.RefusedError{Address: "10.0.0.1:80", Rule: "private"}} {
		if r := classify(p, answer{err: err}); r.outcome != outcomeDown || r.err == nil {
			t.Errorf("%v: %+v", err, r)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "30": 30 * time.Second, " 30 ": 30 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "99999999999999": 0,
		"Fri, 20 Nov 2026 09:10:00 GMT": 10 * time.Minute, "Fri, 20 Nov 2026 08:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, expected %s", value, got, want)
		}
	}
}

func FuzzErrorsAreFitForALogLine(f *testing.F) {
	f.Add([]byte("lỗi\nchi tiết"), "30")
	f.Add([]byte("\x00\x1b[31mđỏ\u202e"), "Fri, 20 Nov 2026 09:10:00 GMT")
	f.Add([]byte("\xff\xfe whsec_bWF0LWtoYXUtcmllbmctY3VhLWNvbmc="), "")
	secret := portal.Secret("whsec_bWF0LWtoYXUtcmllbmctY3VhLWNvbmc=")
	p := portal.Portal{Name: "east", Secrets: []portal.Secret{secret}}
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		r := classify(p, answer{status: http.StatusServiceUnavailable, body: body, retryAfter: after})
		text := r.err.Error()
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00\x1b") || utf8.RuneCountInString(text) > maxLine+100 {
			t.Errorf("%q", text)
		}
		if strings.Contains(text, secret.Reveal()) || r.after < 0 {
			t.Errorf("%q, %s", text, r.after)
		}
	})
}
