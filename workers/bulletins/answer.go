package bulletins

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
)

// Outcomes, as they are counted.
const (
	outcomeLevel     = "level" // there was nothing to send
	outcomeDelivered = portal.OutcomeDelivered
	outcomeDown      = portal.OutcomeDown
	outcomeRefused   = portal.OutcomeRefused
	outcomeGone      = portal.OutcomeGone
)

// result is what an answer means.
type result struct {
	outcome string
	err     error // nil if the portal has the bulletin
	after   time.Duration
	gone    bool
}

// verdict is the error for the engine.
func (r result) verdict() error {
	switch {
	case r.err == nil:
		return nil
	case r.outcome == outcomeRefused:
		return reconcile.Failed(r.err)
	default:
		return reconcile.Down(r.err, r.after)
	}
}

// classify decides what an answer means: 2xx, and nothing else, is a success. Where it is not
// plain whether the portal fails or the bulletin, the portal is blamed: its breaker lets
// nothing go to waste, and the engine notices when others get through.
func classify(p portal.Portal, a answer) result {
	if a.err != nil {
		return result{outcome: outcomeDown, err: fmt.Errorf("portal %q: %w", p.Name, transportError(p, a))}
	}
	if a.status >= 200 && a.status <= 299 {
		return result{outcome: outcomeDelivered}
	}
	text := fmt.Sprintf("portal %q answered %d", p.Name, a.status)
	if reason := http.StatusText(a.status); reason != "" {
		text += " " + reason
	}
	if line := firstLine(a.body, p); line != "" {
		text += ": " + line
	}
	r := result{outcome: outcomeDown, err: errors.New(text)}
	switch {
	case a.status == http.StatusGone:
		r.outcome, r.gone = outcomeGone, true
	case a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable:
		r.after = retryAfter(a.retryAfter, time.Now())
	case a.status < 400 || a.status > 499:
		// A redirect says that the address is wrong. It is not followed: where it leads,
		// nobody has entered a secret for.
	default:
		switch a.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly,
			// The address and the method are the same for every article.
			http.StatusNotFound, http.StatusMethodNotAllowed:
		default:
			r.outcome = outcomeRefused
		}
	}
	return r
}

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110 §10.2.3); 0 if it is
// neither, or in the past.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// maxLine is how much of an answer an error quotes, in characters.
const maxLine = 200

// firstLine is the first line of an answer that says something.
func firstLine(body []byte, p portal.Portal) string {
	for line := range bytes.Lines(body[:min(len(body), maxAnswer)]) {
		if s := fit(string(line), p); s != "" {
			return s
		}
	}
	return ""
}

// fit makes text that a portal chose fit for a line of a log: printable, short, and without
// the portal's secrets, should it echo them.
func fit(s string, p portal.Portal) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	for _, secret := range secrets(p) {
		s = strings.ReplaceAll(s, secret, "[secret]")
	}
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > maxLine {
		s = string([]rune(s)[:maxLine]) + "…"
	}
	return s
}

// minSecret is from which length, in bytes, text is hidden where it occurs: a header "1" is no
// credential.
const minSecret = 6

// secrets are what an answer of the portal must not tell, the longest first: secrets, the
// values of headers, the values in its address, and the words of each ("Bearer …").
func secrets(p portal.Portal) []string {
	var all []string
	add := func(s string) {
		if len(s) >= minSecret {
			all = append(all, s)
		}
	}
	for _, secret := range p.Signing(time.Time{}) { // also those that have just ended
		add(secret.Reveal())
		add(strings.TrimPrefix(secret.Reveal(), "whsec_"))
	}
	for _, value := range p.Headers {
		add(value.Reveal())
		for _, word := range strings.Fields(value.Reveal()) {
			add(word)
		}
	}
	if u, err := url.Parse(p.URL); err == nil {
		add(u.RawQuery)
		for _, values := range u.Query() {
			for _, value := range values {
				add(value)
				add(url.QueryEscape(value))
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
