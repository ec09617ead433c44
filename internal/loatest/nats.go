// Package loatest runs the real parts that tests need: an embedded nats-server on disk, an
// embedded S3 server, fake CMSs and portals that speak real HTTP on loopback.
package loatest

import (
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
	srv, err := embedded.StartNATS(t.Context(), embedded.NATSOptions{Dir: dir})
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

// patience is how long a test waits for what must happen; only a failing test takes so long.
const patience = 30 * time.Second

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
