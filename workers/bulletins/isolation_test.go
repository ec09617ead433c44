package bulletins_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// misbehave listens where a portal should be, and lets behave do what it will with each
// connection, over and over. The connection is closed when it returns.
func misbehave(t *testing.T, behave func(net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	ended, conns := false, map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			if ended {
				c.Close()
			}
			mu.Unlock()
			all.Go(func() {
				behave(c)
				mu.Lock()
				defer mu.Unlock()
				c.Close()
				delete(conns, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		ended = true
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + l.Addr().String() + "/bulletins"
}

// asked reads a request to its end.
func asked(c net.Conn) {
	if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		io.Copy(io.Discard, r.Body)
	}
}

// repeat writes the text again and again until nobody takes more.
func repeat(c net.Conn, text string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// behaviours are what portals do that cost whoever calls them, unless he is careful.
func behaviours(self string) map[string]func(net.Conn) {
	long := strings.Repeat("x", 8<<10)
	const ok = "HTTP/1.1 200 OK\r\n"
	drip := time.Second
	return map[string]func(net.Conn){
		"reads a byte a second": func(c net.Conn) {
			for {
				if _, err := c.Read(make([]byte, 1)); err != nil {
					return
				}
				time.Sleep(drip)
			}
		},
		"never answers":           func(c net.Conn) { asked(c); io.Copy(io.Discard, c) },
		"drips its status line":   func(c net.Conn) { asked(c); repeat(c, "H", drip) },
		"drips its headers":       func(c net.Conn) { asked(c); io.WriteString(c, ok+"X-A: "); repeat(c, "a", drip) },
		"drips a body that fails": func(c net.Conn) { asked(c); io.WriteString(c, "HTTP/1.1 500 No\r\n\r\n"); repeat(c, "a", drip) },
		"endless headers":         func(c net.Conn) { asked(c); io.WriteString(c, ok); repeat(c, "X-A: "+long+"\r\n", 0) },
		"one endless header":      func(c net.Conn) { asked(c); io.WriteString(c, ok+"X-A: "); repeat(c, long, 0) },
		"endless failure":         func(c net.Conn) { asked(c); io.WriteString(c, "HTTP/1.1 500 No\r\n\r\n"); repeat(c, long, 0) },
		"endless chunks of one": func(c net.Conn) {
			asked(c)
			io.WriteString(c, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
			repeat(c, "1\r\nx\r\n", 0)
		},
		"endless chunk extension": func(c net.Conn) {
			asked(c)
			io.WriteString(c, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n1;")
			repeat(c, long, 0)
		},
		"endless 100 Continue": func(c net.Conn) { asked(c); repeat(c, "HTTP/1.1 100 Continue\r\n\r\n", 0) },
		"endless 103 Early Hints": func(c net.Conn) {
			asked(c)
			repeat(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n", 0)
		},
		"101 Switching Protocols": func(c net.Conn) {
			asked(c)
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			repeat(c, long, 0)
		},
		"garbage":         func(c net.Conn) { asked(c); io.Copy(c, io.LimitReader(rand.Reader, 64<<10)) },
		"endless garbage": func(c net.Conn) { io.Copy(c, rand.Reader) },
		"redirect loop": func(c net.Conn) {
			asked(c)
			fmt.Fprintf(c, "HTTP/1.1 308 Permanent Redirect\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", self)
		},
		"closes at once":            func(net.Conn) {},
		"closes half-way":           func(c net.Conn) { asked(c); io.WriteString(c, "HTTP/1.1 200 O") },
		"closes within its failure": func(c net.Conn) { asked(c); io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nxin") },
		"resets":                    func(c net.Conn) { asked(c); c.(*net.TCPConn).SetLinger(0) },
		"answers before it reads": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		},
		"answers what nobody asked": func(c net.Conn) {
			asked(c)
			io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, c)
		},
		"speaks TLS of its own": func(c net.Conn) { c.Write([]byte{0x16, 3, 3, 0, 2, 2, 40}); io.Copy(io.Discard, c) },
	}
}

// Portals misbehave in every way at once: it costs them alone. The others are as fast as before,
// and nothing is lost of what those are owed.
func TestPortalsThatMisbehaveCostOnlyThemselves(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	s := started(t)
	const well, articles = 5, 20
	var receivers []*receiver.Receiver
	for i := range well {
		receivers = append(receivers, s.receive(t, portal.Portal{Name: fmt.Sprint("well-", i)}, receiver.Options{}))
	}
	arrived := func(n int) time.Duration {
		began := time.Now()
		loatest.Eventually(t, "the portals that are well have everything", func() bool {
			for _, r := range receivers {
				if r.Counts().Kept < n {
					return false
				}
			}
			return true
		})
		return time.Since(began)
	}
	publish := func(round string) {
		for i := range articles {
			s.publish(t, text(fmt.Sprint(round, i), 1))
		}
	}
	publish("a")
	before := arrived(articles) // since the last was published

	elsewhere := misbehave(t, func(net.Conn) { t.Error("a redirect was followed") })
	names := map[string]string{}
	for what, behave := range behaviours(elsewhere) {
		name := "p-" + strings.ToLower(strings.ReplaceAll(what, " ", "-"))
		names[name] = what
		s.portal(t, portal.Portal{Name: name, URL: misbehave(t, behave), Secrets: []portal.Secret{secret}, Timeout: shortTimeout})
	}
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler()) // whose certificate nobody vouches for
	unknown.Config.ErrorLog = log.New(io.Discard, "", 0)
	unknown.StartTLS()
	t.Cleanup(unknown.Close)
	for name, url := range map[string]string{
		"p-unknown-certificate": unknown.URL,
		"p-no-tls":              strings.Replace(misbehave(t, asked), "http:", "https:", 1),
	} {
		names[name] = name
		s.portal(t, portal.Portal{Name: name, URL: url, Secrets: []portal.Secret{secret}, Timeout: shortTimeout})
	}
	publish("b")
	after := arrived(2 * articles)
	t.Logf("%d articles to %d portals: %s, and %s beside %d that misbehave", articles, well, before, after, len(names))
	if most := 5 * time.Second; after > most { // and a time-out of each would be 20 s
		t.Errorf("beside them, %d articles took %s; before, %s", articles, after, before)
	}
	for name, what := range names {
		st := s.down(t, name)
		if st.Reason == "" || len(st.Reason) > 400 {
			t.Errorf("%s: the reason is %q", what, st.Reason)
		}
	}
	if n := s.flags(t); n < uint64(articles*len(names)) || len(s.dead(t)) > 0 {
		t.Errorf("%d flags wait, and dead letters %v; want %d, none", n, s.dead(t), articles*len(names))
	}
}
