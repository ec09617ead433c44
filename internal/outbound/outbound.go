// Package outbound makes HTTP clients for addresses that others chose: pictures named in
// events, portals, WebSub callbacks.
//
// Whoever chooses an address could make Loa call what only Loa can reach. So a client of this
// package refuses private and special-purpose addresses when it dials, after name resolution
// (a name that changes its address between check and use gains nothing); checks the URL of
// every request, redirects included, by the rules of [CheckURL]; knows no proxies or cookies,
// and takes a request's credentials nowhere that a redirect leads; never decompresses; and
// bounds what it waits for and what it reads.
//
//	client := outbound.New(outbound.Options{MaxRedirects: 3})
//	resp, err := client.Do(req)
//	var refused *outbound.RefusedError
//	if errors.As(err, &refused) { ... }           // trying again will not help
//	body, err := outbound.ReadBody(resp.Body, 32<<20)
package outbound

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	// timeoutDefault is for a whole exchange, redirects and body included.
	timeoutDefault = 30 * time.Second
	// dialTimeout covers name resolution and all addresses of a name.
	dialTimeout = 10 * time.Second
	// tlsTimeout is for one handshake.
	tlsTimeout = 10 * time.Second
	// maxHeader is in bytes; net/http's default of 10 MiB suits no answer that we read.
	maxHeader = 64 << 10
	// maxConnsPerHostDefault spares small sites; callers with limits of their own set more.
	maxConnsPerHostDefault = 8
	// idleTimeout is shorter than the 60 s after which common servers close idle connections,
	// so that a request seldom meets a connection that is being closed.
	idleTimeout = 50 * time.Second
	// maxIdleDefault bounds the idle connections to all hosts together.
	maxIdleDefault = 512
	// pingAfter and pingTimeout find dead HTTP/2 connections, which would otherwise be
	// reused, and time out, again and again.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// Options say what a client may do. The zero value refuses all but public addresses, follows
// no redirect and ends an exchange after 30 s.
type Options struct {
	// Allow lists prefixes that are dialled although they are private or special-purpose: an
	// intranet's portals, loopback in tests. With 64:ff9b::/96 in it (NAT64, RFC 6052), the
	// IPv4 address within is checked instead.
	Allow []netip.Prefix
	// HTTPSOnly refuses http, redirects to it included.
	HTTPSOnly bool
	// HTTP1 speaks HTTP/1.1 alone, as a [Direct] does.
	HTTP1 bool
	// Timeout is for a whole exchange, redirects and body included; 30 s when 0.
	Timeout time.Duration
	// MaxRedirects is how many redirects are followed. With 0 the 3xx answer is returned.
	MaxRedirects int
	// TLS holds client certificates and roots; the system's roots when nil.
	TLS *tls.Config
	// MaxConnsPerHost bounds connections to one host; 8 when 0.
	MaxConnsPerHost int
	// MaxIdleConns bounds the idle connections to all hosts together; 512 when 0.
	MaxIdleConns int
	// Resolver looks names up; the system's when nil. What it answers is checked all the same.
	Resolver *net.Resolver
}

// New makes a client. An address, URL or redirect that it refuses gives a [*RefusedError]
// inside the error of Do; any other error may pass when tried again. The caller bounds the
// body with [ReadBody], and ends the client's use with CloseIdleConnections.
func New(o Options) *http.Client {
	return newClient(o, newGuard(o.Allow).control)
}

// control decides on an address that is about to be dialled; see [net.Dialer.Control].
type control func(network, address string, raw syscall.RawConn) error

func newDialer(o Options, c control) *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Control: c, Resolver: o.Resolver}
}

// newClient makes a client that dials what c lets pass.
func newClient(o Options, c control) *http.Client {
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would dial in our place, unchecked
		DialContext:            newDialer(o, c).DialContext,
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true, // else a few bytes inflate to any number
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        cmp.Or(o.MaxConnsPerHost, maxConnsPerHostDefault),
		MaxIdleConnsPerHost:    cmp.Or(o.MaxConnsPerHost, maxConnsPerHostDefault),
		MaxIdleConns:           cmp.Or(o.MaxIdleConns, maxIdleDefault),
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      !o.HTTP1, // off by default with a dialer of one's own
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return &http.Client{
		Transport:     &checked{Transport: transport, allowHTTP: !o.HTTPSOnly},
		Timeout:       cmp.Or(o.Timeout, timeoutDefault),
		CheckRedirect: followAtMost(o.MaxRedirects),
	}
}

// checked refuses requests by URL before they reach the transport. It sees every hop of a
// redirect. CloseIdleConnections is the transport's.
type checked struct {
	*http.Transport
	allowHTTP bool
}

func (c *checked) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkURL(req.URL, c.allowHTTP); err != nil {
		if req.Body != nil {
			req.Body.Close() // as RoundTripper demands, on errors too
		}
		return nil, err
	}
	return c.Transport.RoundTrip(req)
}

func followAtMost(n int) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if n == 0 {
			return http.ErrUseLastResponse
		}
		if len(via) > n {
			return &RefusedError{Address: req.URL.Redacted(), Rule: fmt.Sprintf("more than %d redirects", n)}
		}
		req.Header.Del("Referer")       // where we came from is nobody's business
		req.Header.Del("Authorization") // a password is for the address that it was given for, not for where that leads
		return nil
	}
}

// nat64 embeds IPv4 addresses in its last four bytes (RFC 6052 §2.1).
var nat64 = ssrf.IPv6NAT64Prefix

// azureHost is public by its number, but answers every machine in Azure with its own secrets.
var azureHost = netip.MustParsePrefix("168.63.129.16/32")

// guard decides on addresses at dial time.
type guard struct {
	ssrf       *ssrf.Guardian
	allowNAT64 bool
}

func newGuard(allow []netip.Prefix) *guard {
	var g guard
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		switch {
		case p == nat64:
			g.allowNAT64 = true
		case p.Addr().Is4():
			v4 = append(v4, p)
		default:
			v6 = append(v6, p)
		}
	}
	g.ssrf = ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(azureHost), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return &g
}

// control is a [net.Dialer.Control]: it is called with each address that is about to be
// connected to.
func (g *guard) control(network, address string, raw syscall.RawConn) error {
	target := address
	if ap, err := netip.ParseAddrPort(address); err == nil && g.allowNAT64 && nat64.Contains(ap.Addr()) {
		b := ap.Addr().As16()
		target = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), ap.Port()).String()
	}
	if err := g.ssrf.Safe(network, target, raw); err != nil {
		return &RefusedError{Address: address, Rule: err.Error()}
	}
	return nil
}

// RefusedError says that an address is not one that Loa calls. Trying again does not help.
type RefusedError struct {
	// Address is a URL without its password, or an IP address with a port.
	Address string
	// Rule is what the address breaks.
	Rule string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("address %q refused: %s", e.Address, e.Rule)
}

// ErrTooLarge is what [ReadBody] returns, wrapped, for a body over its limit.
var ErrTooLarge = errors.New("body too large")

// ReadBody reads all of r, which must be at most limit bytes long.
func ReadBody(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read body after %d bytes: %w", len(data), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return data, nil
}
