package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/websub"
	"github.com/loa-syndication/loa/workers/hub"
)

type benchHubCmd struct {
	benchFlags
	size    *hubSize // tests set it
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// Help is shown by loa bench hub --help.
func (*benchHubCmd) Help() string {
	return benchHelp + `

The subscribers are callbacks at 601 hosts, which are addresses of another process that
verifies nothing and answers 200. All have subscribed to one feed, of 60 KB, with a secret.
Distribution is from the raising of the feed's one flag to the last subscriber's record on
disk, at the rate that loa serve allows each host; the floor is a loop that does nothing but
sign and POST the same document, as many at once, over connections kept alive. Memory is the
heap that is in use while all are being told, beyond what was before.`
}

// hubSize is how much is measured.
type hubSize struct{ hosts, subscribers, rounds int }

var (
	hubFull  = hubSize{hosts: 601, subscribers: 10_000, rounds: 5}
	hubShort = hubSize{hosts: 601, subscribers: 2000, rounds: 3}
)

const (
	// documentBytes is the size of the feed.
	documentBytes = 60 << 10
	// heapEvery is how often memory is looked at.
	heapEvery = 20 * time.Millisecond
)

func (c *benchHubCmd) Run(e *env) error {
	size, command := hubFull, selfCommand
	if c.Short {
		size = hubShort
	}
	if c.size != nil {
		size = *c.size
	}
	if c.command != nil {
		command = c.command
	}
	return c.run(e, func(b *bench) error {
		cmd, err := command(b.ctx, "bench", "sink", fmt.Sprint("--portals=", size.hosts))
		if err != nil {
			return err
		}
		to, err := startSink(b.ctx, cmd)
		if err != nil {
			return err
		}
		defer to.close()
		hb := &hubBench{bench: b, size: size, sink: to, topic: websub.Topic{Feed: "bench", Format: "rss"}}
		return hb.measure()
	})
}

type hubBench struct {
	*bench
	size  hubSize
	sink  *sinkProcess
	topic websub.Topic

	*backbone
	subscriptions *websub.Registry
	callbacks     []string
	delivered     tally
}

// hubKey is the secret of every subscriber.
const hubKey = secret.Secret("of the benchmark")

func (hb *hubBench) measure() (err error) {
	if hb.backbone, err = hb.bench.backbone("hub"); err != nil {
		return err
	}
	defer hb.backbone.close()
	if hb.subscriptions, err = websub.Open(hb.ctx, hb.js, nil, true, zerolog.Nop()); err != nil {
		return err
	}
	defer hb.subscriptions.Close()
	// A line of the log for each delivery is part of the work.
	log, metrics, c := zerolog.New(io.Discard).With().Timestamp().Logger(), prometheus.NewRegistry(), config.Default().Hub
	w, err := hub.New(hub.Options{JS: hb.js, Objects: hb.store, Subscriptions: hb.subscriptions, Topics: websub.TopicsOf("https://loa.example/"),
		Caps: hubCaps(c), InFlight: c.InFlight, Rate: float64(c.Rate), Timeout: c.Timeout, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Version: version(), Log: log, Metrics: metrics})
	if err != nil {
		return err
	}
	defer w.Close()
	looked := func(target string, flags []reconcile.Flag) {
		if target != websub.FanOut {
			hb.delivered.add(len(flags))
		}
	}
	engine, err := reconcile.New(hb.ctx, hb.js, reconcile.Options{Kind: websub.Kind, Limits: w.Limits, Workers: hub.Workers, Grace: benchDrain, Log: log, Metrics: metrics,
		Reconciler: observed{Reconciler: w, done: looked, failed: hb.fault, level: looked}})
	if err != nil {
		return err
	}
	return during(hb.ctx, hb.rounds, engine.Run)
}

func (hb *hubBench) rounds(ctx context.Context) error {
	if err := hb.subscribe(ctx); err != nil {
		return err
	}
	bare := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: portalWorkers, DisableCompression: true}}
	defer bare.CloseIdleConnections()
	n := hb.size.subscribers
	var rates, floors, heaps []float64
	for round := 0; hb.more(len(rates), hb.size.rounds, shortLast); round++ {
		body := document(round)
		took, heap, err := hb.distribute(ctx, body)
		if err != nil {
			return err
		}
		floor, err := hb.post(ctx, bare, body)
		if err != nil {
			return err
		}
		if round == 0 {
			hb.say("warmed up with %d deliveries of %d bytes", n, len(body))
			continue // connections were made
		}
		rate, floorRate := float64(n)/took.Seconds(), float64(n)/floor.Seconds()
		hb.say("round %d of %d: %.0f deliveries/s, floor %.0f/s", round, hb.size.rounds, rate, floorRate)
		rates, floors, heaps = append(rates, rate), append(floors, floorRate), append(heaps, heap)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(hb.report(figure{Figure: fmt.Sprintf("one feed to %d subscribers at %d hosts", n, hb.size.hosts),
		Value: median(rates), Unit: "deliveries/s"}.over(median(floors))),
		hb.report(figure{Figure: "memory for it", Value: median(heaps), Unit: "MiB"}.atMost(maxHubHeap)))
}

// maxHubHeap is what telling all subscribers may take, in MiB: a document for each would be 586.
const maxHubHeap = 200

// document is a feed that no other round had.
func document(round int) []byte {
	line := fmt.Sprintf("<item><title>Thông báo %d của phường</title></item>\n", round)
	return []byte(strings.Repeat(line, documentBytes/len(line)))
}

func (hb *hubBench) put(ctx context.Context, body []byte) error {
	_, err := hb.store.Put(ctx, hb.topic.Object(), body, objects.Meta{ContentType: "application/rss+xml; charset=utf-8"})
	return err
}

// subscribe makes the subscribers, as if their callbacks had confirmed.
func (hb *hubBench) subscribe(ctx context.Context) error {
	for i := range hb.size.subscribers {
		hb.callbacks = append(hb.callbacks, fmt.Sprintf("http://%s/%d", hb.sink.Portals[i%len(hb.sink.Portals)], i))
	}
	if err := hb.put(ctx, document(-1)); err != nil {
		return err
	}
	info, err := hb.store.Stat(ctx, hb.topic.Object())
	if err != nil {
		return err
	}
	level := hb.delivered.expect(hb.size.subscribers)
	const goroutines = 64
	err = atOnce(ctx, goroutines, len(hb.callbacks), func(ctx context.Context, i int) error {
		q := websub.Request{Mode: websub.ModeSubscribe, Callback: hb.callbacks[i], Topic: hb.topic, Lease: time.Hour,
			Secret: hubKey.Reveal(), Method: websub.SHA256, Seen: info.ETag}
		_, err := hb.subscriptions.Activate(ctx, q, "127.0.0.1", time.Now())
		return err
	})
	if err != nil {
		return err
	}
	_, err = await(ctx, level, "subscriptions were looked at")
	hb.say("%d subscriptions made", hb.size.subscribers)
	return err
}

// distribute tells all subscribers of a document, and gives how long that took, and by how many MiB
// the heap grew.
func (hb *hubBench) distribute(ctx context.Context, body []byte) (time.Duration, float64, error) {
	if err := hb.sink.expect(ctx, hb.size.subscribers); err != nil {
		return 0, 0, err
	}
	if err := hb.put(ctx, body); err != nil {
		return 0, 0, err
	}
	grown := watchHeap()
	done := hb.delivered.expect(hb.size.subscribers)
	began := time.Now()
	if err := reconcile.Raise(ctx, hb.js, []reconcile.Flag{websub.FeedFlag(hb.topic.Feed)}); err != nil {
		return 0, 0, err
	}
	end, err := await(ctx, done, "subscribers were told")
	heap := grown()
	if err != nil {
		return 0, 0, err
	}
	_, err = hb.sink.arrived(ctx)
	return end.Sub(began), heap, err
}

// watchHeap looks how much of the heap is in use, until it is asked how much more, in MiB, that was
// at most than at the beginning.
func watchHeap() func() float64 {
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse) / (1 << 20)
	}
	runtime.GC()
	before := inUse()
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		ticks := time.NewTicker(heapEvery)
		defer ticks.Stop()
		high := before
		for {
			select {
			case <-ticks.C:
				high = max(high, inUse())
			case <-stop:
				most <- high
				return
			}
		}
	}()
	return func() float64 { close(stop); return <-most - before }
}

// post is the floor: it signs and sends a document to all callbacks.
func (hb *hubBench) post(ctx context.Context, client *http.Client, body []byte) (time.Duration, error) {
	if err := hb.sink.expect(ctx, len(hb.callbacks)); err != nil {
		return 0, err
	}
	began := time.Now()
	err := atOnce(ctx, min(portalWorkers, len(hb.callbacks)), len(hb.callbacks), func(ctx context.Context, i int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, hb.callbacks[i], bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/rss+xml; charset=utf-8")
		req.Header.Set("X-Hub-Signature", websub.SHA256.Sign(hubKey, body))
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	_, err = hb.sink.arrived(ctx)
	return took, err
}
