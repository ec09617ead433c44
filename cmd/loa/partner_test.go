package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// partner is a downstream portal: the sample receiver on a port of its own, with its bulletins
// on disk, and a record of all that it accepted.
type partner struct {
	name    string
	filter  portal.Filter
	paused  bool
	digest  string // when it wants digests, as the configuration has it; empty: none
	timeout string // as the configuration has it; empty: the default

	dir                string
	secret, secretFile string
	address            string
	receiver           *receiver.Receiver
	fault              atomic.Pointer[receiver.Fault] // how it answers; nil: rightly

	mu       sync.Mutex
	server   *http.Server
	accepted []delivery
	atHand   map[string]int // bulletins of each article that are being received
	overlaps []string       // articles of which two were, at once
}

// delivery is an article in a bulletin that was answered with 2xx.
type delivery struct {
	at               time.Time
	id, digest, guid string
	version          article.Version
	among            bool // others in the bulletin
}

// startPartner starts a portal that keeps its things under dir.
func startPartner(t testing.TB, dir string, p *partner) *partner {
	t.Helper()
	p.dir, p.secret, p.secretFile = filepath.Join(dir, p.name), events.NewSecret(), filepath.Join(dir, p.name+".secret")
	if err := os.WriteFile(p.secretFile, []byte(p.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.receive(t, p.secret)
	p.address = loatest.Address(t)
	p.open(t)
	t.Cleanup(func() { p.close(); p.receiver.Close() })
	return p
}

// receive starts the receiver, which verifies with the secret or public key.
func (p *partner) receive(t testing.TB, secret string) {
	t.Helper()
	var err error
	p.receiver, err = receiver.New(receiver.Options{
		Name: p.name, Secrets: []string{secret}, Dir: p.dir, Log: zerolog.Nop(),
		Answer: func(int, *http.Request) *receiver.Fault { return p.fault.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reopen has the portal verify with another secret.
func (p *partner) reopen(t testing.TB, secret string) {
	t.Helper()
	p.close()
	p.receiver.Close()
	p.receive(t, secret)
	p.open(t)
}

// open takes the portal's address.
func (p *partner) open(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve)}
	go p.server.Serve(l)
}

// close ends the connections and gives the address up: whoever calls is refused.
func (p *partner) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server.Close()
}

func (p *partner) url() string { return "http://" + p.address + "/bulletins" }

// serve lets the receiver answer, and records what it accepted.
func (p *partner) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &answerRecorder{ResponseWriter: w}
	var b events.Bulletin
	if r.Method != http.MethodPost || json.Unmarshal(body, &b) != nil {
		p.receiver.Handler().ServeHTTP(answer, r)
		return
	}
	told := []events.BulletinArticle{b.Data}
	if d, err := events.ParseDigest(body); err == nil {
		told = d.Data.Articles
	}
	for _, a := range told {
		p.begin(a.GUID)
	}
	p.receiver.Handler().ServeHTTP(answer, r)
	for _, a := range told {
		p.end(a.GUID)
	}
	if answer.status/100 != 2 {
		return
	}
	sum := sha256.Sum256(body)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range told {
		p.accepted = append(p.accepted, delivery{time.Now(), r.Header.Get(events.HeaderID), hex.EncodeToString(sum[:]), a.GUID,
			article.Version{Number: a.Version, Revision: a.Revision}, b.Type == events.BulletinDigest})
	}
}

// begin and end are about a bulletin that is being received.
func (p *partner) begin(guid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.atHand == nil {
		p.atHand = map[string]int{}
	}
	if p.atHand[guid]++; p.atHand[guid] > 1 {
		p.overlaps = append(p.overlaps, guid)
	}
}

func (p *partner) end(guid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atHand[guid]--
}

type answerRecorder struct {
	http.ResponseWriter
	status int
}

func (a *answerRecorder) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answerRecorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// history is what was accepted, in order.
func (p *partner) history() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]delivery(nil), p.accepted...)
}
