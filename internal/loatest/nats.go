// Package loatest runs the real parts that tests need: an embedded nats-server on disk, an
// embedded S3 server, fake CMSs and portals that speak real HTTP on loopback.
package loatest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/streams"
)

// NATS starts an embedded server in a directory of the test's own, with Loa's streams.
func NATS(t testing.TB) jetstream.JetStream {
	t.Helper()
	_, js := NATSAt(t, t.TempDir())
	return js
}

// NATSAt is [NATS] in a directory that may hold a former server's state.
func NATSAt(t testing.TB, dir string) (*embedded.NATS, jetstream.JetStream) {
	t.Helper()
	return startNATS(t, embedded.NATSOptions{Dir: dir})
}

// ServedNATS is [NATS] that other processes reach.
func ServedNATS(t testing.TB) (*embedded.NATS, jetstream.JetStream) {
	t.Helper()
	return startNATS(t, embedded.NATSOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
}

func startNATS(t testing.TB, o embedded.NATSOptions) (*embedded.NATS, jetstream.JetStream) {
	t.Helper()
	srv, err := embedded.StartNATS(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js := JetStream(t, nc)
	if err := streams.Setup(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	return srv, js
}

// JetStream is the context of a connection.
func JetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Together gives n names of targets that are in one group, and so share flags.
func Together(kind, prefix string, n int) []string {
	names := []string{prefix + "0"}
	for i := 1; len(names) < n; i++ {
		name := fmt.Sprint(prefix, i)
		if streams.FlagGroup(kind, name) == streams.FlagGroup(kind, names[0]) {
			names = append(names, name)
		}
	}
	return names
}

// Left is how many messages a consumer still has to give out or to have acknowledged, of a
// stream whose messages it reads all. What it says of itself lags: a message that was stored
// just now is not among those that it calls pending.
func Left(t testing.TB, js jetstream.JetStream, stream, consumer string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info := consumerInfo(t, js, stream, consumer)
	left := info.NumPending + uint64(info.NumAckPending)
	if left == 0 && info.Delivered.Stream < s.CachedInfo().State.LastSeq {
		return 1
	}
	return left
}

// Reading waits until somebody reads a consumer, which is there from then on.
func Reading(t testing.TB, js jetstream.JetStream, stream, consumer string) {
	t.Helper()
	Eventually(t, consumer+" is read", func() bool {
		_, err := js.Consumer(t.Context(), stream, consumer)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return false
		}
		info := consumerInfo(t, js, stream, consumer)
		return info.NumWaiting > 0 || info.Delivered.Consumer > 0
	})
}

func consumerInfo(t testing.TB, js jetstream.JetStream, stream, consumer string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := js.Consumer(t.Context(), stream, consumer)
	if err != nil {
		t.Fatalf("consumer %s of %s: %v", consumer, stream, err)
	}
	return c.CachedInfo()
}

// patience is how long a test waits for what must happen; only a failing test takes so long.
const patience = 2 * time.Minute

// Eventually waits until ok answers true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
