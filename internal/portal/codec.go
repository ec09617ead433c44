package portal

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/loa-syndication/loa/internal/secret"
)

// document is a portal as JSON.
type document struct {
	Name     string         `json:"name"`
	Title    string         `json:"title,omitempty"`
	URL      string         `json:"url"`
	Format   string         `json:"format"`
	Content  string         `json:"content"`
	Digest   *Digest        `json:"digest,omitempty"`
	Filter   Filter         `json:"filter"`
	Secrets  []string       `json:"secrets"`
	Former   []former       `json:"former_secrets,omitempty"`
	Retired  []string       `json:"retired_secrets,omitempty"` // hashes
	InFlight int            `json:"in_flight"`
	Rate     float64        `json:"rate,omitempty"`
	Timeout  string         `json:"timeout"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	// Certificate and its key are PEM, and so is CA.
	Certificate string            `json:"certificate,omitempty"`
	Key         string            `json:"certificate_key,omitempty"`
	CA          string            `json:"ca,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Paused      *Pause            `json:"paused,omitempty"`
	Created     time.Time         `json:"created"`
	Changed     Change            `json:"changed"`
}

type former struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

// document is the portal with its secrets as secret writes those of a field.
func (p Portal) document(secret func(s Secret, field string) string) document {
	d := document{
		Name: p.Name, Title: p.Title, URL: p.URL, Format: p.Format, Content: p.Content, Digest: p.Digest, Filter: p.Filter,
		Secrets: make([]string, len(p.Secrets)), InFlight: p.InFlight, Rate: p.Rate, Timeout: p.Timeout.String(), Allow: p.Allow, CA: p.CA,
		Paused: p.Paused, Created: p.Created, Changed: p.Changed,
	}
	for i, s := range p.Secrets {
		d.Secrets[i] = secret(s, fieldSecrets)
	}
	for _, f := range p.Former {
		d.Former = append(d.Former, former{secret(f.Secret, fieldSecrets), f.Until})
	}
	d.Retired = p.Retired
	if len(p.Headers) > 0 {
		d.Headers = make(map[string]string, len(p.Headers))
		for name, s := range p.Headers {
			d.Headers[name] = secret(s, fieldHeaders+name)
		}
	}
	if p.Certificate != nil {
		d.Certificate, d.Key = p.Certificate.Chain, secret(p.Certificate.Key, fieldKey)
	}
	return d
}

// The fields that hold secrets, as they are sealed.
const (
	fieldSecrets = "secrets"
	fieldHeaders = "headers."
	fieldKey     = "certificate_key"
)

func hidden(s Secret, _ string) string   { return s.String() }
func revealed(s Secret, _ string) string { return s.Reveal() }

// MarshalJSON shows a portal to people: without its secrets. The stored form is codec's.
func (p Portal) MarshalJSON() ([]byte, error) { return json.Marshal(p.document(hidden)) }

// codec writes and reads the form in which the registry stores portals. It is the only place where
// secrets leave and enter the process: sealed, if it has keys.
type codec struct{ keys *secret.Keyring }

// place is what a secret is sealed for.
func place(portal, field string) string { return "portal/" + portal + "/" + field }

func (c codec) encode(p Portal) ([]byte, error) {
	if c.keys == nil {
		return json.Marshal(p.document(revealed))
	}
	return json.Marshal(p.document(func(s Secret, field string) string { return c.keys.Seal(s, place(p.Name, field)) }))
}

// opened collects what is found while a portal's secrets are opened.
type opened struct {
	codec
	portal string
	faults *faults
	stale  bool // some are in clear, or sealed with a former key
}

func (o *opened) open(stored, field string) Secret {
	if o.keys == nil {
		o.faults.check(!secret.IsSealed(stored), field, "a sealed secret", "the key that opens it, which is not configured")
		return Secret(stored)
	}
	s, current, err := o.keys.Open(stored, place(o.portal, field))
	if err != nil {
		o.faults.add(field, "a secret that cannot be opened ("+err.Error()+")", "one that was sealed with a key of this Loa")
	}
	o.stale = o.stale || !current
	return s
}

// decode reads what encode wrote; its errors are [*InvalidError]. It checks all but the sites,
// which may go after the portal was stored. stale says that it has to be encoded anew.
func (c codec) decode(name string, data []byte) (p Portal, stale bool, err error) {
	var fs faults
	o := opened{codec: c, portal: name, faults: &fs}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		fs.add("entry", fmt.Sprintf("%d bytes (%v)", len(data), err), "the JSON of a portal")
		return Portal{}, false, &InvalidError{Portal: name, Faults: fs}
	}
	p = Portal{
		Name: d.Name, Title: d.Title, URL: d.URL, Format: d.Format, Content: d.Content, Digest: d.Digest, Filter: d.Filter,
		InFlight: d.InFlight, Rate: d.Rate, Allow: d.Allow, CA: d.CA,
		Paused: d.Paused, Created: d.Created, Changed: d.Changed,
	}
	p.Timeout, err = time.ParseDuration(d.Timeout)
	fs.check(err == nil, "timeout", show(d.Timeout), "a duration such as 15s")
	for _, s := range d.Secrets {
		p.Secrets = append(p.Secrets, o.open(s, fieldSecrets))
	}
	for _, f := range d.Former {
		p.Former = append(p.Former, Former{o.open(f.Secret, fieldSecrets), f.Until})
	}
	p.Retired = d.Retired
	for header, s := range d.Headers {
		if p.Headers == nil {
			p.Headers = make(map[string]Secret, len(d.Headers))
		}
		p.Headers[header] = o.open(s, fieldHeaders+header)
	}
	if d.Certificate != "" || d.Key != "" {
		p.Certificate = &Certificate{Chain: d.Certificate, Key: o.open(d.Key, fieldKey)}
	}
	fs.check(p.Name == name, "name", show(p.Name), "that of its key, "+show(name))
	fs.check(len(p.Secrets) > 0, "secrets", "none", "at least one")
	if len(fs) > 0 {
		return Portal{}, false, &InvalidError{Portal: name, Faults: fs}
	}
	if err := p.Validate(nil); err != nil {
		return Portal{}, false, err
	}
	return p.withDefaults(), o.stale && c.keys != nil, nil
}
