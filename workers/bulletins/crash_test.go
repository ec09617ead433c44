package bulletins_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// How a worker's process finds its NATS.
const (
	natsURL    = "LOA_TEST_NATS_URL"
	natsSecret = "LOA_TEST_NATS_SECRET"
)

// workerProcess is a worker on its engine, in a process of its own until it is killed, or until
// the test that started it is gone.
func workerProcess() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	login := embedded.Login{Name: embedded.UserLoa, Secret: embedded.Secret(os.Getenv(natsSecret))}
	nc, err := nats.Connect(os.Getenv(natsURL), login.Options()...)
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	s, err := open(context.Background(), js)
	must(err)
	s.instance = "worker" // a test has one at a time: the next takes over from one that was killed at once
	e, err := s.engine(context.Background(), 0, quick)
	must(err)
	go func() { must(e.Run(context.Background())) }()
	go func() { must(s.worker.Times(context.Background())) }()
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// startWorker runs a worker in a process of its own. kill ends it by SIGKILL, and returns when
// it is gone.
func startWorker(t *testing.T, srv *embedded.NATS) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOA_TEST_PROCESS=worker", natsURL+"="+srv.ClientURL(),
		natsSecret+"="+srv.Credentials().Loa.Secret.Reveal())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
	})
	t.Cleanup(kill)
	return kill
}

// A worker is killed when a portal has kept two bulletins but not answered yet: nobody knows
// that they arrived. One of the articles is withdrawn after that.
func TestWhatAKilledWorkerHadDeliveredIsRepeatedOrWithdrawn(t *testing.T) {
	t.Parallel()
	srv, js := loatest.ServedNATS(t)
	s := stopped(t, js)
	kill := startWorker(t, srv)
	var got posts
	var both sync.WaitGroup
	both.Add(2)
	r := s.receive(t, portal.Portal{Name: "quan"}, receiver.Options{Answer: got.then(func(n int, _ *http.Request) *receiver.Fault {
		if n != 2 && n != 3 {
			return nil
		}
		return &receiver.Fault{Keep: true, Do: func(http.ResponseWriter, *http.Request) {
			both.Done()
			both.Wait()
			kill()
			panic(http.ErrAbortHandler)
		}}
	})})
	s.publish(t, text("truoc", 1)) // a portal is sent two at once when it has taken one
	s.level(t)
	s.publish(t, text("rut", 1))
	s.publish(t, text("giu", 1))
	both.Wait()
	kill()

	for _, id := range []string{"rut", "giu"} {
		if c := s.receipt(t, "quan", id); c.Seq != 0 {
			t.Fatalf("receipt of %s: %+v, expected none", id, c)
		}
	}
	s.publish(t, withdrawal("rut", 2))
	s.run(t, 0, quick)
	s.level(t)

	if h, _ := r.Get(guid("rut")); h.Bulletin.Data.Status != events.StatusWithdrawn || h.Bulletin.Data.Version != 2 {
		t.Errorf("the portal still shows %+v", h.Bulletin.Data)
	}
	if h, _ := r.Get(guid("giu")); h.Bulletin.Data.Status != events.StatusLive {
		t.Errorf("the portal no longer shows %+v", h.Bulletin.Data)
	}
	if c := r.Counts(); c != (receiver.Counts{Received: 5, Kept: 4, Duplicates: 1}) {
		t.Errorf("counts %+v: expected one repeat, told by its id", c)
	}
	if c := s.receipt(t, "quan", "giu"); c.Holds != (article.Version{Number: 1}) || c.MayHold != (article.Version{}) {
		t.Errorf("receipt %+v", c)
	}
}
