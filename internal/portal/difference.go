package portal

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/loa-syndication/loa/internal/secret"
)

// Difference is one field in which two configurations of a portal differ.
type Difference struct {
	Field string `json:"field"` // as in configuration files, such as "filter.sites"
	// From and To are the values, fit to print; both empty where they are secret.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String gives "filter.urgency: 5 → 3".
func (d Difference) String() string {
	if d.From == "" && d.To == "" {
		return d.Field + ": " + secret.Hidden + " changed"
	}
	return fmt.Sprintf("%s: %s → %s", d.Field, orNone(d.From), orNone(d.To))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// maxDifference is the length in characters to which a value is cut.
const maxDifference = 200

// Differences are the fields in which b differs from a, in alphabetical order. Who changed what
// and when is none, and of a pause only its beginning and its end.
func Differences(a, b Portal) []Difference {
	from, to := a.fields(), b.fields()
	all := maps.Clone(from)
	maps.Copy(all, to)
	var out []Difference
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if from[field] == to[field] {
			continue
		}
		d := Difference{Field: field}
		if !isSecret(field) {
			d.From, d.To = shownValue(field, from[field]), shownValue(field, to[field])
		}
		out = append(out, d)
	}
	return out
}

// isSecret tells the fields whose values nobody is to see; those of certificates nobody wants to.
func isSecret(field string) bool {
	name, _, _ := strings.Cut(field, ".")
	return slices.Contains([]string{"secrets", "former_secrets", "retired_secrets", "headers", "certificate", "certificate_key", "ca"}, name)
}

func shownValue(field, value string) string {
	if field == "url" && value != "" {
		value = strings.Trim(showURL(value), `"`)
	}
	if utf8.RuneCountInString(value) > maxDifference {
		value = string([]rune(value)[:maxDifference]) + "…"
	}
	return value
}

// fields are the settings of a portal by their path; those that have no value are missing.
func (p Portal) fields() map[string]string {
	out := map[string]string{}
	d := p.document(revealed)
	if p.Name == "" { // there is none
		return out
	}
	data, err := json.Marshal(d)
	var tree map[string]any
	if err != nil || json.Unmarshal(data, &tree) != nil {
		return out // cannot be: it is how portals are stored
	}
	for _, field := range []string{"name", "created", "changed"} {
		delete(tree, field)
	}
	if p.Paused != nil {
		tree["paused"] = p.Paused.Why
	}
	flatten("", tree, out)
	return out
}

func flatten(path string, v any, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if path != "" {
				name = path + "." + name
			}
			flatten(name, value, out)
		}
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprint(w)
		}
		if len(words) > 0 {
			out[path] = strings.Join(words, ", ")
		}
	case nil:
	default:
		if s := fmt.Sprint(v); s != "" {
			out[path] = s
		}
	}
}
