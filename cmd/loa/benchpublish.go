package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

const (
	// readEvery is how often a reader looks for what it waits for, over a connection that is kept
	// alive, and readBurstEvery how often each of many does, which are not to be what is measured.
	readEvery      = time.Millisecond
	readBurstEvery = 50 * time.Millisecond
)

// publishStack is a loa serve with a reader of its feeds.
type publishStack struct {
	*app
	cms   *events.Publisher
	sites []site.Site

	mu     sync.Mutex
	stored map[string]int // how often each feed was
}

// app is a loa serve with all roles and so many sites, which publish to two feeds each.
func (sb *serveBench) app(name string, n int) (*publishStack, error) {
	sites, _, err := roots(n)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(sb.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var text strings.Builder
	text.WriteString("listen: 127.0.0.1:0\nnats: {listen: 127.0.0.1:0}\nfeeds: {kinds: {category: {off: true}, tag: {off: true}, author: {off: true}, urgency: {off: true}, gallery: {off: true}}}\nsites:\n")
	for _, s := range sites {
		fmt.Fprintf(&text, "  - {id: %s, name: %q, url: %q}\n", s.ID, s.Name, s.URL)
	}
	file := filepath.Join(dir, "loa.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(file, config.Overlay{DataDir: &dir})
	if err != nil {
		return nil, err
	}
	s := &publishStack{sites: sites, stored: map[string]int{}}
	if s.app, err = newApp(sb.ctx, cfg, zerolog.Nop()); err != nil {
		return nil, err
	}
	s.cms = events.NewPublisher(s.backbone.js)
	_, err = s.backbone.js.Conn().Subscribe(streams.ChangedFeeds, func(m *nats.Msg) { // until the connection ends
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stored[m.Subject]++
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// feedReader reads one feed.
type feedReader struct {
	conn *originConn
	path string
	tag  string // of what it read last
}

func (s *publishStack) reader(ctx context.Context, feed string) (*feedReader, error) {
	conn, err := dialOrigin(ctx, s.listener.Addr().String())
	return &feedReader{conn: conn, path: "/feeds/" + feed + "/feed.rss"}, err
}

// until reads the feed until it is as it says.
func (r *feedReader) until(ctx context.Context, every time.Duration, right func(body []byte) bool) error {
	patience := time.Now().Add(benchPatience)
	for time.Now().Before(patience) {
		res, body, err := r.conn.read("GET " + r.path + " HTTP/1.1\r\nHost: loa.example\r\nIf-None-Match: " + r.tag + "\r\n\r\n")
		if err != nil {
			return err
		}
		if res.StatusCode == http.StatusOK {
			if r.tag = res.Header.Get("Etag"); right(body) {
				return nil
			}
		}
		if err := sleep(ctx, every); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s did not become what was waited for within %s", r.path, benchPatience)
}

// feedsOfSite are those in which its articles are.
func feedsOfSite(s site.Site) []string { return []string{s.ID, s.ID + "--all"} }

// published measures how long one article takes from the answer to its publisher to its readers, when
// there is nothing else.
func (sb *serveBench) published() error {
	turns := min(idleSites, sb.size.single)
	s, err := sb.app("published", turns)
	if err != nil {
		return err
	}
	defer s.close()
	_, tree, err := roots(turns)
	if err != nil {
		return err
	}
	catalog, err := newCatalog(tree)
	if err != nil {
		return err
	}
	bare := &feedsStack{backbone: s.backbone, catalog: catalog}
	articles := make([][]events.Article, len(s.sites))
	readers := make([][]*feedReader, len(s.sites))
	var took, floors []float64
	work := func(ctx context.Context) error {
		last := make([]time.Time, len(s.sites))
		for i, of := range s.sites {
			articles[i] = plain(of.ID, feedPage)
			if err := s.publish(ctx, articles[i]); err != nil {
				return err
			}
			for _, feed := range feedsOfSite(of) {
				r, err := s.reader(ctx, feed)
				if err != nil {
					return err
				}
				defer r.conn.close()
				if err := r.until(ctx, levelEvery, hasEntries(feedPage)); err != nil {
					return err
				}
				readers[i] = append(readers[i], r)
			}
			last[i] = time.Now()
		}
		for round := range sb.size.single {
			at := round % len(s.sites)
			if err := sleep(ctx, time.Until(last[at].Add(feedPause+afterPause))); err != nil {
				return err
			}
			a := &articles[at][round%feedPage]
			a.Version++
			a.Title = fmt.Sprintf("Lần thứ %d, %s", a.Version, a.ID)
			d, err := s.one(ctx, *a, readers[at])
			if err != nil {
				return err
			}
			last[at] = time.Now()
			floor, err := bare.bareOne(ctx, s.sites[at].ID, loggedAll(articles[at]), round)
			if err != nil {
				return err
			}
			took, floors = append(took, ms(d)), append(floors, ms(floor))
		}
		return nil
	}
	if err := during(sb.ctx, work, s.run); err != nil {
		return err
	}
	sb.say("%d articles one at a time", len(took))
	return sb.report(figure{Figure: "one article, acknowledged to in its two feeds over HTTP, p50", Value: median(took), Unit: "ms"}.over(median(floors)).atMost(2))
}

// feedPause is that between two renderings of a feed.
const feedPause = time.Second

// hasEntries reports whether a feed in RSS has so many entries.
func hasEntries(entries int) func(body []byte) bool {
	return func(body []byte) bool { return bytes.Count(body, []byte("<item>")) == entries }
}

// publish publishes articles, many at once.
func (s *publishStack) publish(ctx context.Context, all []events.Article) error {
	return atOnce(ctx, publishersAtOnce, len(all), func(ctx context.Context, i int) error {
		_, err := s.cms.Publish(ctx, events.NewPublished(benchSource, all[i]))
		return err
	})
}

// one publishes an article, and gives how long after the answer all readers have seen its title.
func (s *publishStack) one(ctx context.Context, a events.Article, readers []*feedReader) (time.Duration, error) {
	if _, err := s.cms.Publish(ctx, events.NewPublished(benchSource, a)); err != nil {
		return 0, err
	}
	began := time.Now()
	err := atOnce(ctx, len(readers), len(readers), func(ctx context.Context, i int) error {
		return readers[i].until(ctx, readEvery, func(body []byte) bool { return bytes.Contains(body, []byte(a.Title)) })
	})
	return time.Since(began), err
}

// atOnce measures what many articles at once cost, and how long they take to their readers.
func (sb *serveBench) atOnce() error {
	sites, _, err := roots(sb.size.sites)
	if err != nil {
		return err
	}
	var all []events.Article
	each := sb.size.burst / len(sites)
	for i, a := range plain("", each*len(sites)) { // the sites in turns
		a.Site = sites[i%len(sites)].ID
		all = append(all, a)
	}
	var took, floors, renderings []float64
	for round := range sb.size.bursts {
		floor, err := sb.intakeAlone(fmt.Sprint("alone-", round), sites, all)
		if err != nil {
			return err
		}
		d, most, err := sb.burst(fmt.Sprint("burst-", round), all, each)
		if err != nil {
			return err
		}
		sb.say("%d articles at once: %.1f s, the intake alone %.1f s; at most %d renderings of a feed", len(all), d.Seconds(), floor.Seconds(), most)
		took, floors, renderings = append(took, d.Seconds()), append(floors, floor.Seconds()), append(renderings, float64(most))
	}
	name := fmt.Sprintf("%d articles at once over %d feeds, ", len(all), 2*len(sites))
	if err := sb.report(figure{Figure: name + "renderings of one at most", Value: median(renderings), Unit: "renderings"}.atMost(3)); err != nil {
		return err
	}
	return sb.report(figure{Figure: name + "all visible (floor: intake alone)", Value: median(took), Unit: "s"}.over(median(floors)).atMost(2))
}

// intakeAlone takes the articles in, and does nothing else.
func (sb *serveBench) intakeAlone(name string, sites []site.Site, all []events.Article) (time.Duration, error) {
	bb, err := sb.backbone(name)
	if err != nil {
		return 0, err
	}
	defer bb.close()
	tree, err := site.New(sites)
	if err != nil {
		return 0, err
	}
	s := &publishStack{cms: events.NewPublisher(bb.js)}
	if err := s.publish(sb.ctx, all); err != nil {
		return 0, err
	}
	store := &watchedStore{Store: bb.store}
	in, err := intake.New(sb.ctx, intake.Options{JS: bb.js, Sites: tree, Pictures: noPictures{}, Objects: store, Log: zerolog.Nop()})
	if err != nil {
		return 0, err
	}
	done := store.done.expect(len(all))
	began := time.Now()
	var end time.Time
	err = during(sb.ctx, func(ctx context.Context) (err error) {
		end, err = await(ctx, done, "articles were taken in")
		return err
	}, in.Run)
	return end.Sub(began), err
}

// burst takes the articles in with all roles, and gives how long it is until readers have seen all,
// and how often the feed was stored that was stored most often.
func (sb *serveBench) burst(name string, all []events.Article, each int) (took time.Duration, most int, err error) {
	s, err := sb.app(name, sb.size.sites)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	if err := s.publish(sb.ctx, all); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = during(sb.ctx, func(ctx context.Context) error {
		var ids []string
		for _, of := range s.sites {
			ids = append(ids, feedsOfSite(of)...)
		}
		err := atOnce(ctx, len(ids), len(ids), func(ctx context.Context, i int) error {
			r, err := s.reader(ctx, ids[i])
			if err != nil {
				return err
			}
			defer r.conn.close()
			return r.until(ctx, readBurstEvery, hasEntries(min(each, feedPage)))
		})
		took = time.Since(began)
		return err
	}, s.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.stored {
		most = max(most, n)
	}
	return took, most, err
}
