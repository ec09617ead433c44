package bulletins_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// A worker is killed again and again while articles change and two portals are told in digests: at
// random moments, and when a portal has kept a digest that it has not answered yet. Nothing is
// lost, no portal goes back, and there is no more than one digest for each of the times, but for
// what is left of those that a kill cut short.
func TestDigestsSurviveKills(t *testing.T) {
	t.Parallel()
	const every = 2 * time.Second
	edits := 150
	if testing.Short() {
		edits = 40
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	srv, js := loatest.ServedNATS(t)
	s := stopped(t, js)
	crash, over := make(chan chan struct{}), make(chan struct{})
	names := []string{"quan", "nhanh"}
	got := make([]posts, len(names))
	receivers := make([]*receiver.Receiver, len(names))
	for i, name := range names {
		receivers[i] = s.receive(t, portal.Portal{Name: name, Digest: &portal.Digest{At: "*/2 * * * * *", Most: 200, Express: i == 1}}, receiver.Options{
			Answer: got[i].then(func(n int, _ *http.Request) *receiver.Fault {
				if n%3 != 0 {
					return nil
				}
				killed := make(chan struct{})
				select {
				case crash <- killed:
					<-killed
					return &receiver.Fault{Keep: true, Do: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}
				case <-over:
					return nil
				}
			})})
	}

	began, kills := time.Now(), 0
	kill := startWorker(t, srv)
	again := func() {
		kill()
		kills++
		kill = startWorker(t, srv)
	}
	version, live := map[string]int64{}, map[string]bool{}
	for range edits {
		id := fmt.Sprint("tin-", rng.IntN(20))
		version[id]++
		if live[id] && rng.IntN(4) == 0 {
			live[id] = false
			s.publish(t, withdrawal(id, version[id]))
		} else {
			live[id] = true
			s.publish(t, text(id, version[id]))
		}
		select {
		case killed := <-crash:
			kill()
			close(killed)
			again()
		case <-time.After(80 * time.Millisecond): // the CMS's own pace
			if rng.IntN(20) == 0 {
				again()
			}
		}
	}
	close(over)
	s.level(t)
	times := int(time.Since(began)/every) + 2

	for i, name := range names {
		bodies, latest := map[string]string{}, map[string]int64{}
		digests, cut := map[string]bool{}, 0
		for _, p := range got[i].list() {
			id := p.header.Get(events.HeaderID)
			if had, ok := bodies[id]; ok && had != string(p.body) {
				t.Errorf("portal %s got two different bulletins with the id %s", name, id)
			} else if ok {
				cut++
			}
			bodies[id] = string(p.body)
			b, err := events.ParseBulletin(p.body)
			if err != nil {
				t.Fatal(err)
			}
			told := []events.BulletinArticle{b.Data}
			if b.Type == events.BulletinDigest {
				d, err := events.ParseDigest(p.body)
				if err != nil {
					t.Fatal(err)
				}
				told, digests[id] = d.Data.Articles, true
			}
			for _, a := range told {
				if a.Version < latest[a.ID] {
					t.Errorf("portal %s was told of version %d of %s after %d", name, a.Version, a.ID, latest[a.ID])
				}
				latest[a.ID] = a.Version
			}
		}
		for id, v := range version {
			h, ok := receivers[i].Get(guid(id))
			b := h.Bulletin.Data
			switch {
			case !ok && live[id]:
				t.Errorf("portal %s was never told of %s", name, id)
			case ok && (b.Version != v || (b.Status == events.StatusLive) != live[id]):
				t.Errorf("portal %s holds %s in version %d, %s; want version %d, live: %v", name, id, b.Version, b.Status, v, live[id])
			}
		}
		if len(digests) > times+kills || cut > kills {
			t.Errorf("portal %s got %d digests, and %d bulletins again, in %d times with %d kills", name, len(digests), cut, times, kills)
		}
		if n := receivers[i].Counts().Regressions; n > 0 {
			t.Errorf("portal %s was sent %d articles older than what it held", name, n)
		}
		t.Logf("portal %s: %d digests in %d times, %d of %d bulletins again; killed %d times", name, len(digests), times, cut, len(got[i].list()), kills)
	}
	if letters := s.dead(t); len(letters) > 0 {
		t.Errorf("dead letters %+v", letters)
	}
}
