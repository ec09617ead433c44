package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/streams"
)

type reconcilerFunc func(ctx context.Context, target string, flags []Flag) error

func (f reconcilerFunc) Reconcile(ctx context.Context, target string, flags []Flag) error {
	return f(ctx, target, flags)
}

// TestAFlagIsSetAsideOnceHoweverLongThatTakes: while a dead letter is being stored, its flag still
// lies in the stream, among those that a lane looks through.
func TestAFlagIsSetAsideOnceHoweverLongThatTakes(t *testing.T) {
	t.Parallel()
	srv, js := loatest.ServedNATS(t)
	var refused, others atomic.Int64
	e, err := New(t.Context(), js, Options{Kind: "portal", Reconciler: reconcilerFunc(func(_ context.Context, _ string, flags []Flag) error {
		if flags[0].Key == "s.bad" {
			refused.Add(1)
			return Permanent(errors.New("cannot be built"))
		}
		others.Add(1)
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	// Dead letters go another way, which can be slow.
	link := faultproxy.StartLink(t, strings.TrimPrefix(srv.ClientURL(), "nats://"))
	slow, err := nats.Connect("nats://"+link.Addr, srv.Credentials().Loa.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slow.Close)
	if e.dead, err = streams.OpenDead(t.Context(), loatest.JetStream(t, slow)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = e.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })

	raise := func(key string) {
		if err := Raise(t.Context(), js, []Flag{{Class: streams.Normal, Kind: "portal", Target: "p", Key: key}}); err != nil {
			t.Fatal(err)
		}
	}
	link.Silence()
	raise("s.bad")
	loatest.Eventually(t, "it is refused", func() bool { return refused.Load() > 0 })
	for n := int64(1); n <= 5; n++ { // looks, while the dead letter is on its way
		e.Wake("p")
		raise("s.good")
		loatest.Eventually(t, "another is reconciled", func() bool { return others.Load() >= n })
	}
	link.Restore()
	var letters int
	loatest.Eventually(t, "all flags are lowered", func() bool {
		letters = 0
		for _, err := range e.dead.List(t.Context(), "portal", "") {
			if err != nil {
				t.Fatal(err)
			}
			letters++
		}
		waiting, err := CountWaiting(t.Context(), js, "portal", nil)
		return err == nil && len(waiting) == 0 && letters > 0
	})
	if letters != 1 || refused.Load() != 1 {
		t.Errorf("%d dead letters, and refused %d times; expected 1, once", letters, refused.Load())
	}
}
