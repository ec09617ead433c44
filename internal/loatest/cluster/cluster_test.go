package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestMain(m *testing.M) {
	Main()
	loatest.Main(m)
}

// A node fails that leads: the others hold what was acknowledged, and go on.
func TestNothingAcknowledgedIsLostWithANode(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	t.Parallel()
	c := Start(t)
	js := c.JetStream(t)
	if err := streams.Setup(t.Context(), js, streams.Options{Replicas: Size}); err != nil {
		t.Fatal(err)
	}
	stored := 0
	say := func() {
		subject := fmt.Sprintf("loa.article.ward.a%d", stored)
		loatest.Eventually(t, "a message is acknowledged", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := js.Publish(ctx, subject, []byte("x"), jetstream.WithRetryAttempts(0))
			return err == nil
		})
		stored++
	}
	say()
	for _, fail := range []struct {
		how  func(*Node)
		back func(*Node)
	}{
		{(*Node).Kill, func(n *Node) { n.Start(t) }},
		{(*Node).Pause, (*Node).Resume},
	} {
		leader := c.Leader(t, streams.Articles)
		fail.how(leader)
		say()
		if next := c.Leader(t, streams.Articles); next == leader {
			t.Errorf("%s leads although it is gone", next.Name)
		}
		fail.back(leader)
		c.Whole(t)
		say()
	}
	s, err := js.Stream(t.Context(), streams.Articles)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.NumSubjects; n != uint64(stored) {
		t.Errorf("%d subjects, want %d", n, stored)
	}
}

// A replicated stream tells of conflicts by other codes than a single one, and by several.
func TestConflictsAreToldFromFailures(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a cluster")
	}
	t.Parallel()
	c := Start(t)
	js := c.JetStream(t)
	if err := streams.Setup(t.Context(), js, streams.Options{Replicas: Size}); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), streams.WorkersBucket)
	if err != nil {
		t.Fatal(err)
	}
	const writers, writes = 8, 10
	var all sync.WaitGroup
	var conflicts atomic.Int64
	for range writers {
		all.Go(func() {
			for range writes {
				for stored := false; !stored; {
					var last uint64
					if e, err := kv.Get(t.Context(), "x"); err == nil {
						last = e.Revision()
					}
					_, err := kv.Update(t.Context(), "x", []byte("x"), last)
					switch {
					case err == nil:
						stored = true
					case streams.IsConflict(err):
						conflicts.Add(1)
					default:
						t.Errorf("not known for a conflict: %v", err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	if conflicts.Load() == 0 {
		t.Error("there were no conflicts")
	}
}
