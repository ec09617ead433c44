package intake_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

// articles gives n articles in the given number of versions each, shuffled.
func articles(n int, versions int64) (all []events.Event) {
	for i := range n {
		for v := range versions {
			all = append(all, snapshot(fmt.Sprintf("tin-%d", i), v+1))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// publishAll publishes from several CMSs at once.
func (b *bench) publishAll(all []events.Event) {
	b.Helper()
	work := make(chan events.Event)
	var cms sync.WaitGroup
	for range 8 {
		cms.Go(func() {
			for ev := range work {
				if _, err := b.cms.Publish(b.Context(), ev); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, ev := range all {
		work <- ev
	}
	close(work)
	cms.Wait()
}

func (b *bench) allAt(n int, version string) {
	b.Helper()
	seen := 0
	for e, err := range b.log.Walk(b.Context(), "*", 0) {
		if err != nil {
			b.Fatal(err)
		}
		seen++
		if e.Version.String() != version {
			b.Errorf("%s is at version %s, want %s", e.Key, e.Version, version)
		}
	}
	if seen != n {
		b.Errorf("%d articles in the log, want %d", seen, n)
	}
	if stored := b.storeEqualsLog(); stored != n {
		b.Errorf("%d articles in S3, want %d", stored, n)
	}
}

func TestShuffledVersionsEndAtTheNewest(t *testing.T) {
	if testing.Short() {
		t.Skip("publishes hundreds of versions")
	}
	t.Parallel()
	b := start(t)
	b.publishAll(articles(500, 3))
	b.settled()
	b.allAt(500, "3")
	b.noLetters()
}

func TestTwoIntakesAgree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run()
	b.run()
	b.publishAll(articles(20, 12))
	b.settled()
	b.allAt(20, "12")
	b.noLetters()
}

func TestAnotherIntakeGoesOnWhereOneStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const n = 250 // more than are dealt with at once, and than a reader has been sent beside
	for i := range n {
		b.publish(snapshot(fmt.Sprintf("tin-%d", i), 1, withPicture(photo)))
	}
	goOn := make(chan struct{})
	b.pictures.set(photo, func(ctx context.Context, img events.Image) (article.Image, error) {
		<-goOn
		return there(ctx, img)
	})
	stop := b.run(func(o *intake.Options) { o.Metrics = b.counts })
	loatest.Eventually(t, "it has its hands full", func() bool { return b.pictures.times(photo) == atOnce })
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	loatest.Eventually(t, "nothing more is asked for", func() bool {
		c, err := b.js.Consumer(t.Context(), streams.Events, "intake")
		return err == nil && c.CachedInfo().NumWaiting == 0
	})
	close(goOn)
	<-stopped
	if done := b.count("applied"); done != atOnce {
		t.Errorf("%d were finished, want the %d that had been begun", done, atOnce)
	}

	c, err := b.js.Consumer(t.Context(), streams.Events, "intake")
	if err != nil {
		t.Fatal(err)
	}
	var handedBack []jetstream.Msg
	loatest.Eventually(t, "what the first one had been sent is handed back", func() bool {
		free, err := c.FetchNoWait(n)
		if err != nil {
			t.Fatal(err)
		}
		for m := range free.Messages() {
			handedBack = append(handedBack, m)
		}
		return len(handedBack) == n-atOnce
	})
	for _, m := range handedBack {
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}

	b.run()
	b.settled()
	b.allAt(n, "1")
	b.noLetters()
}

func TestEventsWaitWhileS3IsAway(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.s3.Set(faultproxy.Status(http.StatusServiceUnavailable))
	b.pictures.set(photo, failing(objects.ErrUnavailable))
	const n = 20
	for i := range n {
		ev := snapshot(fmt.Sprintf("tin-%d", i), 1)
		if i%2 == 0 {
			ev = snapshot(fmt.Sprintf("tin-%d", i), 1, withPicture(photo))
		}
		b.publish(ev)
	}
	loatest.Eventually(t, "all are tried", func() bool { return b.count("retried") >= n })
	b.noLetters()
	if b.s3.Requests() == 0 {
		t.Error("S3 was not asked")
	}
	b.stays("tin-0", "") // its picture is not there: nobody may link to it
	b.s3.Set(nil)
	b.pictures.set(photo, there)
	b.settled()
	b.allAt(n, "1")
	b.noLetters()
}

func TestManyLargeEventsAreTakenInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 72 MB")
	}
	t.Parallel()
	b := start(t)
	data := make([]byte, 6<<20-64<<10) // 8 MiB in base64
	for i := range 9 {                 // more than are held at once
		b.publish(snapshot(fmt.Sprintf("tin-%d", i), 1, func(a *events.Article) {
			a.Images = []events.Image{{Data: data, ContentID: "anh", Role: events.RoleLead, Alt: "Ảnh"}}
		}))
	}
	b.settled()
	b.allAt(9, "1")
	b.noLetters()
}
