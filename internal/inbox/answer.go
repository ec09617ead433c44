package inbox

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loa-syndication/loa/events"
)

// problem is an answer other than 202 (RFC 9457).
type problem struct {
	Status int
	Detail string
	// Errors are what is wrong, and Total their number, where that is greater than is listed.
	Errors []events.Fault
	Total  int
	Stored []receipt

	header http.Header
}

func (p *problem) add(f events.Fault) {
	p.Total++
	if len(p.Errors) < events.MaxFaults {
		p.Errors = append(p.Errors, f)
	}
}

// later is a problem that passes.
func later(status, seconds int, detail string) *problem {
	return &problem{Status: status, Detail: detail, header: http.Header{"Retry-After": {strconv.Itoa(max(seconds, 1))}}}
}

func (in *Inbox) refuse(w http.ResponseWriter, r *http.Request, sender string, p *problem) {
	in.events.WithLabelValues("refused").Inc()
	in.o.Log.Info().Str("cms", sender).Int("status", p.Status).Str("reason", p.Detail).Int("faults", len(p.Errors)).Msg("events refused that came over HTTP")
	for name, values := range p.header {
		w.Header()[name] = values
	}
	type fault struct {
		Field    string `json:"field"`
		Value    string `json:"value"`
		Expected string `json:"expected"`
	}
	answer := struct {
		Type   string    `json:"type"`
		Title  string    `json:"title"`
		Status int       `json:"status"`
		Detail string    `json:"detail"`
		Errors []fault   `json:"errors,omitempty"`
		Total  int       `json:"total,omitempty"`
		Stored []receipt `json:"stored,omitempty"`
	}{"about:blank", http.StatusText(p.Status), p.Status, p.Detail, nil, 0, p.Stored}
	for _, f := range p.Errors {
		answer.Errors = append(answer.Errors, fault{f.Path, f.Value, f.Expected})
	}
	if p.Total > len(p.Errors) {
		answer.Total = p.Total
	}
	writeJSON(w, p.Status, "application/problem+json", answer)
}

func writeJSON(w http.ResponseWriter, status int, media string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings and numbers are in it
	}
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// shown is how many characters of a value an answer repeats.
const shown = 80

// short is a value as an answer repeats it.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > shown {
		s = string(r[:shown]) + "…"
	}
	return strconv.Quote(s)
}
