package bulletins_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
)

const (
	benchPortals = 601
	benchWorkers = 256
	// benchAhead is up to how many waiting flags the next article is published: enough to keep
	// the workers busy.
	benchAhead    = 2 * benchPortals
	benchBulletin = 4 << 10 // bytes of the article's text in a bulletin
)

// sinkProcess is a portal that reads and forgets, in a process of its own until its standard
// input ends.
func sinkProcess() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// sink starts the process and gives its address.
func sink(b testing.TB) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOA_TEST_PROCESS=sink")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// BenchmarkPush601 sends one article to 601 portals in every iteration: flags raised and lowered
// through the engine, intents and receipts durable. The floor is a loop that does nothing but
// sign and POST the same bulletins, at the same concurrency, to the same sink.
func BenchmarkPush601(b *testing.B) {
	addr := sink(b)
	s := stopped(b, loatest.NATS(b))
	var ps []portal.Portal
	for i := range benchPortals {
		ps = append(ps, portal.Portal{Name: fmt.Sprintf("p%03d", i), URL: fmt.Sprintf("http://%s/%d", addr, i), Allow: loopback})
	}
	if err := s.portals.Apply(b.Context(), ps, "bench"); err != nil {
		b.Fatal(err)
	}
	ps = s.portals.All()
	summary := strings.Repeat("Trạm y tế phường tiêm nhắc. ", benchBulletin/34)
	article := func(id string) *article.Article {
		a := text(id, 1)
		a.Summary = summary
		return a
	}
	s.run(b, benchWorkers, reconcile.Pauses{})
	s.publish(b, article("first")) // opens the connections
	s.level(b)

	floor := bareLoop(b, ps, max(b.N, 10)*benchPortals)
	b.ResetTimer()
	before := s.pushed.Load()
	waiting := func(published int) int64 { return int64(published*benchPortals) - (s.pushed.Load() - before) }
	for i := range b.N {
		for waiting(i) > benchAhead {
			time.Sleep(time.Millisecond)
		}
		s.publish(b, article(fmt.Sprint("bai-", i)))
	}
	for waiting(b.N) > 0 {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	if r := s.receipt(b, "p600", "bai-0"); r.Holds.Number != 1 {
		b.Fatalf("not delivered: %+v", r)
	}
	pushes := float64(b.N*benchPortals) / b.Elapsed().Seconds()
	b.ReportMetric(pushes, "pushes/s")
	b.ReportMetric(floor, "floor/s")
	b.ReportMetric(pushes/floor, "ratio")
}

// bareLoop gives the signed POSTs a second that this machine does.
func bareLoop(b *testing.B, ps []portal.Portal, n int) float64 {
	b.Helper()
	body := bytes.Repeat([]byte("x"), benchBulletin+1<<10)
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 2048, MaxIdleConnsPerHost: 2048}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range benchWorkers {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				p := ps[i%len(ps)]
				req, _ := http.NewRequest(http.MethodPost, p.URL, bytes.NewReader(body))
				id := fmt.Sprint("msg_", i)
				now := time.Now()
				signature, _ := events.Sign(p.Secrets[0].Reveal(), id, now, body)
				req.Header.Set(events.HeaderID, id)
				req.Header.Set(events.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
				req.Header.Set(events.HeaderSignature, signature)
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(began).Seconds()
}
