// Package portal knows the portals that bulletins are pushed to: how each is configured
// ([Portal], kept in a [Registry]), what it wants ([Filter]), how it is doing ([State]) and what
// it holds ([Receipts]).
//
//	bucket portals    config.<name>  ──watched live──▶ Registry ──▶ router: whom does this concern?
//	                  state.<name>   ◀── SetState             └──▶ bulletins: how is it reached?
//	stream RECEIPTS   loa.receipt.<portal>.<site>.<article>   ◀──▶ Receipts
//	stream INTENTS    loa.intent.<writer>                     ◀── what is being sent for the first time
//
// A change of a portal's configuration, by whatever process, reaches every running worker
// within moments.
package portal

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"github.com/loa-syndication/loa/internal/cron"
)

// Portal is the configuration of one downstream site.
type Portal struct {
	// Name is permanent: flags and receipts carry it. 1 to 64 characters out of a-z, 0-9, "-".
	Name  string
	Title string // for people
	// URL is where bulletins are posted.
	URL string
	// Format is the form of what is posted; [FormatBulletin] when "".
	Format string
	// Content is what a bulletin says of an article; [ContentSummary] when "". The other formats
	// are always whole.
	Content string
	Filter  Filter
	// Digest gathers bulletins for set times; nil where each is sent at once.
	Digest *Digest
	// Secrets sign the bulletins, the newest first: shared ones (whsec_), and signing keys (whsk_).
	// There are two of a kind while one replaces the other.
	Secrets []Secret
	// Former are secrets that a rotation replaced, which sign as well for a while.
	Former []Former
	// Retired names the secrets that rotations replaced, by the hex of their SHA-256: a
	// configuration file that still has one of them is behind.
	Retired []string
	// InFlight is how many bulletins are sent at once; 4 when 0.
	InFlight int
	// Rate is the most bulletins a second; unlimited when 0.
	Rate float64
	// Timeout is for one bulletin, from dialling to the end of the answer; 15 s when 0.
	Timeout time.Duration
	// Allow lists addresses that may be dialled although they are private.
	Allow []netip.Prefix
	// Certificate is shown to a portal whose server asks for one; nil for none.
	Certificate *Certificate
	// CA holds the certificates, as PEM, by one of which the portal's own has to be signed;
	// those that the system trusts when "".
	CA string
	// Headers are sent with every bulletin. Their values are often credentials.
	Headers map[string]Secret
	// Paused is set while nothing is to be sent; what is due meanwhile waits.
	Paused *Pause

	Created time.Time
	Changed Change

	// Revision is that of the stored entry; 0 for a portal that is not stored. A write succeeds
	// only over the revision that was read.
	Revision uint64
}

// Formats.
const (
	FormatBulletin = "bulletin" // Loa's own: see the package events
	FormatNinjs    = "ninjs"    // ninjs 3.1 (IPTC)
	FormatAtom     = "atom"     // an Atom entry (RFC 4287), or a tombstone (RFC 6721)
)

// Formats lists all of them, the default first.
func Formats() []string { return []string{FormatBulletin, FormatNinjs, FormatAtom} }

// What a bulletin says of an article.
const (
	ContentSummary = "summary"
	ContentFull    = "full" // with the sanitised body
)

// Contents lists both, the default first.
func Contents() []string { return []string{ContentSummary, ContentFull} }

// Digest says when a portal wants to learn of everything that changed since the last time, in
// one bulletin.
type Digest struct {
	// At are the times: a cron expression of six fields (see the package cron).
	At string `json:"at"`
	// Zone is the time zone of At; Asia/Ho_Chi_Minh when "".
	Zone string `json:"zone"`
	// Most is how many articles one digest holds; 50 when 0. The rest follow in another.
	Most int `json:"most"`
	// Express lets urgent articles, corrections and withdrawals go at once.
	Express bool `json:"express,omitempty"`
}

// Next is the first of the times after t; zero if there is none for years.
func (d Digest) Next(t time.Time) (time.Time, error) {
	s, err := cron.Parse(d.At, d.Zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("times of digests: %w", err)
	}
	return s.Next(t), nil
}

// Certificate is what Loa shows to a server that asks who calls (TLS client certificate).
type Certificate struct {
	Chain string // PEM, Loa's own certificate first
	Key   Secret // PEM
}

// TLS is how Loa speaks to the portal's server; nil where it needs nothing of its own.
func (p Portal) TLS() (*tls.Config, error) {
	if p.Certificate == nil && p.CA == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.Certificate != nil {
		pair, err := p.Certificate.pair()
		if err != nil {
			return nil, fmt.Errorf("client certificate of portal %q: %w", p.Name, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if p.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM([]byte(p.CA)) // it was checked
	}
	return cfg, nil
}

// pair is the certificate as TLS uses it.
func (c Certificate) pair() (tls.Certificate, error) {
	return tls.X509KeyPair([]byte(c.Chain), []byte(c.Key.Reveal()))
}

// Former is a secret that was replaced, and until when it signs beside the new one.
type Former struct {
	Secret Secret
	Until  time.Time
}

// Signing gives the secrets with which bulletins are signed at a time.
func (p Portal) Signing(now time.Time) []Secret {
	all := p.Secrets
	for _, f := range p.Former {
		if now.Before(f.Until) {
			all = append(all[:len(all):len(all)], f.Secret)
		}
	}
	return all
}

// Pause says since when, why and by whom a portal is paused.
type Pause struct {
	By    string    `json:"by"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// Change says who changed something last.
type Change struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

const (
	// inFlightDefault keeps a portal that answers in 100 ms at 40 bulletins a second, which is
	// no burden to a small site.
	inFlightDefault = 4
	// timeoutDefault is what receivers of webhooks commonly have to answer within.
	timeoutDefault = 15 * time.Second
	// DigestZoneDefault is that of Vietnam.
	DigestZoneDefault = "Asia/Ho_Chi_Minh"
	// digestMostDefault is what a person skims through; MaxDigest keeps the bulletin far below
	// [events.MaxBulletinBytes], at 4 KB an article.
	digestMostDefault = 50
	MaxDigest         = 200
	// MaxInFlight bounds what one portal takes of a worker.
	MaxInFlight = 64
	// MaxTimeout bounds how long a portal that hangs holds up a worker.
	MaxTimeout = time.Minute
)

func (p Portal) withDefaults() Portal {
	if p.InFlight == 0 {
		p.InFlight = inFlightDefault
	}
	if p.Timeout == 0 {
		p.Timeout = timeoutDefault
	}
	p.Format = cmp.Or(p.Format, FormatBulletin)
	p.Content = cmp.Or(p.Content, ContentSummary)
	if p.Digest != nil {
		d := *p.Digest // the caller's stays as it is
		d.Zone = cmp.Or(d.Zone, DigestZoneDefault)
		d.Most = cmp.Or(d.Most, digestMostDefault)
		p.Digest = &d
	}
	return p
}

// Interval is the shortest time between two bulletins, by Rate.
func (p Portal) Interval() time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / p.Rate)
}
