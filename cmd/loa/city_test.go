package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// city is everything around a Loa: sites, portals, a CMS with pictures, and the configuration
// that names them. Its loa may be started and ended any number of times.
type city struct {
	t        *testing.T
	dir      string // of the portals and the configuration
	data     string // Loa's
	config   string
	nats     string // address
	gateway  string // base address, without the slash
	pictures string // base address
	partners []*partner

	program     string   // loa; the test binary, as a rule
	environment []string // beside the test's own

	loa     *process
	printed []*transcript
	secrets []string
}

// grace is the grace period of the cities' loas.
const grace = 10 * time.Second

// newCity sets a city up, and starts nothing of Loa. At its end the test checks that no secret
// was printed by anything, and that nothing crashed.
func newCity(t *testing.T, partners ...*partner) *city {
	t.Helper()
	dir := t.TempDir()
	c := &city{t: t, dir: dir, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "loa.yaml"),
		nats: loatest.Address(t), partners: partners, program: os.Args[0]}
	listen := loatest.Address(t)
	c.gateway = "http://" + listen
	srv := httptest.NewServer(http.HandlerFunc(servePhoto))
	t.Cleanup(srv.Close)
	c.pictures = srv.URL
	var b strings.Builder
	fmt.Fprintf(&b, "data: data\nlisten: %q\ngrace: %s\nlog: {format: json}\nnats: {listen: %q}\nmedia: {allow: [127.0.0.0/8]}\nsites:\n", listen, grace, c.nats)
	for _, s := range sample.Sites() {
		fmt.Fprintf(&b, "  - {id: %s, name: %q, url: %q, parent: %q}\n", s.ID, s.Name, s.URL, s.Parent)
	}
	b.WriteString("portals:\n")
	for _, p := range partners {
		startPartner(t, dir, p)
		c.secrets = append(c.secrets, p.secret)
		fmt.Fprintf(&b, "  - name: %s\n    url: %s\n    secret_file: %s\n    allow: [127.0.0.0/8]\n    paused: %v\n", p.name, p.url(), p.secretFile, p.paused)
		if p.digest != "" {
			fmt.Fprintf(&b, "    digest: {at: %q, most: 200}\n", p.digest)
		}
		if p.timeout != "" {
			fmt.Fprintf(&b, "    timeout: %s\n", p.timeout)
		}
		fmt.Fprintf(&b, "    filter: {sites: [%s], categories: [%s], tags: [%s], urgency: %d}\n", strings.Join(p.filter.Sites, ", "),
			strings.Join(p.filter.Categories, ", "), strings.Join(p.filter.Tags, ", "), p.filter.Urgency)
	}
	if len(partners) == 0 {
		b.WriteString("  []\n")
	}
	if err := os.WriteFile(c.config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.checkPrinted)
	return c
}

// media puts more into the configuration's section of that name.
func (c *city) media(more string) {
	c.t.Helper()
	config, err := os.ReadFile(c.config)
	if err == nil {
		err = os.WriteFile(c.config, []byte(strings.Replace(string(config), "media: {", "media: {"+more+", ", 1)), 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// serve starts loa, with further arguments if there are any.
func (c *city) serve(more ...string) {
	c.t.Helper()
	c.loa = startLoa(c.t, c.program, c.environment, append([]string{"serve", "--config", c.config}, more...)...)
	c.printed = append(c.printed, &c.loa.transcript)
}

// command runs one command against the city's loa.
func (c *city) command(args ...string) (status int, stdout, stderr string) {
	return c.commandIn(c.t.Context(), args...)
}

func (c *city) commandIn(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	out, faults := &transcript{name: "loa " + strings.Join(args, " ")}, &transcript{name: "loa " + strings.Join(args, " ")}
	c.printed = append(c.printed, out, faults)
	status = run(&env{ctx, out, faults}, args)
	return status, out.String(), faults.String()
}

// session connects as commands do.
func (c *city) session() *session {
	c.t.Helper()
	return c.sessionWith(client{Data: &c.data})
}

func (c *city) sessionWith(cl client) *session {
	c.t.Helper()
	s, err := cl.connect(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(s.close)
	return s
}

// cms connects as the CMS does: over TCP, with its own user, patiently.
func (c *city) cms() jetstream.JetStream {
	c.t.Helper()
	users, err := embedded.ReadCredentials(filepath.Join(c.data, "nats"))
	if err != nil {
		c.t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+c.nats, append(users.CMS.Options(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	return js
}

// level waits until everything said has arrived everywhere.
func (c *city) level(s *session) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 4*patience)
	defer cancel()
	began := time.Now()
	last, told := backlog{}, began
	tell := func(b backlog) {
		if b != last && time.Since(told) > time.Second {
			last, told = b, time.Now()
			c.t.Logf("after %.0f s there wait %+v", time.Since(began).Seconds(), b)
		}
	}
	if err := waitLevel(ctx, s.js, tell); err != nil {
		for _, tr := range c.printed {
			if strings.HasPrefix(tr.name, "loa serve") {
				c.t.Logf("the last words of %s:\n%s", tr.name, tr.tail())
			}
		}
		c.t.Fatalf("%v: %s", err, c.waiting(s))
	}
	c.t.Logf("level after %.1f s", time.Since(began).Seconds())
}

// waiting names some of the flags that are up, by their place in the stream.
func (c *city) waiting(s *session) string {
	const most = 10
	var all []string
	stream, err := s.js.Stream(c.t.Context(), streams.Flags)
	if err != nil {
		return err.Error()
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && len(all) < most; seq++ {
		if m, err := stream.GetMsg(c.t.Context(), seq); err == nil {
			all = append(all, fmt.Sprintf("%d %s %s", seq, m.Subject, m.Data))
		}
	}
	for i := range stream.ListConsumers(c.t.Context()).Info() {
		if i.NumAckPending > 0 || i.NumPending > 0 {
			all = append(all, fmt.Sprintf("%s: %d pending, %d not acknowledged, at %d, up to %d", i.Name, i.NumPending, i.NumAckPending, i.Delivered.Stream, i.AckFloor.Stream))
		}
	}
	return strings.Join(all, "; ")
}

// noDeadLetters fails the test if there are any but warnings.
func (c *city) noDeadLetters(s *session) {
	c.t.Helper()
	for l, err := range s.dead.List(c.t.Context(), "", "") {
		if err != nil {
			c.t.Fatal(err)
		}
		if !l.Warning {
			c.t.Errorf("dead letter: %s %s %s %v", l.Stage, l.Key, l.Reason, l.Faults)
		}
	}
}

// checkPrinted fails the test if any secret was printed or logged, or if something crashed.
func (c *city) checkPrinted() {
	secrets := c.secrets
	if users, err := embedded.ReadCredentials(filepath.Join(c.data, "nats")); err == nil {
		secrets = append(secrets, users.Loa.Secret.Reveal(), users.CMS.Secret.Reveal())
	}
	if login, err := embedded.ReadS3Credentials(filepath.Join(c.data, "s3")); err == nil {
		secrets = append(secrets, login.Secret.Reveal())
	}
	for _, tr := range c.printed {
		text := tr.String()
		for _, crash := range []string{"DATA RACE", "panic", "goroutine 1 ["} {
			if i := strings.Index(text, crash); i >= 0 {
				c.t.Errorf("%s crashed:\n%.4000s", tr.name, text[i:])
				break
			}
		}
		for _, secret := range secrets {
			// Standard Webhooks' prefix is not part of the key.
			if strings.Contains(text, strings.TrimPrefix(secret, "whsec_")) {
				c.t.Errorf("%s printed a secret:\n%s", tr.name, text)
			}
		}
	}
}

var photos sync.Map // of the bytes of /photo/<n>.jpg, by n

// servePhoto serves pictures without end: /photo/<n>.jpg.
func servePhoto(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/photo/"), ".jpg"), 10, 32)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	draw, _ := photos.LoadOrStore(n, sync.OnceValue(func() []byte { return sample.Photo(n, 720, 480) }))
	w.Header().Set("Content-Type", "image/jpeg")
	w.Write(draw.(func() []byte)())
}
