package intake_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

// atOnce is the intake's own concurrency.
const atOnce = 128

// BenchmarkIntake takes in a backlog of articles of 3 to 4 KB without pictures. The floor is
// what must be durable of them in any case: a message in the log and an object in S3 for each,
// written at the same concurrency and with nothing else done.
func BenchmarkIntake(b *testing.B) {
	env := newBench(b)
	env.objects = loatest.Objects(b)
	var backlog []events.Event
	for a := range sample.Many(b.N) {
		a.Site = siteID
		backlog = append(backlog, events.NewPublished("https://cms.example.vn", a))
	}
	env.publishAll(backlog)

	b.ResetTimer()
	stop := env.run(func(o *intake.Options) { o.Retry = time.Second })
	loatest.Eventually(b, "the backlog is taken in", func() bool { return loatest.Left(b, env.js, streams.Events, "intake") == 0 })
	b.StopTimer()
	took := b.Elapsed()
	stop()
	env.noLetters()

	floor := env.floor()
	b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/floor.Seconds(), "floor/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

// floor writes what the log and S3 hold once more, under other names, and gives the time it takes.
func (b *bench) floor() time.Duration {
	b.Helper()
	var bodies [][]byte
	for e, err := range b.log.Walk(b.Context(), "*", 0) {
		if err != nil {
			b.Fatal(err)
		}
		data, err := e.Encode()
		if err != nil {
			b.Fatal(err)
		}
		bodies = append(bodies, data)
	}
	work := make(chan int)
	var writers sync.WaitGroup
	began := time.Now()
	for range atOnce {
		writers.Go(func() {
			for i := range work {
				key := streams.KeyOf("san", fmt.Sprint(i))
				if _, err := b.js.Publish(b.Context(), streams.ArticleSubject(key), bodies[i], jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
					b.Error(err)
				}
				if _, err := b.objects.Put(b.Context(), key.Object(), bodies[i], objects.Meta{ContentType: "application/json"}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range bodies {
		work <- i
	}
	close(work)
	writers.Wait()
	return time.Since(began)
}
