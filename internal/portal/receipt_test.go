package portal_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/streams"
)

func receipts(t testing.TB, js jetstream.JetStream) *portal.Receipts {
	t.Helper()
	rs, err := portal.OpenReceipts(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestReceiptComesBackAsItWasStored(t *testing.T) {
	t.Parallel()
	rs := receipts(t, loatest.NATS(t))
	key := streams.KeyOf("ward", "tin 1")
	r, ok, err := rs.Get(t.Context(), "east", key)
	if err != nil || ok || r.Portal != "east" || r.Key != key || r.Touched() {
		t.Fatalf("before: %+v, %v, %v", r, ok, err)
	}
	r.GUID, r.Holds, r.Status = "urn:x", article.Version{Number: 3, Revision: 1}, events.StatusLive
	r.At, r.LastAttempt = time.Now().UTC().Round(0), time.Now().UTC().Round(0)
	r.WebhookID, r.Attempts, r.LastStatus, r.LastError = "msg_1", 2, 204, "lỗi"
	stored, err := rs.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for name, get := range map[string]func() (portal.Receipt, bool, error){
		"any":    func() (portal.Receipt, bool, error) { return rs.Get(t.Context(), "east", key) },
		"leader": func() (portal.Receipt, bool, error) { return rs.Latest(t.Context(), "east", key) },
	} {
		if got, ok, err := get(); err != nil || !ok || got != stored {
			t.Errorf("%s: got %+v, %v, %v\nexpected %+v", name, got, ok, err, stored)
		}
	}
}

// Many callers at once: each has its own answer, and each receipt is stored over the one that
// its caller read.
func TestConcurrentReceiptsShareBatches(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	const callers, versions = 200, 5
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			key := streams.KeyOf("ward", fmt.Sprint(i))
			for v := range versions {
				r, ok, err := rs.Get(t.Context(), "east", key)
				if err != nil || ok != (v > 0) || r.Key != key || r.Holds.Number != int64(v) {
					t.Errorf("read %d of %s: %+v, %v, %v", v, key, r, ok, err)
					return
				}
				r.Holds.Number++
				stored, err := rs.Put(t.Context(), r)
				if err != nil {
					t.Errorf("store %d of %s: %v", v, key, err)
					return
				}
				if again, _, err := rs.Get(t.Context(), "east", key); err != nil || again != stored {
					t.Errorf("%s: stored as %+v, read as %+v, %v", key, stored, again, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestReceiptIsNotStoredOverOneThatWasNotRead(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	key := streams.KeyOf("ward", "1")
	first, err := rs.Put(t.Context(), portal.Receipt{Portal: "east", Key: key, Holds: article.Version{Number: 2}})
	if err != nil {
		t.Fatal(err)
	}
	// The stale one is in conflict wherever it lands, the others around it are not.
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			r := portal.Receipt{Portal: fmt.Sprint("p", i), Key: key, Holds: article.Version{Number: 1}}
			want := error(nil)
			if i == 25 {
				r.Portal, want = "east", portal.ErrConflict
			}
			if _, err := rs.Put(t.Context(), r); !errors.Is(err, want) {
				t.Errorf("%s: got %v, expected %v", r.Portal, err, want)
			}
		})
	}
	wg.Wait()
	if got, _, err := rs.Get(t.Context(), "east", key); err != nil || got != first {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range 50 {
		if _, ok, err := rs.Latest(t.Context(), fmt.Sprint("p", i), key); err != nil || ok == (i == 25) {
			t.Errorf("p%d: %v, %v", i, ok, err)
		}
	}
}

func TestCloseStoresWhatWasBegun(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	errs := make(chan error, 100)
	var stored sync.Map
	for i := range 100 {
		go func() {
			r, err := rs.Put(t.Context(), portal.Receipt{Portal: fmt.Sprint("p", i), Key: "ward.1"})
			if err == nil {
				stored.Store(r.Portal, true)
			}
			errs <- err
		}()
	}
	<-errs
	rs.Close()
	for range 99 {
		<-errs
	}
	again := receipts(t, js)
	for i := range 100 {
		name := fmt.Sprint("p", i)
		_, want := stored.Load(name)
		if _, ok, err := again.Get(t.Context(), name, "ward.1"); err != nil || ok != want {
			t.Errorf("%s: there %v, promised %v, %v", name, ok, want, err)
		}
	}
}

func BenchmarkReceipts(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			rs := receipts(b, loatest.NATS(b))
			work := make(chan int)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := range work {
						_, err := rs.Put(b.Context(), portal.Receipt{Portal: fmt.Sprint("p", i), Key: "ward.1", WebhookID: "msg_0123456789abcdef0123456789abcdef"})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "receipts/s")
		})
	}
}

func TestManyReceiptsAreReadAtOnce(t *testing.T) {
	t.Parallel()
	rs := receipts(t, loatest.NATS(t))
	const pairs = 1200 // more than one exchange takes
	var ask []portal.Receipt
	var wg sync.WaitGroup
	for i := range pairs {
		r := portal.Receipt{Portal: fmt.Sprintf("p%d", i), Key: streams.KeyOf("ward", "tin")}
		ask = append(ask, r)
		if i%2 == 0 {
			r.Holds = article.Version{Number: int64(i + 1)}
			wg.Go(func() {
				if _, err := rs.Put(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	got, err := rs.GetMany(t.Context(), ask)
	if err != nil || len(got) != pairs {
		t.Fatalf("%d receipts, %v", len(got), err)
	}
	for i, r := range got {
		want := article.Version{}
		if i%2 == 0 {
			want.Number = int64(i + 1)
		}
		if r.Portal != ask[i].Portal || r.Key != ask[i].Key || r.Holds != want || (r.Seq > 0) != (i%2 == 0) {
			t.Fatalf("%d: got %+v", i, r)
		}
	}
	names, err := rs.Holders(t.Context(), ask[0].Key)
	if err != nil || len(names) != pairs/2 || names[0] != "p0" {
		t.Errorf("%d holders, %v", len(names), err)
	}
}
