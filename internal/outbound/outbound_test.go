package outbound

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// serve starts a server on loopback and counts on nothing else.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func client(t *testing.T, o Options) *http.Client {
	t.Helper()
	c := New(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// overDirect is a client over a transport that follows no redirects.
func overDirect(o Options, d *Direct) *http.Client {
	return &http.Client{Transport: d, Timeout: o.Timeout, CheckRedirect: followAtMost(0)}
}

// both runs a test with a client, and with one over a [Direct].
func both(t *testing.T, o Options, test func(*testing.T, *http.Client)) {
	t.Run("client", func(t *testing.T) { test(t, client(t, o)) })
	t.Run("direct", func(t *testing.T) {
		d := NewDirect(o)
		t.Cleanup(d.CloseIdleConnections)
		test(t, overDirect(o, d))
	})
}

func get(t *testing.T, c *http.Client, url string) ([]byte, int, error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := ReadBody(resp.Body, 1<<20)
	return body, resp.StatusCode, err
}

// asRefused reports whether trying again is known not to help.
func asRefused(err error, refused **RefusedError) bool { return errors.As(err, refused) }

func wantRefused(t *testing.T, err error, rule string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v; want a RefusedError", err)
	}
	if !strings.Contains(refused.Rule, rule) {
		t.Errorf("rule %q; want one that says %q", refused.Rule, rule)
	}
}

func TestPrivateAddressesAreRefusedInEveryForm(t *testing.T) {
	both(t, Options{Timeout: 5 * time.Second}, func(t *testing.T, c *http.Client) {
		for _, host := range []string{
			"127.0.0.1", "127.1", "127.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.0.0.1.", "127.0.0.0x1",
			"0.0.0.0", "0", "localhost", "[::1]", "[::]",
			"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]",
			"[2002:7f00:1::]",                        // 6to4 of 127.0.0.1
			"[2001:0:4136:e378:8000:63bf:80ff:fffe]", // Teredo of 127.0.0.1
			"[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]",
			"169.254.169.254", "100.64.0.1", "100.127.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
			"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
			"127.0.0.1", // full-width digits, which IDNA maps to ASCII
		} {
			t.Run(host, func(t *testing.T) {
				_, _, err := get(t, c, "http://"+host+":8080/")
				wantRefused(t, err, "")
			})
		}
	})
}

func TestPublicAddressesPassTheGuard(t *testing.T) {
	g := newGuard(nil)
	for _, addr := range []string{"8.8.8.8:443", "172.32.0.1:443", "100.128.0.1:443", "[2606:4700::1111]:443"} {
		network := "tcp4"
		if addr[0] == '[' {
			network = "tcp6"
		}
		if err := g.control(network, addr, nil); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestAllowedPrefixPasses(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "chào") })
	body, status, err := get(t, client(t, Options{Allow: loopback}), url)
	if err != nil || status != 200 || string(body) != "chào" {
		t.Fatalf("got %q, %d, %v", body, status, err)
	}
	_, _, err = get(t, client(t, Options{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}), url)
	wantRefused(t, err, "127.0.0.0/8")
}

func TestNAT64IsCheckedByTheAddressWithin(t *testing.T) {
	g := newGuard([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")})
	if err := g.control("tcp6", "[64:ff9b::808:808]:443", nil); err != nil {
		t.Errorf("8.8.8.8 through NAT64: %v", err)
	}
	wantRefused(t, g.control("tcp6", "[64:ff9b::7f00:1]:443", nil), "127.0.0.0/8")
}

func TestRedirectIsReturnedWhenNoneIsAllowed(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	both(t, Options{Allow: loopback}, func(t *testing.T, c *http.Client) {
		_, status, err := get(t, c, url)
		if err != nil || status != http.StatusFound {
			t.Fatalf("got %d, %v; want the 302 itself", status, err)
		}
	})
}

func TestRedirectsAreCheckedHopByHop(t *testing.T) {
	only := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	target := ""
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) })
	c := client(t, Options{Allow: only, MaxRedirects: 3})
	for to, rule := range map[string]string{
		"http://127.0.0.2:8080/":           "127.0.0.0/8",
		"http://169.254.169.254/latest/":   "169.254.0.0/16",
		"http://0x7f.1/":                   "unusual form",
		"http://user:secret@example.test/": "user name or password",
		"http://example.test:25/":          "port 25",
		"gopher://example.test/":           "scheme gopher",
		"file:///etc/passwd":               "scheme file",
	} {
		target = to
		_, _, err := get(t, c, url)
		wantRefused(t, err, rule)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("password in error: %v", err)
		}
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	var hops int
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		if n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/%d", n-1), http.StatusFound)
			return
		}
		hops++
		if r.Header.Get("Referer") != "" {
			t.Error("Referer sent")
		}
	})
	c := client(t, Options{Allow: loopback, MaxRedirects: 3})
	if _, status, err := get(t, c, url+"/3"); err != nil || status != 200 || hops != 1 {
		t.Fatalf("three redirects: %d, %v", status, err)
	}
	_, _, err := get(t, c, url+"/4")
	wantRefused(t, err, "more than 3 redirects")
}

func TestHTTPSOnlyClientRefusesHTTP(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	both(t, Options{Allow: loopback, HTTPSOnly: true}, func(t *testing.T, c *http.Client) {
		_, _, err := get(t, c, url)
		wantRefused(t, err, "https required")
	})
}

func TestProxiesFromTheEnvironmentAreIgnored(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("proxy was called") })
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("http_proxy", proxy)
	both(t, Options{Allow: loopback, Timeout: 5 * time.Second}, func(t *testing.T, c *http.Client) {
		_, _, err := get(t, c, "http://10.255.255.1:8080/")
		wantRefused(t, err, "10.0.0.0/8")
	})
}

func TestCookiesAreNotKept(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Error("cookie sent back")
		}
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "1"})
	})
	both(t, Options{Allow: loopback}, func(t *testing.T, c *http.Client) {
		for range 2 {
			if _, _, err := get(t, c, url); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestSlowDripEndsAtTheDeadline(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := w.Write([]byte{'x'}); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	both(t, Options{Allow: loopback, Timeout: 200 * time.Millisecond}, func(t *testing.T, c *http.Client) {
		start := time.Now()
		body, _, err := get(t, c, url)
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("got %d bytes, %v; want a time-out", len(body), err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("ended after %v", took)
		}
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			t.Error("a time-out passes for a refusal")
		}
	})
}

func TestEndlessBodyIsCut(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	both(t, Options{Allow: loopback}, func(t *testing.T, c *http.Client) {
		if _, _, err := get(t, c, url); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("got %v; want ErrTooLarge", err)
		}
	})
}

func TestCompressedBodyStaysCompressed(t *testing.T) {
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	io.Copy(zw, io.LimitReader(zeros{}, 64<<20))
	zw.Close()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("compression asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	both(t, Options{Allow: loopback}, func(t *testing.T, c *http.Client) {
		body, _, err := get(t, c, url)
		if err != nil || len(body) != bomb.Len() {
			t.Fatalf("read %d bytes, %v; want the %d that were sent", len(body), err, bomb.Len())
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLargeHeaderIsRefused(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) })
	both(t, Options{Allow: loopback}, func(t *testing.T, c *http.Client) {
		if _, _, err := get(t, c, url); err == nil {
			t.Fatal("a header of 1 MiB was read")
		}
	})
}

func TestReadBodyTakesExactlyTheLimit(t *testing.T) {
	if b, err := ReadBody(strings.NewReader("12345"), 5); err != nil || len(b) != 5 {
		t.Errorf("at the limit: %q, %v", b, err)
	}
	if _, err := ReadBody(strings.NewReader("123456"), 5); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
}

func TestClientCertificatesRootsAndHTTP2AreUsed(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s with %d certificates", r.Proto, len(r.TLS.PeerCertificates))
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake below
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	own := &tls.Config{RootCAs: roots, Certificates: srv.TLS.Certificates}
	body, _, err := get(t, client(t, Options{Allow: loopback, HTTPSOnly: true, TLS: own}), srv.URL)
	if err != nil || string(body) != "HTTP/2.0 with 1 certificates" {
		t.Errorf("got %q, %v", body, err)
	}
	body, _, err = get(t, client(t, Options{Allow: loopback, HTTP1: true, TLS: own}), srv.URL)
	if err != nil || string(body) != "HTTP/1.1 with 1 certificates" {
		t.Errorf("got %q, %v", body, err)
	}
	if _, _, err := get(t, client(t, Options{Allow: loopback}), srv.URL); err == nil {
		t.Error("a certificate of an unknown root passes")
	}
}
