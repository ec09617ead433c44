package bulletins

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
)

// fault is what kept an answer from coming, named, with what an operator can do about it.
type fault struct {
	what   string
	advice string
	cause  error // nil where what says it all
}

func (f *fault) Error() string {
	if f.cause == nil {
		return f.what
	}
	return f.what + ": " + f.cause.Error()
}

func (f *fault) Unwrap() error { return f.cause }

// transportError puts what kept an answer from coming into words. The order matters: a name that
// is not resolved in time, for one, is a fault of DNS before it is one of time.
func transportError(p portal.Portal, a answer) *fault {
	host := p.URL
	if u, err := url.Parse(p.URL); err == nil {
		host = u.Host
	}
	// said gives the error's own words, without what is secret in them.
	said := func() error { return errors.New(fit(a.err.Error(), p)) }

	var refused *outbound.RefusedError
	if errors.As(a.err, &refused) {
		return &fault{"not called, check its address and its allow list", "a private address has to be in the portal's allow list (--allow)", refused}
	}
	if f := dnsFault(a.err); f != nil {
		return f
	}
	if f := tlsFault(a.err, host); f != nil {
		if f.cause != nil {
			f.cause = errors.New(fit(f.cause.Error(), p))
		}
		return f
	}
	text := a.err.Error()
	switch {
	case errors.Is(a.err, context.DeadlineExceeded) && a.during == outbound.Exchanging:
		return &fault{what: fmt.Sprintf("no answer within %s", p.Timeout),
			advice: "it takes connections but does not answer: look whether the application behind " + host + " hangs"}
	case errors.Is(a.err, context.DeadlineExceeded) && a.during == outbound.Resolving:
		return dnsSilent(host)
	case errors.Is(a.err, context.DeadlineExceeded) && a.during == outbound.Handshaking:
		return tlsSilent(host)
	case errors.Is(a.err, context.DeadlineExceeded), isTimeout(a.err):
		return &fault{what: fmt.Sprintf("no connection within %s", p.Timeout),
			advice: "a firewall may drop what comes to " + host + ", or the machine is off"}
	case errors.Is(a.err, syscall.ECONNREFUSED):
		return &fault{what: "connection refused by " + host, advice: "nothing listens there: is the web server running, is the port right?"}
	case errors.Is(a.err, syscall.EHOSTUNREACH), errors.Is(a.err, syscall.ENETUNREACH):
		return &fault{"no route to " + host, "look at the network between this machine and " + host, said()}
	case errors.Is(a.err, outbound.ErrHeaderTooLarge):
		return &fault{what: "the header of its answer is too large", advice: "an answer needs no more than a status"}
	case strings.Contains(text, "malformed"):
		return &fault{"its answer is not HTTP", "what listens at " + host + " may be no web server", said()}
	case errors.Is(a.err, syscall.ECONNRESET), errors.Is(a.err, syscall.EPIPE):
		return &fault{what: "connection reset by " + host + " before an answer", advice: "a firewall or a proxy before the portal may cut connections"}
	case errors.Is(a.err, io.EOF), errors.Is(a.err, io.ErrUnexpectedEOF):
		return &fault{what: "connection closed by " + host + " before an answer", advice: "the application behind it may have crashed: look into its log"}
	}
	return &fault{what: fit(text, p), advice: "try again; if it stays so, look at the network"}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// dnsFault tells a name that does not exist from a server that does not tell.
func dnsFault(err error) *fault {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return nil
	}
	switch {
	case dns.IsNotFound:
		return &fault{what: fmt.Sprintf("DNS knows no address of %q", dns.Name), advice: "is the name in its address right, and still registered?"}
	case dns.IsTimeout:
		return dnsSilent(dns.Name)
	default:
		return &fault{what: fmt.Sprintf("DNS: could not resolve %q: %s", dns.Name, dns.Err), advice: "the name server that this machine asks is in trouble"}
	}
}

func dnsSilent(name string) *fault {
	return &fault{what: fmt.Sprintf("DNS: no answer about %q", name), advice: "the name server that this machine asks does not answer"}
}

func tlsSilent(host string) *fault {
	return &fault{what: "TLS: " + host + " did not end the handshake", advice: "it takes connections but does not answer: look whether its web server hangs"}
}

// tlsFault tells the ways apart in which TLS fails.
func tlsFault(err error, host string) *fault {
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	text := err.Error()
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f := &fault{what: "TLS: the certificate of " + host + " has expired", advice: "it has to be renewed at the portal"}
		if invalid.Cert != nil {
			if when := invalid.Cert.NotAfter; strings.Contains(invalid.Detail, "before") {
				f.what, f.advice = "TLS: the certificate of "+host+" is not valid yet", "are the clocks right, here and there?"
			} else {
				f.what += ", on " + when.UTC().Format("2006-01-02")
			}
		}
		return f
	case errors.As(err, &name):
		return &fault{what: "TLS: the certificate of " + host + " is for another host name",
			advice: "the address has to have a name that the certificate has, or the portal another certificate", cause: name}
	case errors.As(err, &authority):
		return &fault{what: "TLS: the certificate of " + host + " is signed by an unknown authority",
			advice: "is its chain complete? for an authority of the portal's own, name its certificate as ca"}
	case errors.As(err, &verify):
		return &fault{"TLS: the certificate of " + host + " is not accepted", "it has to be mended at the portal", verify.Err}
	case errors.As(err, &record):
		return &fault{what: "TLS: " + host + " does not speak TLS", advice: "should the address begin with http, or have another port?"}
	case errors.As(err, &op) && op.Op == "remote error":
		if alert := op.Err.Error(); strings.Contains(alert, "certificate") || strings.Contains(alert, "certificate authority") {
			return &fault{"TLS: " + host + " demands a client certificate that it knows", "give the portal its client certificate", op.Err}
		}
		return &fault{"TLS: " + host + " refused the handshake", "it may want a client certificate, another version of TLS, or another name", op.Err}
	case strings.Contains(text, "tls: "):
		return &fault{"TLS: handshake with " + host, "it may want another version of TLS", errors.New(text[strings.Index(text, "tls: "):])}
	}
	return nil
}
