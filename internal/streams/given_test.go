package streams_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestWhatWasGivenOutIsGivenOutAgain(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	c, err := streams.IntakeConsumer(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	for i := range n {
		if _, err := js.Publish(t.Context(), events.SubjectPrefix+"ward."+fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	given := func() (all []jetstream.Msg) {
		t.Helper()
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(streams.AckWait/5)) // long before it would be by itself
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			all = append(all, m)
			if len(all) == n {
				break
			}
		}
		return all
	}
	first := given()
	for _, m := range first[:n/2] {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := streams.GiveOutAgain(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	second := given()
	if len(first) != n || len(second) != n-n/2 || second[0].Subject() != first[n/2].Subject() || time.Since(began) > streams.AckWait {
		t.Errorf("%d were given out, and %d of them again after %s; expected %d and %d", len(first), len(second), time.Since(began), n, n-n/2)
	}
}
