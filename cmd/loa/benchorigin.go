package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/objects"
)

// benchOriginCmd is the servers of loa bench serve, in a process of their own: a gateway over a real
// object store, and for each of the requests a server that does nothing but write, from memory,
// what the gateway answered.
//
// It prints an [originAddresses], and ends with its input.
type benchOriginCmd struct{}

// originAddresses say where the servers are, and what to ask of them.
type originAddresses struct {
	Gateway  string // host:port
	Requests []originRequest
}

type originRequest struct {
	Name    string // "plain, 200"
	Head    string // of the request, for whatever server
	Bare    string // host:port of who writes the same answer
	Status  int
	Body    []byte
	Headers http.Header // of the answer
}

// originFeed is the feed that is asked for.
const originFeed = "/feeds/xa-0/feed.rss"

// feedBytes is the size of the feed, about.
const feedBytes = 60 << 10

func (*benchOriginCmd) Run(e *env) error {
	dir, err := os.MkdirTemp("", "loa-origin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o := &origin{bench: &bench{env: e, dir: dir}}
	defer func() {
		for _, c := range o.closers {
			c()
		}
	}()
	where, err := o.start()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(e.stdout).Encode(where); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

type origin struct {
	*bench
	closers []func()
}

func (o *origin) start() (*originAddresses, error) {
	sites, tree, err := roots(1)
	if err != nil {
		return nil, err
	}
	bb, err := o.backbone("origin")
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, bb.close)
	body, err := feedOf(feedBytes)
	if err != nil {
		return nil, err
	}
	meta := objects.Meta{ContentType: "application/rss+xml; charset=utf-8", CacheControl: "public, max-age=60, stale-while-revalidate=300"}
	if _, err := bb.store.Put(o.ctx, originFeed[1:], body, meta); err != nil {
		return nil, err
	}
	g, err := gateway.New(gateway.Options{Objects: bb.store, Sites: tree, PublicURL: sites[0].URL, Hubs: []string{"https://hub.example/"}, Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(o.ctx)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, ln) }()
	o.closers = append(o.closers, func() { cancel(); <-ended })

	where := &originAddresses{Gateway: ln.Addr().String()}
	// Last-Modified, and Brotli, come a moment after a feed is first read.
	var plain, coded *originRequest
	for {
		if plain, err = o.ask(where.Gateway, "plain, 200"); err != nil {
			return nil, err
		}
		if coded, err = o.ask(where.Gateway, "compressed, 200", "Accept-Encoding", "gzip, deflate, br, zstd"); err != nil {
			return nil, err
		}
		if plain.Headers.Get("Last-Modified") != "" && coded.Headers.Get("Content-Encoding") == "br" {
			break
		}
		if err := sleep(o.ctx, levelEvery); err != nil {
			return nil, err
		}
	}
	plainSame, err := o.ask(where.Gateway, "plain, 304", "If-None-Match", plain.Headers.Get("Etag"))
	if err != nil {
		return nil, err
	}
	codedSame, err := o.ask(where.Gateway, "compressed, 304", "Accept-Encoding", "gzip, deflate, br, zstd", "If-None-Match", coded.Headers.Get("Etag"))
	if err != nil {
		return nil, err
	}
	for _, r := range []*originRequest{plain, coded, plainSame, codedSame} {
		if err := o.serve(r); err != nil {
			return nil, err
		}
		where.Requests = append(where.Requests, *r)
	}
	return where, nil
}

// ask sends the request to the gateway and keeps what it answers.
func (o *origin) ask(at, name string, headers ...string) (*originRequest, error) {
	r := &originRequest{Name: name}
	r.Head = "GET " + originFeed + " HTTP/1.1\r\nHost: loa.example\r\nUser-Agent: loa bench\r\nAccept: application/rss+xml, */*;q=0.5\r\n"
	for i := 0; i < len(headers); i += 2 {
		r.Head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	r.Head += "\r\n"
	conn, err := dialOrigin(o.ctx, at)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	res, body, err := conn.read(r.Head)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway for its feed: %w", err)
	}
	r.Status, r.Body, r.Headers = res.StatusCode, body, res.Header
	r.Headers.Del("Date") // net/http writes it
	return r, nil
}

// serve starts a server that answers as the gateway did, with the limits that it has.
func (o *origin) serve(r *originRequest) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.Bare = ln.Addr().String()
	const limit = 30 * time.Second
	srv := &http.Server{ReadHeaderTimeout: limit, ReadTimeout: limit, WriteTimeout: limit, IdleTimeout: limit,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			for name, values := range r.Headers {
				h[name] = values
			}
			w.WriteHeader(r.Status)
			if len(r.Body) > 0 {
				w.Write(r.Body)
			}
		})}
	go srv.Serve(ln) // until Close
	o.closers = append(o.closers, func() { srv.Close() })
	return nil
}

// feedOf renders a feed of about so many bytes.
func feedOf(size int) ([]byte, error) {
	sites, tree, err := roots(1)
	if err != nil {
		return nil, err
	}
	catalog, err := newCatalog(tree)
	if err != nil {
		return nil, err
	}
	all := plain(sites[0].ID, config.Default().Feeds.Page)
	var body []byte
	for n := 1; n <= len(all) && len(body) < size; n++ {
		trial, err := newTrial(catalog, sites[0].ID, loggedAll(all[:n]))
		if err != nil {
			return nil, err
		}
		if body, err = trial.Anew("rss"); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(body), nil
}
