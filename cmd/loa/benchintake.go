package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

type benchIntakeCmd struct {
	benchFlags
	size *intakeSize // tests set it
}

// Help is shown by loa bench intake --help.
func (*benchIntakeCmd) Help() string {
	return benchHelp + `

Events have no pictures. Of a burst, all events are in the inbox when the intake starts,
and the end is when every article is in the log and in S3. The floor writes the same
bytes to the same stream and the same bucket, as many at once as the intake does. One
event at a time is measured from the call of the publisher to the log's answer; the
floor stores an event and an article, one after the other.`
}

// intakeSize is how much is measured.
type intakeSize struct {
	rounds int // beside one to warm up
	burst  int // events in a round
	single int // events one at a time
}

var (
	intakeFull  = intakeSize{rounds: 7, burst: 2000, single: 1000}
	intakeShort = intakeSize{rounds: 5, burst: 300, single: 200}
)

const (
	// intakeAtOnce is how many articles the intake deals with at once.
	intakeAtOnce = 128
	// publishersAtOnce is how many events are on their way into the inbox at once.
	publishersAtOnce = 32
	// floorSite is the site under which floors write; no article is of it.
	floorSite = "floor"
	// floorSubjects are those of a stream that nobody reads.
	floorStream, floorSubject = "FLOOR", "floor."
)

func (c *benchIntakeCmd) Run(e *env) error {
	size := intakeFull
	if c.Short {
		size = intakeShort
	}
	if c.size != nil {
		size = *c.size
	}
	return c.run(e, func(b *bench) error {
		bb, err := b.backbone("intake")
		if err != nil {
			return err
		}
		defer bb.close()
		tree, err := sampleTree()
		if err != nil {
			return err
		}
		ib := &intakeBench{bench: b, backbone: bb, size: size, sites: tree, cms: events.NewPublisher(bb.js),
			store: &watchedStore{Store: bb.store}}
		if err := ib.bursts(); err != nil {
			return err
		}
		return ib.singles()
	})
}

func sampleTree() (*site.Tree, error) {
	var sites []site.Site
	for _, s := range sample.Sites() {
		sites = append(sites, site.Site{ID: s.ID, Name: s.Name, Parent: s.Parent, URL: s.URL})
	}
	return site.New(sites)
}

type intakeBench struct {
	*bench
	*backbone
	size  intakeSize
	sites *site.Tree
	cms   *events.Publisher
	store *watchedStore
	made  int // events so far
}

// watchedStore is the bucket, with a note of what the intake does there. Articles come to it
// when they are in the log.
type watchedStore struct {
	*objects.Store
	done tally

	mu     sync.Mutex
	bodies [][]byte
	logged chan time.Time // receives the moment of each, if set
}

func (s *watchedStore) Put(ctx context.Context, key string, body []byte, m objects.Meta) (string, error) {
	now := time.Now()
	s.mu.Lock()
	if s.logged != nil {
		s.logged <- now
	}
	s.bodies = append(s.bodies, body)
	s.mu.Unlock()
	etag, err := s.Store.Put(ctx, key, body, m)
	if err == nil {
		s.done.add(1)
	}
	return etag, err
}

// taken gives the articles that were put since it was last asked.
func (s *watchedStore) taken() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.bodies
	s.bodies = nil
	return all
}

// noPictures is for events that have none.
type noPictures struct{}

func (noPictures) Store(context.Context, events.Image) (article.Image, error) {
	return article.Image{}, errors.New("no pictures here")
}
func (noPictures) StoreFile(context.Context, events.Attachment) (article.Attachment, error) {
	return article.Attachment{}, errors.New("no files here")
}
func (noPictures) Permanent(error) bool { return true }

func (ib *intakeBench) intake() (*intake.Intake, error) {
	return intake.New(ib.ctx, intake.Options{JS: ib.js, Sites: ib.sites, Pictures: noPictures{}, Objects: ib.store, Log: zerolog.Nop()})
}

// events makes n events of articles that were not there before.
func (ib *intakeBench) events(n int) []events.Event {
	var all []events.Event
	for a := range sample.Many(n) {
		ib.made++
		a.ID = fmt.Sprintf("bench-%07d", ib.made)
		all = append(all, events.NewPublished(benchSource, a))
	}
	return all
}

// bursts measures how many events a second are taken in.
func (ib *intakeBench) bursts() error {
	var rates, floors []float64
	for round := 0; ib.more(len(rates), ib.size.rounds, shortLast); round++ {
		rate, err := ib.burst()
		if err != nil {
			return err
		}
		floor, err := ib.bareBurst(ib.store.taken())
		if err != nil {
			return err
		}
		if round == 0 {
			ib.say("warmed up with %d events", ib.size.burst)
			continue
		}
		ib.say("round %d of %d: %.0f events/s, floor %.0f/s", round, ib.size.rounds, rate, floor)
		rates, floors = append(rates, rate), append(floors, floor)
	}
	if ib.ctx.Err() != nil {
		return ib.ctx.Err()
	}
	return ib.report(figure{Figure: "events taken in, burst", Value: median(rates), Unit: "events/s"}.over(median(floors)))
}

func (ib *intakeBench) burst() (float64, error) {
	burst := ib.events(ib.size.burst)
	err := atOnce(ib.ctx, publishersAtOnce, len(burst), func(ctx context.Context, i int) error {
		_, err := ib.cms.Publish(ctx, burst[i])
		return err
	})
	if err != nil {
		return 0, err
	}
	in, err := ib.intake()
	if err != nil {
		return 0, err
	}
	done := ib.store.done.expect(len(burst))
	began := time.Now()
	var end time.Time
	err = during(ib.ctx, func(ctx context.Context) (err error) {
		end, err = await(ctx, done, "events were taken in")
		return err
	}, in.Run)
	return float64(len(burst)) / end.Sub(began).Seconds(), err
}

// bareBurst writes articles to the log's stream and to the bucket, and does nothing else.
func (ib *intakeBench) bareBurst(articles [][]byte) (float64, error) {
	began := time.Now()
	err := atOnce(ib.ctx, intakeAtOnce, len(articles), func(ctx context.Context, i int) error {
		key := streams.KeyOf(floorSite, fmt.Sprintf("%07d-%07d", ib.made, i))
		if _, err := ib.js.Publish(ctx, streams.ArticleSubject(key), articles[i]); err != nil {
			return err
		}
		_, err := ib.store.Store.Put(ctx, key.Object(), articles[i], objects.Meta{ContentType: "application/json", CacheControl: "no-cache"})
		return err
	})
	return float64(len(articles)) / time.Since(began).Seconds(), err
}

// singles measures how long one event takes when there is nothing else to do.
func (ib *intakeBench) singles() error {
	_, err := ib.js.CreateStream(ib.ctx, jetstream.StreamConfig{Name: floorStream, Subjects: []string{floorSubject + ">"}})
	if err != nil {
		return err
	}
	in, err := ib.intake()
	if err != nil {
		return err
	}
	ib.store.logged = make(chan time.Time, 1)
	var took, floor []float64
	err = during(ib.ctx, func(ctx context.Context) error {
		for i, ev := range ib.events(ib.size.single) {
			done := ib.store.done.expect(1)
			began := time.Now()
			if _, err := ib.cms.Publish(ctx, ev); err != nil {
				return err
			}
			logged, err := await(ctx, ib.store.logged, "events were taken in")
			if err != nil {
				return err
			}
			if _, err := await(ctx, done, "articles were stored in S3"); err != nil {
				return err
			}
			bare, err := ib.bareSingle(ctx, ev, ib.store.taken()[0])
			if err != nil {
				return err
			}
			if i < ib.size.single/10 {
				continue // still warming up
			}
			took, floor = append(took, ms(logged.Sub(began))), append(floor, ms(bare))
		}
		return nil
	}, in.Run)
	if err != nil {
		return err
	}
	ib.say("%d events one at a time", len(took))
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.50}, {"p99", 0.99}} {
		err := ib.report(figure{Figure: "one event, published to in the log, " + q.name, Value: quantile(took, q.at), Unit: "ms"}.over(quantile(floor, q.at)))
		if err != nil {
			return err
		}
	}
	return nil
}

func (ib *intakeBench) bareSingle(ctx context.Context, ev events.Event, stored []byte) (time.Duration, error) {
	said, err := ev.MarshalJSON()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for i, data := range [][]byte{said, stored} {
		if _, err := ib.js.Publish(ctx, fmt.Sprint(floorSubject, i), data); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
