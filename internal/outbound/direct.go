package outbound

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxInterim is how many 1xx answers may come before the one that counts; as in net/http.
	maxInterim = 5
	// wholeWrite is in bytes: a request of at most so many is written before its answer is read.
	// What is longer may not fit into the buffers of the connection, and whoever refuses it may
	// answer, and wait, before having read it all: it is written beside the reading.
	wholeWrite = 32 << 10
	// answerAfterFault is how long an answer is waited for after the request could not be written.
	answerAfterFault = 500 * time.Millisecond
	// maxSpare is in bytes: buffers that have grown beyond it are not kept for the next request.
	maxSpare = 64 << 10
)

// Direct is an [http.RoundTripper] for very many small requests, which it makes with HTTP/1.1 in the
// goroutine of the caller. The transport of net/http has two goroutines for each connection and hands
// a request and its answer over between the three, which takes longer than the rest of what it does.
//
// It dials and refuses as a client of [New] does, and bounds the header of an answer alike. It follows
// no redirects. Requests have bodies that are in memory; one that finds a connection closed that was
// kept from an earlier request is sent again on a new one, so that it has to be one that may be
// repeated.
//
// Its errors are of type [*StageError], or [*RefusedError] for addresses that it does not call.
type Direct struct {
	dialer    *net.Dialer
	tls       *tls.Config
	allowHTTP bool
	maxIdle   int
	buffers   sync.Pool // of *bytes.Buffer

	mu       sync.Mutex
	idle     map[string][]*directConn // by scheme and address, the one used last at the end
	kept     int                      // connections in idle
	sweeping bool
}

// NewDirect makes a transport. Of the options, those are not its that bound an exchange's time, the
// redirects followed and the connections to a host: the caller bounds the first by the request's
// context, and the last by what it has under way.
func NewDirect(o Options) *Direct {
	return newDirect(o, newGuard(o.Allow).control)
}

func newDirect(o Options, c control) *Direct {
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.NextProtos = []string{"http/1.1"}
	return &Direct{
		dialer: newDialer(o, c), tls: config, allowHTTP: !o.HTTPSOnly,
		maxIdle: cmp.Or(o.MaxIdleConns, maxIdleDefault), idle: map[string][]*directConn{},
	}
}

// Stage is how far an exchange has come.
type Stage int

// Stages.
const (
	Resolving Stage = iota
	Connecting
	Handshaking
	Exchanging
)

func (s Stage) String() string {
	return [...]string{"resolve", "connect", "handshake", "exchange"}[s]
}

// StageError says what kept an answer from coming, and when.
type StageError struct {
	Stage Stage
	// Sent says that the request may have arrived. It may before the last stage, too: on a connection
	// that was kept, and closed before another was made.
	Sent bool
	Err  error
}

func (e *StageError) Error() string { return e.Stage.String() + ": " + e.Err.Error() }
func (e *StageError) Unwrap() error { return e.Err }

// ErrHeaderTooLarge says that the header of an answer is longer than 64 KiB.
var ErrHeaderTooLarge = errors.New("header of the answer too large")

// RoundTrip makes one exchange. The body of the answer is the caller's to close, and is read within the
// time of the request's context; a connection is used again once its answer was read to the end.
func (d *Direct) RoundTrip(req *http.Request) (*http.Response, error) {
	buffer := d.buffer()
	defer d.spare(buffer)
	err := checkURL(req.URL, d.allowHTTP)
	if err == nil {
		err = writeRequest(buffer, req)
	}
	if req.Body != nil {
		req.Body.Close() // as RoundTripper demands, on errors too
	}
	if err != nil {
		return nil, err
	}
	address, err := dialAddress(req)
	if err != nil {
		return nil, err
	}
	to, sent := req.URL.Scheme+"://"+address, false
	if c := d.take(to); c != nil {
		resp, err := c.exchange(req, buffer.Bytes())
		if !errors.Is(err, errStale) {
			return resp, err
		}
		sent = true
	}
	c, stage, err := d.dial(req.Context(), req.URL.Scheme, address)
	if err != nil {
		return nil, &StageError{stage, sent, orDone(req.Context(), err)}
	}
	c.direct, c.to = d, to
	return c.exchange(req, buffer.Bytes())
}

// CloseIdleConnections closes the connections that are not in use.
func (d *Direct) CloseIdleConnections() { d.sweep(time.Now()) }

func (d *Direct) buffer() *bytes.Buffer {
	if b, ok := d.buffers.Get().(*bytes.Buffer); ok {
		return b
	}
	return &bytes.Buffer{}
}

func (d *Direct) spare(b *bytes.Buffer) {
	if b.Cap() <= maxSpare {
		b.Reset()
		d.buffers.Put(b)
	}
}

// dialAddress is the host and port to dial.
func dialAddress(req *http.Request) (string, error) {
	host, err := httpguts.PunycodeHostPort(req.URL.Host)
	if err != nil {
		return "", &RefusedError{Address: req.URL.Redacted(), Rule: "not a host name"}
	}
	if req.URL.Port() != "" {
		return host, nil
	}
	if req.URL.Scheme == "https" {
		return host + ":443", nil
	}
	return host + ":80", nil
}

// writeRequest writes a request as RFC 9112 has it.
func writeRequest(b *bytes.Buffer, req *http.Request) error {
	host, err := httpguts.PunycodeHostPort(cmp.Or(req.Host, req.URL.Host))
	if err != nil || !httpguts.ValidHostHeader(host) {
		return &RefusedError{Address: req.URL.Redacted(), Rule: "not a host name"}
	}
	line := func(name, value string) {
		b.WriteString(name)
		b.WriteString(": ")
		b.WriteString(value)
		b.WriteString("\r\n")
	}
	method, uri := cmp.Or(req.Method, http.MethodGet), req.URL.RequestURI()
	if !httpguts.ValidHeaderFieldName(method) { // a token, as those are
		return fmt.Errorf("method %q: not a token", method)
	}
	if strings.ContainsFunc(uri, unicode.IsControl) {
		return &RefusedError{Address: req.URL.Redacted(), Rule: "control character in URL"}
	}
	b.WriteString(method)
	b.WriteByte(' ')
	b.WriteString(strings.ReplaceAll(uri, " ", "%20")) // which there may be in a query
	b.WriteString(" HTTP/1.1\r\n")
	if zone := strings.IndexByte(host, '%'); zone >= 0 { // means nothing elsewhere (RFC 6874 §1)
		if end := strings.IndexByte(host, ']'); end > zone {
			host = host[:zone] + host[end:]
		}
	}
	line("Host", host)
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Expect":
			continue // are the transport's to say
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header %q: not a name", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("header %s: its value has control characters", name)
			}
			line(name, value)
		}
	}
	if req.Close {
		line("Connection", "close")
	}
	if req.Body == nil || req.Body == http.NoBody {
		if req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
			line("Content-Length", "0")
		}
		b.WriteString("\r\n")
		return nil
	}
	if req.ContentLength < 0 {
		return errors.New("request body of unknown length")
	}
	line("Content-Length", strconv.FormatInt(req.ContentLength, 10))
	b.WriteString("\r\n")
	n, err := b.ReadFrom(req.Body)
	if err == nil && n != req.ContentLength {
		err = fmt.Errorf("%d bytes where %d were said", n, req.ContentLength)
	}
	if err != nil {
		return fmt.Errorf("read request body: %w", err)
	}
	return nil
}

// dial makes a connection, or says at which stage that failed.
func (d *Direct) dial(ctx context.Context, scheme, address string) (*directConn, Stage, error) {
	stage := Connecting
	plain, err := d.dialer.DialContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { stage = Resolving },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				stage = Connecting
			}
		},
	}), "tcp", address)
	if err != nil {
		return nil, stage, err
	}
	c := &directConn{Conn: plain, tcp: plain}
	if c.raw, err = plain.(*net.TCPConn).SyscallConn(); err == nil && scheme == "https" {
		stage = Handshaking
		c.Conn, err = d.handshake(ctx, plain, address)
	}
	if err != nil {
		plain.Close()
		return nil, stage, err
	}
	c.limit.R = c.Conn
	c.reader = bufio.NewReader(&c.limit)
	return c, Exchanging, nil
}

func (d *Direct) handshake(ctx context.Context, plain net.Conn, address string) (net.Conn, error) {
	config := d.tls
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	secure := tls.Client(plain, config)
	return secure, secure.HandshakeContext(ctx) // whose error is that of ctx, if that ended
}

// orDone is why ctx ended, if it did: what else failed then failed because of that.
func orDone(ctx context.Context, err error) error {
	if done := ctx.Err(); done != nil {
		return done
	}
	return err
}

// take gives a connection that was kept and is as it was left.
func (d *Direct) take(to string) *directConn {
	for {
		d.mu.Lock()
		all := d.idle[to]
		n := len(all)
		if n == 0 {
			d.mu.Unlock()
			return nil
		}
		c := all[n-1]
		all[n-1] = nil
		d.idle[to] = all[:n-1]
		if n == 1 {
			delete(d.idle, to)
		}
		d.kept--
		d.mu.Unlock()
		if c.quiet() {
			return c
		}
		c.Close()
	}
}

// keep takes a connection back.
func (d *Direct) keep(c *directConn) {
	c.kept = time.Now()
	d.mu.Lock()
	full := d.kept >= d.maxIdle
	if !full {
		d.idle[c.to] = append(d.idle[c.to], c)
		d.kept++
		if !d.sweeping {
			d.sweeping = true
			d.sweepLater()
		}
	}
	d.mu.Unlock()
	if full {
		c.Close()
	}
}

func (d *Direct) sweepLater() {
	time.AfterFunc(idleTimeout/2, func() {
		d.sweep(time.Now().Add(-idleTimeout / 2))
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.sweeping = d.kept > 0; d.sweeping {
			d.sweepLater()
		}
	})
}

// sweep closes the connections that have been idle since before then.
func (d *Direct) sweep(then time.Time) {
	var old []*directConn
	d.mu.Lock()
	for to, all := range d.idle {
		n := 0
		for n < len(all) && !all[n].kept.After(then) { // those at the front have been idle for longest
			n++
		}
		old = append(old, all[:n]...)
		if n == len(all) {
			delete(d.idle, to)
		} else if n > 0 {
			d.idle[to] = slices.Clone(all[n:])
		}
	}
	d.kept -= len(old)
	d.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// directConn is a connection, in use or kept.
type directConn struct {
	net.Conn // TLS, over tcp, or the same
	tcp      net.Conn
	raw      syscall.RawConn // of tcp
	direct   *Direct
	to       string
	limit    io.LimitedReader
	reader   *bufio.Reader
	kept     time.Time // since when it has been idle; zero for a new one
	peeked   [1]byte
}

// Close does not say goodbye over TLS first: whoever reads nothing would hold up the caller with it.
func (c *directConn) Close() error { return c.tcp.Close() }

// quiet reports whether a kept connection is neither closed nor has anything to be read: that would be
// taken for the answer to the next request.
func (c *directConn) quiet() bool {
	var err error
	if c.raw.Read(func(fd uintptr) bool {
		_, _, err = syscall.Recvfrom(int(fd), c.peeked[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}) != nil || err != syscall.EAGAIN && err != syscall.EINTR {
		return false
	}
	if c.Conn == c.tcp {
		return true
	}
	// TLS may have read more than it was asked for.
	_ = c.SetReadDeadline(past)
	_, err = c.reader.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded) && c.SetReadDeadline(time.Time{}) == nil
}

// errStale says that a connection was closed that was kept from an earlier request, before any of an
// answer came.
var errStale = errors.New("connection was closed")

// past is a deadline that ends what is under way.
var past = time.Unix(1, 0)

// exchange sends a request, and reads its answer up to the body.
func (c *directConn) exchange(req *http.Request, data []byte) (*http.Response, error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	w := &writing{conn: c}
	w.begin(ctx, data)
	resp, began, err := c.answer(req)
	if err != nil {
		stop()
		c.Close()
		w.end(true)
		if !began && !c.kept.IsZero() && ctx.Err() == nil {
			return nil, errStale
		}
		return nil, &StageError{Exchanging, true, orDone(ctx, err)}
	}
	// Who takes a request may say so before it has read it all.
	whole := w.end(resp.StatusCode > 299)
	body := &directBody{ReadCloser: resp.Body, ctx: ctx, conn: c, stop: stop,
		again: whole && !resp.Close && !req.Close && resp.StatusCode != http.StatusSwitchingProtocols}
	if resp.Body == http.NoBody {
		body.end(true)
		return resp, nil
	}
	resp.Body = body
	return resp, nil
}

// writing is the sending of a request.
type writing struct {
	conn *directConn
	done chan struct{} // closed when it is over; nil if it never was under way beside the reading
	err  error
	cut  atomic.Bool // it is to end, whether all is written or not
}

func (w *writing) begin(ctx context.Context, data []byte) {
	if len(data) <= wholeWrite {
		w.write(ctx, data)
		return
	}
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		w.write(ctx, data)
	}()
}

func (w *writing) write(ctx context.Context, data []byte) {
	_, w.err = w.conn.Write(data)
	if w.err != nil && !w.cut.Load() && ctx.Err() == nil {
		// An answer that is there already may say why.
		_ = w.conn.SetReadDeadline(time.Now().Add(answerAfterFault))
	}
}

// end waits until the request is written, or, with cut, ends that. It reports whether all was.
func (w *writing) end(cut bool) bool {
	if w.done == nil {
		return w.err == nil
	}
	if cut {
		w.cut.Store(true)
		_ = w.conn.SetWriteDeadline(past)
	}
	<-w.done
	return w.err == nil && (!cut || w.conn.SetWriteDeadline(time.Time{}) == nil)
}

// answer reads the header of an answer, and reports whether anything of one came.
func (c *directConn) answer(req *http.Request) (_ *http.Response, began bool, _ error) {
	c.limit.N = maxHeader
	if _, err := c.reader.Peek(1); err != nil {
		return nil, false, err
	}
	for range 1 + maxInterim {
		resp, err := http.ReadResponse(c.reader, req)
		if err != nil {
			if c.limit.N <= 0 {
				err = ErrHeaderTooLarge
			}
			return nil, true, err
		}
		if resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.limit.N = math.MaxInt64 // the body is the caller's to bound
			return resp, true, nil
		}
	}
	return nil, true, fmt.Errorf("more than %d interim answers", maxInterim)
}

// directBody is the body of an answer.
type directBody struct {
	io.ReadCloser
	ctx   context.Context // the request's
	conn  *directConn
	again bool        // the connection can be used again, once the body was read
	stop  func() bool // ends what ctx would do to the connection
	ended bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.end(true)
	} else if err != nil {
		b.end(false)
		err = orDone(b.ctx, err)
	}
	return n, err
}

// Close does not close the body within, which would read the rest of it, however much that is.
func (b *directBody) Close() error {
	b.end(false)
	return nil
}

// end gives the connection back, or closes it unless all of the answer was read.
func (b *directBody) end(read bool) {
	if b.ended {
		return
	}
	b.ended = true
	if b.stop() && read && b.again && b.conn.reader.Buffered() == 0 {
		b.conn.direct.keep(b.conn)
		return
	}
	b.conn.Close()
}
