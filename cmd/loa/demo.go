package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

type demoCmd struct {
	Data    string `placeholder:"DIR" help:"Where to keep everything; a temporary directory without it."`
	Once    bool   `help:"Check everything that came out, and end: status 0 if it is right, 1 if not."`
	Listen  string `default:"127.0.0.1:0" help:"Where the gateway listens."`
	Verbose bool   `short:"v" help:"Show Loa's log too."`
}

// demoPortal is a portal downstream of the sample city.
type demoPortal struct {
	name, title string
	filter      string // as the configuration has it
	receiver    *receiver.Receiver
	address     string
}

// demo is the sample city at work: a CMS, Loa, and three portals.
type demo struct {
	*env
	dir     string
	app     *app
	cms     *events.Publisher
	cmsBase string // of the CMS's pictures
	portals []*demoPortal
	close   []func()
}

const (
	// demoPatience bounds the wait for one step; the pictures of all articles take some seconds.
	demoPatience = 6 * time.Minute
	// demoPictures is how long an article waits for its pictures, which are drawn when they are
	// asked for: on a slow or busy machine all of them at once take more than the usual 20 s.
	demoPictures = 4 * time.Minute
)

func (c *demoCmd) Run(e *env) error {
	d := &demo{env: e, dir: c.Data}
	defer func() {
		for i := len(d.close) - 1; i >= 0; i-- {
			d.close[i]()
		}
	}()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	done, err := d.start(ctx, c)
	if err != nil {
		return err
	}
	// Loa is stopped, and has ended, before anything it uses is closed.
	d.close = append(d.close, func() { cancel(); <-done })
	if err := d.play(ctx); err != nil {
		return errors.Join(err, e.ctx.Err())
	}
	if err := d.report(ctx); err != nil {
		return err
	}
	if c.Once {
		faults := d.check(ctx)
		for _, f := range faults {
			e.printf("  ✗ %v\n", f)
		}
		if len(faults) > 0 {
			return fmt.Errorf("%d faults found", len(faults))
		}
		e.printf("Everything that came out agrees with what went in.\n")
		return nil
	}
	d.addresses()
	select {
	case <-e.ctx.Done():
		e.printf("\nStopping.\n")
		return nil
	case err := <-done:
		done <- nil
		return err
	}
}

// start starts the portals, the CMS's picture server and Loa. The channel receives Loa's end.
func (d *demo) start(ctx context.Context, c *demoCmd) (chan error, error) {
	began := time.Now()
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "loa-demo-")
		if err != nil {
			return nil, err
		}
		d.dir = dir
		d.close = append(d.close, func() { os.RemoveAll(dir) })
	}
	d.printf("Starting NATS, S3, the workers and the gateway in %s\n", d.dir)
	d.portals = []*demoPortal{
		{name: "cong-thanh-pho", title: "Cổng thông tin Thành phố An Hòa", filter: "{}"},
		{name: "cong-ben-song", title: "Cổng thông tin Quận Bến Sông", filter: "{sites: [" + sample.BenSong + "]}"},
		{name: "cong-thong-bao", title: "Bảng tin thông báo", filter: "{categories: [thong-bao, y-te]}"},
	}
	for _, p := range d.portals {
		if err := d.startPortal(ctx, p); err != nil {
			return nil, err
		}
	}
	base, err := d.serve(ctx, sample.Handler())
	if err != nil {
		return nil, err
	}
	d.cmsBase = base
	file := filepath.Join(d.dir, "loa.yaml")
	if err := os.WriteFile(file, []byte(d.configuration(c.Listen)), 0o600); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(file, config.Overlay{DataDir: &d.dir})
	if err != nil {
		return nil, err
	}
	log := zerolog.Nop()
	if c.Verbose {
		log = logger(cfg.Log, d.stderr)
	}
	if d.app, err = newApp(ctx, cfg, log); err != nil {
		return nil, err
	}
	d.close = append(d.close, d.app.close)
	where, err := d.app.announce(file)
	if err != nil {
		return nil, err
	}
	if err := d.connectCMS(where.NATS); err != nil {
		return nil, err
	}
	done := make(chan error, 2)
	go func() { done <- d.app.run(ctx) }()
	d.printf("Ready after %d ms. %d sites, %d portals.\n\n", time.Since(began).Milliseconds(), len(cfg.Sites), len(d.portals))
	return done, nil
}

// serve serves on a free port of loopback, and gives the address.
func (d *demo) serve(ctx context.Context, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until it is closed: Loa still drains
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(ctx, l, h) }()
	d.close = append(d.close, func() { cancel(); <-ended })
	return "http://" + l.Addr().String(), nil
}

func (d *demo) startPortal(ctx context.Context, p *demoPortal) error {
	dir := filepath.Join(d.dir, "portals", p.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	rc := receiveCmd{SecretFile: filepath.Join(dir, "secret")}
	secret, err := rc.secret(&env{ctx: ctx, stdout: io.Discard, stderr: io.Discard})
	if err != nil {
		return err
	}
	if p.receiver, err = receiver.New(receiver.Options{Name: p.title, Secrets: []string{secret}, Dir: dir, Log: zerolog.Nop()}); err != nil {
		return err
	}
	d.close = append(d.close, func() { p.receiver.Close() })
	p.address, err = d.serve(ctx, p.receiver.Handler())
	return err
}

// configuration is the demo's, as a person would write it.
func (d *demo) configuration(listen string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by loa demo.\nlisten: %q\nnats:\n  listen: 127.0.0.1:0\nmedia:\n  allow: [127.0.0.0/8]\nlimits:\n  image_deadline: %s\nsites:\n", listen, demoPictures)
	for _, s := range sample.Sites() {
		fmt.Fprintf(&b, "  - {id: %s, name: %q, url: %q", s.ID, s.Name, s.URL)
		if s.Parent != "" {
			fmt.Fprintf(&b, ", parent: %s", s.Parent)
		}
		b.WriteString("}\n")
	}
	b.WriteString("portals:\n")
	for _, p := range d.portals {
		fmt.Fprintf(&b, "  - name: %s\n    title: %q\n    url: %s/bulletins\n    secret_file: portals/%s/secret\n    allow: [127.0.0.0/8]\n    filter: %s\n",
			p.name, p.title, p.address, p.name, p.filter)
	}
	return b.String()
}

// connectCMS connects as a CMS does: over TCP, with its own credentials.
func (d *demo) connectCMS(url string) error {
	users, err := embedded.ReadCredentials(filepath.Join(d.dir, "nats"))
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url, append(users.CMS.Options(), nats.Name("demo CMS"))...)
	if err != nil {
		return fmt.Errorf("connect the CMS to NATS: %w", err)
	}
	d.close = append(d.close, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	d.cms = events.NewPublisher(js)
	return nil
}

// play publishes the sample articles, then changes some of them.
func (d *demo) play(ctx context.Context) error {
	d.printf("The CMS publishes:\n")
	began := time.Now()
	articles := sample.Articles(d.cmsBase)
	for _, a := range articles {
		if err := d.say(ctx, "published", events.NewPublished(d.cmsBase, a), a.Title); err != nil {
			return err
		}
	}
	if err := d.settle(ctx, began); err != nil {
		return err
	}
	updated, corrected, withdrawn := sample.Updated(d.cmsBase), sample.Corrected(d.cmsBase), sample.Withdrawn()
	title := func(site, id string) string {
		i := slices.IndexFunc(articles, func(a events.Article) bool { return a.Site == site && a.ID == id })
		return articles[i].Title
	}
	for _, step := range []struct {
		what string
		ev   events.Event
	}{
		{"updated", events.NewPublished(d.cmsBase, updated)},
		{"corrected", events.NewPublished(d.cmsBase, corrected)},
		{"withdrawn", events.NewWithdrawn(d.cmsBase, withdrawn)},
	} {
		began := time.Now()
		if err := d.say(ctx, step.what, step.ev, title(step.ev.Site(), step.ev.ArticleID())); err != nil {
			return err
		}
		if err := d.settle(ctx, began); err != nil {
			return err
		}
	}
	return nil
}

// say publishes one event.
func (d *demo) say(ctx context.Context, what string, ev events.Event, title string) error {
	ack, err := d.cms.Publish(ctx, ev)
	if err != nil {
		return err
	}
	note := ""
	if ack.Duplicate {
		note = " (again)"
	}
	d.printf("  → %-9s  v%d  %s%s\n", what, ev.Version(), shorten(title, 70), note)
	return nil
}

// settle waits until everything is level, with progress, and says how long it took.
func (d *demo) settle(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	told := time.Now()
	err := waitLevel(ctx, d.app.backbone.js, func(b backlog) {
		if time.Since(told) > time.Second && !b.level() {
			told = time.Now()
			d.printf("    … %d events, %d versions, %d flags to go\n", b.Events, b.Versions, b.Flags)
		}
	})
	if err != nil {
		return err
	}
	d.printf("    ✓ images, feeds and portals are level after %.1f s\n", time.Since(began).Seconds())
	return nil
}

// report prints the table of what there is.
func (d *demo) report(ctx context.Context) error {
	live, gone, images, renditions := 0, 0, 0, 0
	for a, err := range d.app.articles.Walk(ctx, "*", 0) {
		if err != nil {
			return err
		}
		if a.Live() {
			live++
		} else {
			gone++
		}
		for _, img := range a.Images {
			if img.Stored() {
				images++
				renditions += len(img.Renditions)
			}
		}
	}
	feeds, err := d.app.feeds.List(ctx)
	if err != nil {
		return err
	}
	b, err := measureBacklog(ctx, d.app.backbone.js)
	if err != nil {
		return err
	}
	d.printf("\n")
	d.table([]string{"", "", ""}, [][]string{
		{"articles", fmt.Sprintf("%d live", live), fmt.Sprintf("%d withdrawn", gone)},
		{"images", fmt.Sprintf("%d stored", images), fmt.Sprintf("%d renditions", renditions)},
		{"feeds", fmt.Sprintf("%d", len(feeds)), "RSS, Atom and JSON each"},
		{"dead letters", fmt.Sprintf("%d", b.Dead), ""},
	})
	views, err := views(ctx, &session{js: d.app.backbone.js}, d.app.portals)
	if err != nil {
		return err
	}
	d.printf("\n")
	var rows [][]string
	for _, p := range d.portals {
		shown, withdrawn := 0, 0
		for _, h := range p.receiver.Held() {
			if h.Bulletin.Data.Status == events.StatusLive {
				shown++
			} else {
				withdrawn++
			}
		}
		waiting := "?"
		for _, v := range views {
			if v.Name == p.name {
				waiting = fmt.Sprint(v.Waiting)
			}
		}
		rows = append(rows, []string{p.name, fmt.Sprint(shown), fmt.Sprint(withdrawn), waiting, fmt.Sprint(p.receiver.Counts().Received)})
	}
	d.table([]string{"PORTAL", "DELIVERED", "WITHDRAWN", "WAITING", "REQUESTS"}, rows)
	d.printf("\n")
	return nil
}

// addresses prints what to open.
func (d *demo) addresses() {
	base := strings.TrimSuffix(d.app.cfg.PublicURL, "/")
	w := sample.Updated(d.cmsBase)
	d.printf("Open:\n")
	for _, line := range [][2]string{
		{"all feeds", base + "/"},
		{"a feed", base + "/feeds/" + sample.City + "--all/feed.atom"},
		{"an article", base + "/articles/" + w.Site + "/" + streams.KeyOf(w.Site, w.ID).Article()},
	} {
		d.printf("  %-12s %s\n", line[0], line[1])
	}
	for _, p := range d.portals {
		d.printf("  %-12s %s/    %s\n", "a portal", p.address, p.title)
	}
	d.printf("  %-12s %s/metrics\n\nAsk it from another terminal, for example:\n  loa portals ls --data %s\n\nCtrl-C stops it.\n", "metrics", base, d.dir)
}
