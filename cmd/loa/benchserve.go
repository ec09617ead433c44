package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
)

type benchServeCmd struct {
	benchFlags
	size    *serveSize // tests set it
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// Help is shown by loa bench serve --help.
func (*benchServeCmd) Help() string {
	return benchHelp + `

A feed of 60 KB is asked for over 64 connections that are kept alive. The servers are
another process; the floor is a handler in it, with the same limits of time, that writes
the same bytes and headers from memory. Where nginx is installed, it serves the same
bytes from files, with a worker for each processor, and is reported beside the gateway.
Publishing is timed in a loa serve with all roles: from the answer to the publisher until
an HTTP reader sees the feed with the article; the floor renders that feed and stores its
objects. For 1,000 articles at once, all events are in the inbox at the start; the floor
is the intake alone.`
}

// serveSize is how much is measured.
type serveSize struct {
	rounds int // of each request, short ones: what else the machine does concerns all servers alike
	single int // articles, one at a time
	burst  int // articles at once
	bursts int
	sites  int  // with two feeds each
	alone  bool // no nginx
}

var (
	serveFull  = serveSize{rounds: 100, single: 60, burst: 1000, bursts: 3, sites: 20}
	serveShort = serveSize{rounds: 20, single: 8, burst: 1000, bursts: 1, sites: 20}
)

const (
	// serveConns is how many connections ask at once.
	serveConns = 64
	// serveFor is how long each server is asked in a round.
	serveFor = 40 * time.Millisecond
)

func (c *benchServeCmd) Run(e *env) error {
	size, command := serveFull, selfCommand
	if c.Short {
		size = serveShort
	}
	if c.size != nil {
		size = *c.size
	}
	if c.command != nil {
		command = c.command
	}
	return c.run(e, func(b *bench) error {
		sb := &serveBench{bench: b, size: size, command: command}
		for _, measure := range []func() error{sb.requests, sb.published, sb.atOnce} {
			if err := measure(); err != nil {
				return err
			}
		}
		return nil
	})
}

type serveBench struct {
	*bench
	size    serveSize
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// requests measures how many requests a second the gateway answers.
func (sb *serveBench) requests() error {
	cmd, err := sb.command(sb.ctx, "bench", "origin")
	if err != nil {
		return err
	}
	var where originAddresses
	servers, err := startBenchProcess(sb.ctx, cmd, "the servers", &where)
	if err != nil {
		return err
	}
	defer servers.close()
	var other *nginxProcess
	if !sb.size.alone {
		if other, err = sb.nginx(where.Requests); err != nil {
			return err
		}
		defer other.close()
	}
	for _, r := range where.Requests {
		at := []string{r.Bare, where.Gateway}
		if other != nil {
			at = append(at, other.addr)
		}
		rates, ratios, err := sb.rates(at, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		sb.say("%s: %.0f requests/s, bare %.0f/s", r.Name, median(rates[1]), median(rates[0]))
		// The ratio is of the rounds, each of which has both under the same conditions.
		floor := median(rates[1]) / median(ratios)
		err = sb.report(figure{Figure: "feed, " + r.Name, Value: median(rates[1]), Unit: "requests/s"}.over(floor).noLessThan(0.95))
		if err == nil && other != nil {
			err = sb.report(figure{Figure: "feed, " + r.Name + ", beside nginx", Value: median(rates[1]), Unit: "requests/s"}.over(median(rates[2])))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rates asks each of the servers in turn, and gives the answers a second of each in each round,
// and how many the second gives for one of the first in that round.
func (sb *serveBench) rates(at []string, r originRequest) (rates [][]float64, ratios []float64, err error) {
	conns := make([][]*originConn, len(at))
	defer func() {
		for _, c := range slices.Concat(conns...) {
			c.close()
		}
	}()
	for i, addr := range at {
		for range serveConns {
			c, err := dialOrigin(sb.ctx, addr)
			if err != nil {
				return nil, nil, err
			}
			conns[i] = append(conns[i], c)
		}
		if _, err := load(sb.ctx, conns[i], r.Head, r.Status, serveFor); err != nil { // until all is warm
			return nil, nil, err
		}
	}
	rates = make([][]float64, len(at))
	for round := range sb.size.rounds {
		for turn := range at {
			i := (turn + round) % len(at) // none is always the first
			rate, err := load(sb.ctx, conns[i], r.Head, r.Status, serveFor)
			if err != nil {
				return nil, nil, err
			}
			rates[i] = append(rates[i], rate)
		}
		ratios = append(ratios, rates[1][round]/rates[0][round])
	}
	return rates, ratios, nil
}

// load asks over all connections for as long as it says, and gives the answers a second.
func load(ctx context.Context, conns []*originConn, head string, status int, d time.Duration) (float64, error) {
	var answers atomic.Int64
	began := time.Now()
	end := began.Add(d)
	err := atOnce(ctx, len(conns), len(conns), func(ctx context.Context, i int) error {
		n := int64(0)
		for time.Now().Before(end) && ctx.Err() == nil {
			got, err := conns[i].ask(head)
			if err != nil {
				return err
			}
			if got != status {
				return fmt.Errorf("%s answered %d, expected %d", conns[i].RemoteAddr(), got, status)
			}
			n++
		}
		answers.Add(n)
		return nil
	})
	return float64(answers.Load()) / time.Since(began).Seconds(), err
}

// originConn is a connection to a server, over which it is asked with as little as possible.
type originConn struct {
	net.Conn
	in *bufio.Reader
}

func dialOrigin(ctx context.Context, addr string) (*originConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &originConn{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (c *originConn) close() { c.Conn.Close() }

// read sends a request and reads the answer as any client does.
func (c *originConn) read(head string) (*http.Response, []byte, error) {
	if _, err := io.WriteString(c, head); err != nil {
		return nil, nil, err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// ask sends a request and passes over the answer, of which it gives the status.
func (c *originConn) ask(head string) (status int, err error) {
	if _, err := io.WriteString(c, head); err != nil {
		return 0, err
	}
	length := 0
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		switch {
		case first:
			if len(line) < len("HTTP/1.1 200") {
				return 0, fmt.Errorf("answer begins with %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) <= 2:
			if status == http.StatusNotModified {
				return status, nil
			}
			_, err = c.in.Discard(length)
			return status, err
		case len(line) > 16 && strings.EqualFold(string(line[:15]), "content-length:"):
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[15:]))); err != nil {
				return 0, err
			}
		}
	}
}

// nginxProcess is an nginx that serves the feed from files.
type nginxProcess struct {
	cmd  *exec.Cmd
	addr string
}

func (p *nginxProcess) close() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait() // it was told to end
}

// nginx starts one on the bytes of the answers; nil where there is none.
func (sb *serveBench) nginx(requests []originRequest) (*nginxProcess, error) {
	program, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(sb.dir, "nginx")
	// A free port, which nobody takes in the moment before nginx does.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &nginxProcess{addr: ln.Addr().String()}
	ln.Close()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(originFeed)), 0o755); err != nil {
		return nil, err
	}
	// It has one tag for a file, and takes gzip_static for what the gateway sends in Brotli.
	config := fmt.Sprintf(nginxConfig, dir, dir, p.addr, dir, requests[0].Headers.Get("Etag"), requests[1].Headers.Get("Etag"))
	for path, data := range map[string][]byte{
		"nginx.conf": []byte(config), originFeed: requests[0].Body, originFeed + ".gz": requests[1].Body,
	} {
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o644); err != nil {
			return nil, err
		}
	}
	p.cmd = exec.CommandContext(sb.ctx, program, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir, "-e", filepath.Join(dir, "error.log"))
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	for range 500 {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
			return p, nil
		}
		if err := sleep(sb.ctx, levelEvery); err != nil {
			break
		}
	}
	p.close()
	return nil, fmt.Errorf("nginx does not answer on %s", p.addr)
}

const nginxConfig = `user root; # whose the files are, if it is started by root
daemon off;
worker_processes auto;
pid %s/nginx.pid;
events { worker_connections 512; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	open_file_cache max=10;
	keepalive_requests 1000000000;
	client_body_temp_path %s;
	server {
		listen %s;
		root %s;
		etag off;
		location / {
			default_type "application/rss+xml; charset=utf-8";
			gzip_static on;
			add_header Cache-Control "public, max-age=60, stale-while-revalidate=300";
			add_header Link '<https://xa-0.example/feeds/xa-0/feed.rss>; rel="self", <https://hub.example/>; rel="hub"';
			add_header Content-Security-Policy "default-src 'none'; sandbox";
			add_header X-Content-Type-Options nosniff;
			add_header Vary Accept-Encoding;
			if ($http_if_none_match = '%s') { return 304; }
			if ($http_if_none_match = '%s') { return 304; }
		}
	}
}
`

// loggedAll is what intake makes of snapshots without pictures.
func loggedAll(all []events.Article) []*article.Article {
	var made []*article.Article
	for _, a := range all {
		made = append(made, logged(a))
	}
	return made
}
