package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// source is the CloudEvents source of the tests' CMS.
const source = "https://cms.anhoa.example/"

// story is what a CMS says about n articles: up to three versions of each, of which some are
// corrections, some move to another category, and some withdraw; out of order, and now and
// then twice.
func story(rng *rand.Rand, n int, pictures string) []events.Event {
	var all []events.Event
	say := func(e events.Event) { all = append(all, e) }
	i := 0
	for a := range sample.Many(n) {
		i++
		if i%12 == 7 {
			photo := i
			if i%24 == 7 { // which others show too
				photo = i % 5
			}
			a.Images = []events.Image{{URL: fmt.Sprintf("%s/photo/%d.jpg", pictures, photo), Role: events.RoleLead, Alt: "Ảnh " + a.Title}}
		}
		if rng.IntN(6) == 0 {
			a.Urgency = 2
		}
		title := a.Title
		for a.Version = 1; a.Version <= int64(1+rng.IntN(3)); a.Version++ {
			at := a.Published.Add(time.Duration(a.Version) * time.Hour)
			withdrawal := events.Withdrawal{Site: a.Site, ID: a.ID, Version: a.Version, Reason: "Đăng nhầm.", Status: events.WithdrawnGone, WithdrawnAt: at, Erase: i%3 > 0}
			if a.Version > 1 {
				a.Title, a.Updated = fmt.Sprintf("%s (bản %d)", title, a.Version), &at
				switch rng.IntN(8) {
				case 0:
					a.Correction = "Bản trước ghi sai giờ."
				case 1:
					a.Categories = []events.Category{{ID: "tin-tuc", Label: "Tin tức"}}
				case 2:
					say(events.NewWithdrawn(source, withdrawal)) // in place of this version
					continue
				}
			}
			say(events.NewPublished(source, a))
			if rng.IntN(12) == 0 {
				say(events.NewWithdrawn(source, withdrawal)) // of this version
			}
		}
	}
	for range len(all) / 7 {
		say(all[rng.IntN(len(all))])
	}
	// Somewhat in order, as from a CMS with a queue and some workers.
	place := make(map[int]float64, len(all))
	order := make([]int, len(all))
	for i := range all {
		order[i] = i
		place[i] = float64(i) + rng.Float64()*float64(len(all))/2
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(place[a], place[b]) })
	shuffled := make([]events.Event, len(all))
	for i, at := range order {
		shuffled[i] = all[at]
	}
	return shuffled
}

// ledger is what the CMS was told is stored.
type ledger struct {
	mu     sync.Mutex
	stored map[streams.Key][]events.Event
}

func newLedger() *ledger { return &ledger{stored: map[streams.Key][]events.Event{}} }

func (l *ledger) add(ev events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := streams.KeyOf(ev.Site(), ev.ArticleID())
	l.stored[key] = append(l.stored[key], ev)
}

// wanted is how an article has to end, by the contract alone.
type wanted struct {
	key    streams.Key
	guid   string
	number int64
	// shown is the snapshot to be shown; nil: the article is withdrawn.
	shown *events.Article
	// ever are all its snapshots.
	ever []*events.Article
}

// wanted gives every article that anything was said about.
func (l *ledger) wanted() map[streams.Key]wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[streams.Key]wanted{}
	for key, said := range l.stored {
		w := wanted{key: key, guid: article.NewGUID(said[0].Site(), said[0].ArticleID())}
		for _, ev := range said {
			if ev.Article != nil {
				w.ever = append(w.ever, ev.Article)
			}
			switch {
			case ev.Version() > w.number:
				w.number, w.shown = ev.Version(), ev.Article
			case ev.Version() == w.number && ev.Withdrawal != nil: // of that version
				w.shown = nil
			}
		}
		all[key] = w
	}
	return all
}

const (
	// publishers is how many events the CMS publishes at once.
	publishers = 32
	// publishFor is how long it tries each before it begins anew.
	publishFor = 5 * time.Second
)

// publish says events, one every pause at most, until all are stored. What is not acknowledged
// is said again.
func publish(t *testing.T, js jetstream.JetStream, story []events.Event, pause time.Duration, into *ledger) {
	t.Helper()
	p := events.NewPublisher(js, events.WithRetryFor(publishFor))
	next := make(chan events.Event)
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for ev := range next {
				for {
					_, err := p.Publish(t.Context(), ev)
					if err == nil {
						into.add(ev)
						break
					}
					if errors.Is(err, context.Canceled) {
						return
					}
					if !errors.Is(err, events.ErrUnavailable) {
						t.Errorf("publish: %v", err)
						break
					}
				}
			}
		})
	}
	for _, ev := range story {
		select {
		case next <- ev:
		case <-t.Context().Done():
		}
		time.Sleep(pause) // the CMS's own pace
	}
	close(next)
	all.Wait()
}
