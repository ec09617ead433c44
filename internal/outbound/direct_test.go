package outbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func direct(t *testing.T, o Options) *Direct {
	t.Helper()
	o.Allow = loopback
	d := NewDirect(o)
	t.Cleanup(d.CloseIdleConnections)
	return d
}

// post sends body and gives the answer, whole.
func post(ctx context.Context, d *Direct, url, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := d.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

// script is a server that deals with each connection as its number, from 1, demands. It gives its
// address, and a counter of connections.
func script(t *testing.T, serve func(n int64, c net.Conn, r *bufio.Reader)) (string, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	var under sync.WaitGroup
	under.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			under.Go(func() {
				stop := context.AfterFunc(t.Context(), func() { c.Close() }) // when the test ends
				defer stop()
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); under.Wait() })
	return "http://" + l.Addr().String() + "/", &conns
}

// request reads a whole request, and gives its body.
func request(r *bufio.Reader) (string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(req.Body)
	return string(body), err
}

// answersAll answers every request of a connection alike.
func answersAll(answer string) func(int64, net.Conn, *bufio.Reader) {
	return func(_ int64, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := request(r); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
	}
}

func TestConnectionsAreUsedAgainOnceTheAnswerIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		conns  int64 // for three requests
	}{
		"empty":           {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n", 1},
		"body":            {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1},
		"chunks":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1},
		"hints before it": {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1},
		"1.0, kept":       {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 1},
		"1.0":             {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 3},
		"close":           {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 3},
		"more than asked": {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			url, conns := script(t, answersAll(c.answer))
			d := direct(t, Options{})
			for range 3 {
				if status, _, err := post(t.Context(), d, url, "tin"); err != nil || status > 299 {
					t.Fatalf("%d, %v", status, err)
				}
			}
			if n := conns.Load(); n != c.conns {
				t.Errorf("%d connections for three requests, want %d", n, c.conns)
			}
		})
	}
}

func TestWhatIsNotReadEndsTheConnection(t *testing.T) {
	ended := make(chan error, 1)
	url, conns := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		request(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil { // without end
				ended <- err
				return
			}
		}
	})
	d := direct(t, Options{})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("tin"))
	resp, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-ended
	if n := conns.Load(); n != 1 || d.kept != 0 {
		t.Errorf("%d connections, %d kept; want 1 and none", n, d.kept)
	}
}

// A portal that closes idle connections, or restarts, is sent the request on a new one, once.
func TestAClosedConnectionIsNoFault(t *testing.T) {
	for name, end := range map[string]func(c net.Conn, r *bufio.Reader){
		"closed at once":         func(net.Conn, *bufio.Reader) {},
		"closed when next asked": func(_ net.Conn, r *bufio.Reader) { r.Peek(1) },
		"reset when next asked":  func(c net.Conn, r *bufio.Reader) { r.Peek(1); c.(*net.TCPConn).SetLinger(0) },
		"408 before it closes":   func(c net.Conn, _ *bufio.Reader) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{}, 8)
			var whole atomic.Int64
			url, conns := script(t, func(n int64, c net.Conn, r *bufio.Reader) {
				if _, err := request(r); err != nil {
					return
				}
				whole.Add(1)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
				if n == 1 {
					if name == "closed at once" || name == "408 before it closes" {
						defer func() { left <- struct{}{} }()
						defer c.Close()
					}
					end(c, r)
					return
				}
				request(r)
			})
			d := direct(t, Options{})
			if _, got, err := post(t.Context(), d, url, "một"); got != "1" {
				t.Fatalf("first: %q, %v", got, err)
			}
			if name == "closed at once" || name == "408 before it closes" {
				<-left
			}
			if status, got, err := post(t.Context(), d, url, "hai"); status != 200 || got != "2" {
				t.Fatalf("second: %d %q, %v", status, got, err)
			}
			if conns.Load() != 2 || whole.Load() != 2 {
				t.Errorf("%d connections, %d requests; want 2 and 2", conns.Load(), whole.Load())
			}
		})
	}
}

// Once an answer has begun, or on a new connection, nothing is sent twice.
func TestNothingIsSentTwiceThatMayHaveBeenTaken(t *testing.T) {
	var taken atomic.Int64
	url, _ := script(t, func(n int64, c net.Conn, r *bufio.Reader) {
		for i := 0; ; i++ {
			if _, err := request(r); err != nil {
				return
			}
			taken.Add(1)
			if n > 1 {
				return // without an answer
			}
			if i == 1 {
				io.WriteString(c, "HTTP/1.1 200") // the beginning of one
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	d := direct(t, Options{})
	if _, _, err := post(t.Context(), d, url, "tin"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _, err := post(t.Context(), d, url, "tin")
		if failed := (*StageError)(nil); !errors.As(err, &failed) || failed.Stage != Exchanging || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want an end in the exchange", err)
		}
	}
	if n := taken.Load(); n != 3 {
		t.Errorf("%d requests taken, want 3", n)
	}
}

// Who reads a request on a kept connection and dies may have it, even if no other connection is had.
func TestARequestMayHaveArrivedBeforeTheConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		request(r)
		io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		request(r)
		l.Close()
	}()
	d, url := direct(t, Options{}), "http://"+l.Addr().String()+"/"
	if _, _, err := post(t.Context(), d, url, "một"); err != nil {
		t.Fatal(err)
	}
	_, _, err = post(t.Context(), d, url, "hai")
	if failed := (*StageError)(nil); !errors.As(err, &failed) || failed.Stage != Connecting || !failed.Sent {
		t.Errorf("got %+v, want it sent, and no connection", err)
	}
	_, _, err = post(t.Context(), d, url, "ba")
	if failed := (*StageError)(nil); !errors.As(err, &failed) || failed.Sent {
		t.Errorf("got %+v, want it not sent", err)
	}
}

// A request that is refused before it is read is answered all the same.
func TestALargeRequestMayBeAnsweredEarly(t *testing.T) {
	url, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		<-t.Context().Done() // neither reads nor closes
	})
	status, got, err := post(t.Context(), direct(t, Options{}), url, strings.Repeat("x", 32<<20))
	if status != http.StatusRequestEntityTooLarge || got != "big" {
		t.Errorf("%d %q, %v", status, got, err)
	}
}

func TestALargeRequestArrivesWhole(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	d := direct(t, Options{})
	for _, size := range []int{0, 1, wholeWrite - 200, wholeWrite, 8 << 20} {
		if _, got, err := post(t.Context(), d, url, strings.Repeat("x", size)); got != fmt.Sprint(size, error(nil)) {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
	}
}

// Whoever takes a request may say so before it has read it all, and gets it all.
func TestARequestThatIsTakenEarlyArrivesWhole(t *testing.T) {
	got := make(chan int, 1)
	url, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(10 * time.Millisecond) // until it is known there
		n, _ := io.Copy(io.Discard, req.Body)
		got <- int(n)
	})
	const size = 16 << 20 // more than the buffers of a connection take
	status, _, err := post(t.Context(), direct(t, Options{}), url, strings.Repeat("x", size))
	if n := <-got; status != http.StatusAccepted || err != nil || n != size {
		t.Errorf("%d, %v; %d of %d bytes arrived", status, err, n, size)
	}
}

// The body of an early answer has as much time as any.
func TestTheBodyOfAnEarlyAnswerMayComeLate(t *testing.T) {
	url, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\n")
		time.Sleep(answerAfterFault + 200*time.Millisecond)
		io.WriteString(c, "big")
		<-t.Context().Done()
	})
	status, got, err := post(t.Context(), direct(t, Options{}), url, strings.Repeat("x", 32<<20))
	if status != http.StatusRequestEntityTooLarge || got != "big" || err != nil {
		t.Errorf("%d %q, %v", status, got, err)
	}
}

func TestEveryWaitEndsWithTheContext(t *testing.T) {
	silent := func(_ int64, c net.Conn, r *bufio.Reader) { request(r); io.Copy(io.Discard, r) }
	for name, c := range map[string]struct {
		serve func(int64, net.Conn, *bufio.Reader)
		size  int
	}{
		"before the answer": {silent, 3},
		"within the header": {func(n int64, c net.Conn, r *bufio.Reader) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
			silent(n, c, r)
		}, 3},
		"within the body": {func(n int64, c net.Conn, r *bufio.Reader) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nnửa")
			silent(n, c, r)
		}, 3},
		"within the request": {func(int64, net.Conn, *bufio.Reader) { <-t.Context().Done() }, 32 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			url, _ := script(t, func(n int64, conn net.Conn, r *bufio.Reader) {
				if name == "within the request" {
					<-ended // has not read
					return
				}
				defer close(ended)
				c.serve(n, conn, r)
			})
			d := direct(t, Options{})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _, err := post(ctx, d, url, strings.Repeat("x", c.size))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if name == "within the request" {
				close(ended)
			}
			<-ended // it was told
			if d.kept != 0 {
				t.Error("the connection was kept")
			}
		})
	}
}

func TestHeadersWithoutEndAreCut(t *testing.T) {
	url, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		request(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "X-%d: 1\r\n", i); err != nil {
				return
			}
		}
	})
	if _, _, err := post(t.Context(), direct(t, Options{}), url, "tin"); !errors.Is(err, ErrHeaderTooLarge) {
		t.Errorf("header lines: %v", err)
	}
	url, _ = script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		request(r)
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
	})
	if _, _, err := post(t.Context(), direct(t, Options{}), url, "tin"); err == nil || !strings.Contains(err.Error(), "interim") {
		t.Errorf("interim answers: %v", err)
	}
}

func TestRequestsAreWrittenAsTheyAre(t *testing.T) {
	got := make(chan *http.Request, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		got <- r
	})
	d := direct(t, Options{})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/lo%61?q=ph%C6%B0%E1%BB%9Dng&x=1", strings.NewReader("Thông báo"))
	req.Header = http.Header{"Webhook-Id": {"msg_1"}, "X-Two": {"a", "b"}, "Content-Length": {"99"}, "Transfer-Encoding": {"chunked"}, "Connection": {"upgrade"}, "Idle": nil}
	resp, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	r := <-got
	body, _ := io.ReadAll(r.Body)
	if r.RequestURI != "/lo%61?q=ph%C6%B0%E1%BB%9Dng&x=1" || r.Host != req.URL.Host || string(body) != "Thông báo" || r.ContentLength != int64(len(body)) ||
		r.Header.Get("Webhook-Id") != "msg_1" || strings.Join(r.Header["X-Two"], ",") != "a,b" || len(r.Header) != 3 || len(r.TransferEncoding) > 0 {
		t.Errorf("got %s of %s, %q, %v", r.RequestURI, r.Host, body, r.Header)
	}
	for name, header := range map[string]http.Header{
		"value": {"X-One": {"a\r\nX-Evil: 1"}}, "name": {"X One\r\nX-Evil": {"1"}}, "NUL": {"X-One": {"a\x00"}},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
		req.Header = header
		if _, err := d.RoundTrip(req); err == nil {
			t.Errorf("a header was split by its %s", name)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"query":  func(r *http.Request) { r.URL.RawQuery = "q HTTP/1.1\r\nX-Evil: 1\r\nX: " },
		"method": func(r *http.Request) { r.Method = "POST / HTTP/1.1\r\nX-Evil: 1\r\nX:" },
		"host":   func(r *http.Request) { r.Host = "a\r\nX-Evil: 1" },
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
		change(req)
		if _, err := d.RoundTrip(req); err == nil {
			t.Errorf("a header was split by the %s", name)
		}
	}
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("short"))
	req.ContentLength = 100
	if _, err := d.RoundTrip(req); err == nil {
		t.Error("a body shorter than was said is sent")
	}
}

func TestNamesAreSentInASCII(t *testing.T) {
	req, _ := http.NewRequest(http.MethodPost, "http://phường.example:8080/", strings.NewReader("x"))
	var b bytes.Buffer
	if err := writeRequest(&b, req); err != nil || !strings.Contains(b.String(), "\r\nHost: xn--phng-rib8295b.example:8080\r\n") {
		t.Errorf("%v, %q", err, b.String())
	}
	b.Reset()
	req, _ = http.NewRequest(http.MethodPost, "http://[fe80::1%25eth0]:8080/?a b", nil)
	if err := writeRequest(&b, req); err != nil || !strings.HasPrefix(b.String(), "POST /?a%20b HTTP/1.1\r\nHost: [fe80::1]:8080\r\n") {
		t.Errorf("%v, %q", err, b.String())
	}
	for url, want := range map[string]string{
		"http://phường.example/": "xn--phng-rib8295b.example:80", "https://a.example/": "a.example:443", "http://[::1]/": "[::1]:80", "https://a.example:8443/": "a.example:8443",
	} {
		req, _ := http.NewRequest(http.MethodPost, url, nil)
		if got, err := dialAddress(req); got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
	}
}

func TestTheStageIsTold(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	silent, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	dns := startDNS(t, func(string) answers { return answers{} })
	for name, c := range map[string]struct {
		url   string
		stage Stage
	}{
		"refused":             {"http://" + free.Addr().String() + "/", Connecting},
		"private":             {"http://10.0.0.1/", Connecting},
		"no such name":        {"http://cong.anhoa.test/", Resolving},
		"no TLS":              {strings.Replace(silent, "http:", "https:", 1), Handshaking},
		"no answer over HTTP": {silent, Exchanging},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, _, err := post(ctx, direct(t, Options{Resolver: dns}), c.url, "tin")
		cancel()
		if failed := (*StageError)(nil); !errors.As(err, &failed) || failed.Stage != c.stage || failed.Sent != (c.stage == Exchanging) {
			t.Errorf("%s: %v, want it while to %s", name, err, c.stage)
		}
	}
}

func TestTLSIsSpokenOverHTTP1(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s, %d certificates, %d", r.Proto, len(r.TLS.PeerCertificates), len(body))
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	d := direct(t, Options{HTTPSOnly: true, TLS: &tls.Config{RootCAs: roots, Certificates: srv.TLS.Certificates}})
	for _, size := range []int{5, 5, 1 << 20} {
		if _, got, err := post(t.Context(), d, srv.URL, strings.Repeat("x", size)); got != fmt.Sprintf("HTTP/1.1, 1 certificates, %d", size) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// secured is script over TLS, with the settings of who trusts it.
func secured(t *testing.T, serve func(c *tls.Conn, sent *held, r *bufio.Reader)) (string, *tls.Config, *atomic.Int64) {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	url, conns := script(t, func(_ int64, plain net.Conn, _ *bufio.Reader) {
		sent := &held{Conn: plain}
		c := tls.Server(sent, &tls.Config{Certificates: srv.TLS.Certificates, DynamicRecordSizingDisabled: true})
		serve(c, sent, bufio.NewReader(c))
	})
	return strings.Replace(url, "http:", "https:", 1), &tls.Config{RootCAs: roots}, conns
}

// held is a connection that holds back what is written, when it is to be sent at once.
type held struct {
	net.Conn
	back *bytes.Buffer
}

func (h *held) Write(p []byte) (int, error) {
	if h.back != nil {
		return h.back.Write(p)
	}
	return h.Conn.Write(p)
}

// What TLS has read beyond an answer is not the next one.
func TestASurplusOverTLSIsNoAnswer(t *testing.T) {
	const refused, surplus = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	body := strings.Repeat("x", 4096-len("HTTP/1.1 500 No\r\nContent-Length: 4050\r\n\r\n"))
	for name, records := range map[string][]string{
		"in another record": {refused, surplus},
		"in the same record": {fmt.Sprintf("HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s", len(body), body) + // fills a reader's buffer
			surplus},
	} {
		t.Run(name, func(t *testing.T) {
			url, config, conns := secured(t, func(c *tls.Conn, sent *held, r *bufio.Reader) {
				for {
					if _, err := request(r); err != nil {
						return
					}
					sent.back = &bytes.Buffer{}
					for _, record := range records {
						io.WriteString(c, record)
					}
					all := sent.back.Bytes()
					sent.back = nil
					sent.Write(all)
				}
			})
			d := direct(t, Options{TLS: config})
			for range 3 {
				if status, _, err := post(t.Context(), d, url, "tin"); status != 500 {
					t.Errorf("%d, %v; want the 500", status, err)
				}
			}
			if n := conns.Load(); n != 3 {
				t.Errorf("%d connections for three requests, want 3", n)
			}
		})
	}
}

// A portal that reads nothing more is not said goodbye to, which would have to wait for it.
func TestClosingDoesNotWait(t *testing.T) {
	url, config, _ := secured(t, func(c *tls.Conn, _ *held, _ *bufio.Reader) {
		if c.Handshake() == nil {
			<-t.Context().Done()
		}
	})
	d := direct(t, Options{TLS: config})
	var all sync.WaitGroup
	for i := range 24 { // some of which end with a buffer that is full to the last byte
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, _, err := post(ctx, d, url, strings.Repeat("x", 5<<20+i*123_457))
			if took := time.Since(began); err == nil || took > 4*time.Second {
				t.Errorf("%v after %s", err, took)
			}
		})
	}
	all.Wait()
}

func TestIdleConnectionsAreFewAndEnd(t *testing.T) {
	var open atomic.Int64
	together := make(chan struct{})
	var waiting atomic.Int64
	url, _ := script(t, func(_ int64, c net.Conn, r *bufio.Reader) {
		open.Add(1)
		defer open.Add(-1)
		for {
			if _, err := request(r); err != nil {
				return
			}
			if waiting.Add(1) == 5 {
				close(together)
			}
			<-together
			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	d := direct(t, Options{MaxIdleConns: 3})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, _, err := post(t.Context(), d, url, "tin"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if d.kept != 3 {
		t.Errorf("%d connections kept, want 3", d.kept)
	}
	d.sweep(time.Now().Add(-time.Minute)) // of those kept for longer there is none
	if d.kept != 3 {
		t.Errorf("%d connections kept, want 3", d.kept)
	}
	d.CloseIdleConnections()
	if d.kept != 0 || len(d.idle) != 0 {
		t.Errorf("%d connections of %d hosts kept, want none", d.kept, len(d.idle))
	}
	for deadline := time.Now().Add(10 * time.Second); open.Load() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", open.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// Whatever becomes of others, whoever has an answer has that to his own request.
func TestAnswersAreNotMixedUp(t *testing.T) {
	var served atomic.Int64
	url, _ := script(t, func(n int64, c net.Conn, r *bufio.Reader) {
		for i := range 20 {
			body, err := request(r)
			if err != nil {
				return
			}
			switch served.Add(1) % 7 {
			case 0:
				if i%2 == 0 {
					return // without an answer
				}
				time.Sleep(3 * time.Millisecond) // longer than some wait
			case 1:
				io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
			case 2:
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
				continue
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	d := direct(t, Options{})
	var all sync.WaitGroup
	var right atomic.Int64
	for g := range 16 {
		all.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%40)*time.Millisecond)
				want := strconv.Itoa(g*1000 + i)
				status, got, err := post(ctx, d, url, want)
				cancel()
				if err == nil && (status != 200 || got != want) {
					t.Errorf("request %s was answered %d %s", want, status, got)
				}
				if err == nil {
					right.Add(1)
				}
			}
		})
	}
	all.Wait()
	if right.Load() < 1000 {
		t.Errorf("%d of 3,200 requests were answered", right.Load())
	}
}

// BenchmarkDirect posts 4 KB, beside the transport of net/http.
func BenchmarkDirect(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(srv.Close)
	body := bytes.Repeat([]byte("x"), 4<<10)
	d := NewDirect(Options{Allow: loopback})
	b.Cleanup(d.CloseIdleConnections)
	usual := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(usual.CloseIdleConnections)
	for name, rt := range map[string]http.RoundTripper{"direct": d, "net-http": usual} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL, bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					resp, err := rt.RoundTrip(req)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
}
