package portal

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
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

func (p Portal) document(secret func(Secret) string) document {
	d := document{
		Name: p.Name, Title: p.Title, URL: p.URL, Format: p.Format, Content: p.Content, Digest: p.Digest, Filter: p.Filter,
		Secrets: make([]string, len(p.Secrets)), InFlight: p.InFlight, Rate: p.Rate, Timeout: p.Timeout.String(), Allow: p.Allow, CA: p.CA,
		Paused: p.Paused, Created: p.Created, Changed: p.Changed,
	}
	for i, s := range p.Secrets {
		d.Secrets[i] = secret(s)
	}
	if len(p.Headers) > 0 {
		d.Headers = make(map[string]string, len(p.Headers))
		for name, s := range p.Headers {
			d.Headers[name] = secret(s)
		}
	}
	if p.Certificate != nil {
		d.Certificate, d.Key = p.Certificate.Chain, secret(p.Certificate.Key)
	}
	return d
}

// MarshalJSON shows a portal to people: without its secrets. The stored form is encode's.
func (p Portal) MarshalJSON() ([]byte, error) { return json.Marshal(p.document(Secret.String)) }

// encode gives the form in which the registry stores a portal. This and decode are the only
// places where secrets leave and enter the process.
func encode(p Portal) ([]byte, error) { return json.Marshal(p.document(Secret.Reveal)) }

// decode reads what encode wrote; its errors are [*InvalidError]. It checks all but the sites,
// which may go after the portal was stored.
func decode(name string, data []byte) (Portal, error) {
	var fs faults
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		fs.add("entry", fmt.Sprintf("%d bytes (%v)", len(data), err), "the JSON of a portal")
		return Portal{}, &InvalidError{Portal: name, Faults: fs}
	}
	p := Portal{
		Name: d.Name, Title: d.Title, URL: d.URL, Format: d.Format, Content: d.Content, Digest: d.Digest, Filter: d.Filter,
		InFlight: d.InFlight, Rate: d.Rate, Allow: d.Allow, CA: d.CA,
		Paused: d.Paused, Created: d.Created, Changed: d.Changed,
	}
	var err error
	p.Timeout, err = time.ParseDuration(d.Timeout)
	fs.check(err == nil, "timeout", show(d.Timeout), "a duration such as 15s")
	for _, s := range d.Secrets {
		p.Secrets = append(p.Secrets, Secret(s))
	}
	for header, s := range d.Headers {
		if p.Headers == nil {
			p.Headers = make(map[string]Secret, len(d.Headers))
		}
		p.Headers[header] = Secret(s)
	}
	if d.Certificate != "" || d.Key != "" {
		p.Certificate = &Certificate{Chain: d.Certificate, Key: Secret(d.Key)}
	}
	fs.check(p.Name == name, "name", show(p.Name), "that of its key, "+show(name))
	fs.check(len(p.Secrets) > 0, "secrets", "none", "at least one")
	if len(fs) > 0 {
		return Portal{}, &InvalidError{Portal: name, Faults: fs}
	}
	if err := p.Validate(nil); err != nil {
		return Portal{}, err
	}
	return p.withDefaults(), nil
}
