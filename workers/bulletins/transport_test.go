package bulletins

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
)

// Every way in which no answer comes is caused by a server that does it, and named.
func TestTransportFaultsAreNamed(t *testing.T) {
	ca, caKey := loatest.Certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "An Hòa CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	issued := func(change func(*x509.Certificate)) tls.Certificate {
		wanted := &x509.Certificate{Subject: pkix.Name{CommonName: "portal"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		change(wanted)
		c, key := loatest.Certificate(t, wanted, ca, caKey)
		return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
	}
	good := issued(func(*x509.Certificate) {})
	secure := func(config *tls.Config) string {
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = config
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)

	for name, c := range map[string]struct{ url, want string }{
		"refused": {"http://" + loatest.Address(t) + "/loa", "connection refused by 127.0.0.1"},
		"reset": {raw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			_ = c.(*net.TCPConn).SetLinger(0)
		}), "connection reset by 127.0.0.1"},
		"closed before an answer": {raw(t, func(c net.Conn) { readRequest(c) }), "connection closed by 127.0.0.1"},
		"closed within the header": {raw(t, func(c net.Conn) {
			readRequest(c)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
		}), "connection closed by 127.0.0.1"},
		"not HTTP": {raw(t, func(c net.Conn) {
			readRequest(c)
			fmt.Fprint(c, "220 mail.anhoa.example ESMTP\r\n")
		}), "its answer is not HTTP"},
		"header not HTTP": {raw(t, func(c net.Conn) {
			readRequest(c)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nkhông có dấu hai chấm\r\n\r\n")
		}), "its answer is not HTTP"},
		"header too large": {raw(t, func(c net.Conn) {
			readRequest(c)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Dai: %s\r\n\r\n", strings.Repeat("a", 1<<20))
		}), "header of its answer is too large"},
		"hangs": {raw(t, func(c net.Conn) {
			readRequest(c)
			_, _ = c.Read(make([]byte, 1)) // until the caller gives up
		}), "no answer within 1s"},
		"hangs in the handshake": {strings.Replace(raw(t, func(c net.Conn) {
			for b := make([]byte, 1024); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}), "http:", "https:", 1), "did not end the handshake"},
		"no TLS":                {strings.Replace(plain.URL, "http:", "https:", 1), "does not speak TLS"},
		"unknown authority":     {secure(nil), "signed by an unknown authority"},
		"expired":               {secure(&tls.Config{Certificates: []tls.Certificate{issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })}}), "has expired, on 2"},
		"not valid yet":         {secure(&tls.Config{Certificates: []tls.Certificate{issued(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })}}), "is not valid yet"},
		"another host name":     {secure(&tls.Config{Certificates: []tls.Certificate{issued(func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{"bao.example"} })}}), "is for another host name"},
		"client certificate":    {secure(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}), "demands a client certificate"},
		"client certificate 12": {secure(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}), "refused the handshake"},
		"old TLS":               {secure(&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS10}), "TLS: "},
		"private address":       {"http://10.0.0.1/loa", "check its address and its allow list"},
		"wrong answer":          {secure(&tls.Config{Certificates: []tls.Certificate{good}}), "answered 404"},
	} {
		if r := pushTo(t, c.url, roots); r.err == nil || !strings.Contains(r.err.Error(), c.want) || r.outcome != outcomeDown {
			t.Errorf("%s: %v, want %q", name, r.err, c.want)
		}
	}
}

// A name that does not exist is told from a name server that does not answer, or cannot.
func TestFaultsOfDNSAreNamed(t *testing.T) {
	server := nameServer(t)
	var asked atomic.Bool
	asked.Store(true)
	t.Cleanup(func() { asked.Store(false) })
	// It is not put back: lookups that were given up may still use it.
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if asked.Load() {
			network, address = "udp", server
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	for name, want := range map[string]string{
		"unknown.loa.test": `DNS knows no address of "unknown.loa.test"`,
		"trouble.loa.test": `DNS: could not resolve "trouble.loa.test"`,
		"silent.loa.test":  `DNS: no answer about "silent.loa.test`,
	} {
		if r := pushTo(t, "http://"+name+":8080/loa", nil); r.err == nil || !strings.Contains(r.err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, r.err, want)
		}
	}
}

// nameServer answers by the first letters of the name.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			switch name := m.Questions[0].Name.String(); {
			case strings.HasPrefix(name, "silent"):
				continue
			case strings.HasPrefix(name, "trouble"):
				m.RCode = dnsmessage.RCodeServerFailure
			default:
				m.RCode = dnsmessage.RCodeNameError
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if packed, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// pushTo pushes to an address as a worker does, with these authorities alone.
func pushTo(t *testing.T, to string, roots *x509.CertPool) result {
	t.Helper()
	address, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := portal.Portal{Name: "east", URL: to, Timeout: time.Second, Secrets: []portal.Secret{portal.Secret(events.NewSecret())}}
	w := &Worker{clients: newClients()}
	w.clients.using[p.Name] = use{0, &client{http: outbound.NewDirect(outbound.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: &tls.Config{RootCAs: roots}})}, address}
	defer w.clients.using[p.Name].client.http.CloseIdleConnections()
	return classify(p, w.push(t.Context(), p, "msg_1", []byte("{}"), events.JSONType))
}

// raw is a server that takes one connection after the other and deals with it so.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/loa"
}

func readRequest(c net.Conn) {
	var got strings.Builder
	for b := make([]byte, 1024); !strings.HasSuffix(got.String(), "{}"); {
		n, err := c.Read(b)
		got.Write(b[:n])
		if err != nil {
			return
		}
	}
}
