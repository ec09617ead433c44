package bulletins_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// newYear is a time that does not come while tests run.
const newYear = "0 0 0 1 1 *"

// due does what the time of a digest does.
func (s *stack) due(t testing.TB, name string) {
	t.Helper()
	err := reconcile.Raise(t.Context(), s.js, []reconcile.Flag{{Class: streams.Express, Kind: "portal", Target: name, Key: "digest"}})
	if err != nil {
		t.Fatal(err)
	}
}

// times runs the worker's clock.
func (s *stack) times(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.worker.Times(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && s.js.Conn().IsConnected() {
			t.Errorf("times: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// digests are the digests among the posts, with the numbers of the articles in each.
func (ps *posts) digests(t testing.TB) (all []events.Digest) {
	t.Helper()
	for _, p := range ps.list() {
		if b, err := events.ParseBulletin(p.body); err != nil || b.Type != events.BulletinDigest {
			continue
		}
		d, err := events.ParseDigest(p.body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func idsOf(d events.Digest) (ids []string) {
	for _, a := range d.Data.Articles {
		ids = append(ids, fmt.Sprintf("%s v%d %s", a.ID, a.Version, a.Status))
	}
	return ids
}

// TestADigestThatIsMadeUpForHoldsWhatCameMeanwhile: also where flags are shared, of which the worker has
// yet to give anything out.
func TestADigestThatIsMadeUpForHoldsWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	s := stopped(t, loatest.NATS(t))
	names := loatest.Together("portal", "quan-", 3)
	var got [2]posts
	for i := range got {
		s.receive(t, portal.Portal{Name: names[i], Digest: &portal.Digest{At: newYear, Most: 50}}, receiver.Options{Answer: got[i].then(nil)})
	}
	s.receive(t, portal.Portal{Name: names[2]}, receiver.Options{})
	const articles = 40
	for i := range articles {
		s.publish(t, text(fmt.Sprint("tin-", i), 1))
	}
	for i := range got {
		s.due(t, names[i])
	}
	s.run(t, 0, quick)
	s.level(t)
	for i := range got {
		all := got[i].digests(t)
		if len(all) != 1 || len(idsOf(all[0])) != articles {
			t.Errorf("%s got %d digests, want one of %d articles", names[i], len(all), articles)
		}
	}
}

func TestADigestTellsOfAllThatChangedInTheNewestVersion(t *testing.T) {
	t.Parallel()
	s := started(t)
	var got posts
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear, Most: 50}}, receiver.Options{Answer: got.then(nil)})
	s.publish(t, text("mot", 1))
	s.publish(t, text("hai", 1))
	s.publish(t, text("ba", 1))
	s.due(t, "quan")
	s.level(t)
	s.publish(t, text("bon", 1))
	s.publish(t, text("hai", 2))
	s.publish(t, text("hai", 3))
	s.publish(t, withdrawal("ba", 2))
	s.publish(t, text("nam", 1))
	s.publish(t, withdrawal("nam", 2)) // it never came there
	loatest.Eventually(t, "the urgent ones wait with the others", func() bool {
		n, err := reconcile.CountHeld(t.Context(), s.js, "portal", "quan")
		return err == nil && n == 4 && s.flags(t) == 4
	})
	s.due(t, "quan")
	s.level(t)

	all := got.digests(t)
	if len(all) != 2 || len(got.list()) != 2 {
		t.Fatalf("%d posts, %d of them digests; expected 2 digests", len(got.list()), len(all))
	}
	if want := []string{"mot v1 live", "hai v1 live", "ba v1 live"}; !slices.Equal(idsOf(all[0]), want) {
		t.Errorf("the first tells of %q, expected %q", idsOf(all[0]), want)
	}
	second := idsOf(all[1])
	slices.Sort(second) // where the withdrawal comes depends on when its flag was put with the others
	if want := []string{"ba v2 withdrawn", "bon v1 live", "hai v3 live"}; !slices.Equal(second, want) {
		t.Errorf("the second tells of %q, expected %q", second, want)
	}
	for _, a := range all[1].Data.Articles {
		if a.ID == "ba" && (a.Withdrawal == nil || a.Withdrawal.Reason == "" || a.Summary != "") {
			t.Errorf("withdrawal %+v", a)
		}
		if a.ID == "bon" && (a.Title == "" || a.Summary == "" || a.SiteName == "") {
			t.Errorf("article %+v", a)
		}
	}
	if h, ok := r.Get(guid("ba")); !ok || h.Bulletin.Type != events.BulletinWithdrawn {
		t.Errorf("the portal has %+v", h.Bulletin)
	}
	id := got.list()[1].header.Get(events.HeaderID)
	if c := s.receipt(t, "quan", "hai"); c.Holds.Number != 3 || c.WebhookID != id || c.Attempts != 1 || c.LastStatus != 204 || c.MayHold.Number != 0 {
		t.Errorf("receipt %+v", c)
	}
	if id == got.list()[0].header.Get(events.HeaderID) {
		t.Error("two digests have one id")
	}
}

func TestADigestWithNothingToSayIsNotSent(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear}}, receiver.Options{})
	s.due(t, "quan")
	s.level(t)
	e := s.publish(t, text("mot", 1))
	s.due(t, "quan")
	s.level(t)
	s.flag(t, e, "quan") // it holds that
	s.publish(t, text("hai", 1))
	s.publish(t, withdrawal("hai", 2)) // and was never sent this
	s.due(t, "quan")
	s.level(t)
	if r.Posts() != 1 {
		t.Errorf("%d posts, expected 1", r.Posts())
	}
}

func TestWhatADigestCannotHoldFollowsRightAway(t *testing.T) {
	t.Parallel()
	s := started(t)
	var got posts
	s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear, Most: 3}}, receiver.Options{Answer: got.then(nil)})
	for i := range 7 {
		s.publish(t, text(fmt.Sprint("tin-", i), 1))
	}
	s.due(t, "quan")
	s.level(t)
	var told []string
	var sizes, more []int
	ids := map[string]bool{}
	for _, d := range got.digests(t) {
		told = append(told, idsOf(d)...)
		sizes, more = append(sizes, len(d.Data.Articles)), append(more, d.Data.More)
	}
	for _, p := range got.list() {
		ids[p.header.Get(events.HeaderID)] = true
	}
	if !slices.Equal(sizes, []int{3, 3, 1}) || !slices.Equal(more, []int{4, 1, 0}) || len(ids) != 3 {
		t.Errorf("digests of %v articles with %v more, %d ids", sizes, more, len(ids))
	}
	for i, a := range told {
		if want := fmt.Sprintf("tin-%d v1 live", i); a != want {
			t.Errorf("told of %s, expected %s: the oldest first", a, want)
		}
	}
}

func TestADigestStaysBelowTheSizeOfABulletin(t *testing.T) {
	t.Parallel()
	s := started(t)
	var got posts
	s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear, Most: 200}}, receiver.Options{Answer: got.then(nil)})
	for i := range 7 {
		a := text(fmt.Sprint("tin-", i), 1)
		a.Summary = strings.Repeat("dài <& ", 37_500) // marks of HTML make it no longer
		s.publish(t, a)
	}
	s.due(t, "quan")
	s.level(t)
	n := 0
	for _, d := range got.digests(t) {
		n += len(d.Data.Articles)
	}
	if posts := len(got.list()); n != 7 || posts < 2 || posts > 3 {
		t.Errorf("%d articles in %d digests", n, posts)
	}
}

func TestUrgentArticlesGoAtOnceIfThePortalWants(t *testing.T) {
	t.Parallel()
	s := started(t)
	var got posts
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear, Express: true}}, receiver.Options{Answer: got.then(nil)})
	s.publish(t, text("thuong", 1))
	urgent := text("gap", 1)
	urgent.Urgency = 1
	s.publish(t, urgent)
	loatest.Eventually(t, "the urgent one is there", func() bool { _, ok := r.Get(guid("gap")); return ok && s.flags(t) == 1 })
	s.publish(t, withdrawal("gap", 2))
	loatest.Eventually(t, "and gone", func() bool {
		h, _ := r.Get(guid("gap"))
		return h.Bulletin.Type == events.BulletinWithdrawn && s.flags(t) == 1
	})
	if _, ok := r.Get(guid("thuong")); ok || len(got.list()) != 2 {
		t.Errorf("an ordinary article went with %d others", len(got.list()))
	}
	s.due(t, "quan")
	s.level(t)
	if all := got.digests(t); len(all) != 1 || !slices.Equal(idsOf(all[0]), []string{"thuong v1 live"}) {
		t.Errorf("digests %+v", all)
	}
}

func TestOneArticleThatAPortalRefusesKeepsNoOtherFromIt(t *testing.T) {
	t.Parallel()
	for _, express := range []bool{false, true} {
		t.Run(fmt.Sprint("express ", express), func(t *testing.T) {
			t.Parallel()
			s := started(t)
			var got posts
			r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear, Express: express}}, receiver.Options{
				Answer: got.then(func(_ int, r *http.Request) *receiver.Fault {
					body, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(strings.NewReader(string(body)))
					if strings.Contains(string(body), guid("xau")) {
						return receiver.Status(http.StatusUnprocessableEntity, "không nhận")
					}
					return nil
				})})
			for i := range 5 {
				s.publish(t, text(fmt.Sprint("tin-", i), 1))
			}
			s.publish(t, text("xau", 1))
			s.due(t, "quan")
			s.level(t)
			for i := range 5 {
				if _, ok := r.Get(guid(fmt.Sprint("tin-", i))); !ok {
					t.Errorf("tin-%d is not there", i)
				}
			}
			dead := s.dead(t)
			if len(dead) != 1 || dead[0].Key != "quan.ward.xau" || !strings.Contains(dead[0].Reason, "không nhận") {
				t.Errorf("dead letters %+v", dead)
			}
			// A later version has its chance, with the others.
			s.publish(t, text("sau", 1))
			s.due(t, "quan")
			s.level(t)
			if n := len(got.digests(t)); n != 2 {
				t.Errorf("%d digests", n)
			}
		})
	}
}

func TestADigestIsMadeUpOnceWhenThePortalIsBack(t *testing.T) {
	t.Parallel()
	s := started(t)
	var well atomic.Bool
	var got posts
	s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear}}, receiver.Options{
		Answer: while(&well, receiver.Status(http.StatusServiceUnavailable, "bảo trì"))})
	paused := s.receive(t, portal.Portal{Name: "nghi", Digest: &portal.Digest{At: newYear}, Paused: &portal.Pause{}}, receiver.Options{Answer: got.then(nil)})
	for range 3 {
		s.publish(t, text("mot", 1))
		s.due(t, "quan")
		s.due(t, "nghi")
		s.down(t, "quan")
		s.publish(t, text("hai", 1))
	}
	if paused.Posts() != 0 {
		t.Errorf("%d posts to a portal that is paused", paused.Posts())
	}
	s.resume(t, "nghi")
	loatest.Eventually(t, "the digest is there", func() bool { return paused.Counts().Kept == 2 })
	well.Store(true)
	s.level(t)
	if all := got.digests(t); len(all) != 1 || paused.Posts() != 1 {
		t.Errorf("%d digests in %d posts after the pause", len(all), paused.Posts())
	}
	if a, b := s.receipt(t, "quan", "mot"), s.receipt(t, "quan", "hai"); a.Holds.Number != 1 || b.Holds.Number != 1 || a.WebhookID != b.WebhookID {
		t.Errorf("receipts %+v, %+v: expected one digest of both", a, b)
	}
}

func TestWhoWantsNoDigestAnyMoreGetsWhatWaitedAtOnce(t *testing.T) {
	t.Parallel()
	s := started(t)
	var got posts
	s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear}}, receiver.Options{Answer: got.then(nil)})
	s.publish(t, text("mot", 1))
	s.publish(t, withdrawal("khac", 1))
	s.publish(t, text("hai", 1))
	s.change(t, "quan", func(p *portal.Portal) { p.Digest = nil })
	s.level(t)
	if len(got.list()) != 2 || len(got.digests(t)) != 0 {
		t.Errorf("%d posts, %d digests", len(got.list()), len(got.digests(t)))
	}
	s.change(t, "quan", func(p *portal.Portal) { p.Digest = &portal.Digest{At: newYear} })
	s.publish(t, text("ba", 1))
	s.due(t, "quan")
	s.level(t)
	if all := got.digests(t); len(all) != 1 || !slices.Equal(idsOf(all[0]), []string{"ba v1 live"}) {
		t.Errorf("digests %+v", all)
	}
}

func TestDigestsComeAtTheirTimes(t *testing.T) {
	t.Parallel()
	s := started(t)
	s.times(t)
	var got posts
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: "* * * * * *", Zone: "Europe/Paris"}}, receiver.Options{Answer: got.then(nil)})
	s.publish(t, text("mot", 1))
	loatest.Eventually(t, "the first digest", func() bool { return r.Counts().Kept == 1 })
	s.publish(t, text("mot", 2))
	loatest.Eventually(t, "the second", func() bool { return r.Counts().Kept == 2 })

	// Another time, while it runs.
	schedule := streams.NewSchedule(s.js)
	s.change(t, "quan", func(p *portal.Portal) { p.Digest = &portal.Digest{At: newYear} })
	loatest.Eventually(t, "the new time is scheduled", func() bool {
		w, err := schedule.Waiting(t.Context(), streams.Digest, "quan")
		return err == nil && w != nil && w.At.After(time.Now().Add(time.Hour)) && w.At.UTC().Format("02 Jan 15:04:05") == "31 Dec 17:00:00"
	})
	s.publish(t, text("mot", 3))
	s.change(t, "quan", func(p *portal.Portal) { p.Digest.At = "*/2 * * * * *" })
	loatest.Eventually(t, "the third", func() bool { return r.Counts().Kept == 3 })
	s.change(t, "quan", func(p *portal.Portal) { p.Digest = nil })
	s.level(t)
	loatest.Eventually(t, "nothing is scheduled", func() bool {
		w, err := schedule.Waiting(t.Context(), streams.Digest, "quan")
		return err == nil && w == nil
	})
	if n := len(got.list()); n != 3 {
		t.Errorf("%d posts, expected 3", n)
	}
}

// A digest was scheduled by a clock that was an hour ahead.
func TestADigestComesInTimeThoughAClockWasSetBack(t *testing.T) {
	t.Parallel()
	s := started(t)
	const at, zone = "* * * * * *", "Asia/Ho_Chi_Minh"
	schedule := streams.NewSchedule(s.js)
	err := schedule.Set(t.Context(), streams.Digest, "quan", time.Now().Add(time.Hour), nats.Header{"Loa-Times": {at + " " + zone}})
	if err != nil {
		t.Fatal(err)
	}
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: at, Zone: zone}}, receiver.Options{})
	s.publish(t, text("mot", 1))
	s.times(t)
	loatest.Eventually(t, "the digest", func() bool { return r.Counts().Kept == 1 })
}

// Several times pass while the server is down.
func TestTimesThatPassWhileTheServerIsDownAreMadeUpOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	dir := t.TempDir()
	srv, js := loatest.NATSAt(t, dir)
	s := stopped(t, js)
	stopTimes := s.times(t)
	var got posts
	now := time.Now()
	first, last := now.Add(5*time.Second), now.Add(8*time.Second)
	at := fmt.Sprintf("%d,%d,%d * * * * *", first.Second(), first.Add(time.Second).Second(), last.Second())
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: at}}, receiver.Options{Answer: got.then(nil)})
	p, _ := s.portals.Get("quan")
	s.publish(t, text("mot", 1))
	loatest.Eventually(t, "the first time is scheduled", func() bool {
		w, err := streams.NewSchedule(js).Waiting(t.Context(), streams.Digest, "quan")
		return err == nil && w != nil && w.At.Unix() == first.Unix()
	})
	stopTimes()
	js.Conn().Close()
	srv.Shutdown()
	if time.Now().After(first) {
		t.Skip("the machine is too busy: the time has come while the server ran")
	}
	time.Sleep(time.Until(last.Add(time.Second)))

	_, js = loatest.NATSAt(t, dir)
	again := stopped(t, js)
	again.run(t, 0, quick)
	again.times(t)
	loatest.Eventually(t, "the digest", func() bool { return r.Counts().Kept == 1 })
	next := time.Time{}
	loatest.Eventually(t, "the next time is scheduled, after now", func() bool {
		w, err := streams.NewSchedule(js).Waiting(t.Context(), streams.Digest, "quan")
		if w != nil {
			next = w.At
		}
		return err == nil && w != nil && w.At.After(last)
	})
	if q, ok := again.portals.Get("quan"); !ok || q.Digest.At != p.Digest.At {
		t.Errorf("portal %+v", q)
	}
	if n := len(got.list()); n != 1 || next.Before(first.Add(50*time.Second)) {
		t.Errorf("%d posts, and the next at %s: expected that three times are made up once", n, next)
	}
}

// A worker is killed when a portal has kept a digest but not answered yet.
func TestADigestThatAKilledWorkerHadDeliveredIsRepeatedWithItsId(t *testing.T) {
	t.Parallel()
	srv, js := loatest.ServedNATS(t)
	s := stopped(t, js)
	kill := startWorker(t, srv)
	var got posts
	r := s.receive(t, portal.Portal{Name: "quan", Digest: &portal.Digest{At: newYear}}, receiver.Options{Answer: got.then(func(n int, _ *http.Request) *receiver.Fault {
		if n != 1 {
			return nil
		}
		return &receiver.Fault{Keep: true, Do: func(http.ResponseWriter, *http.Request) {
			kill()
			panic(http.ErrAbortHandler)
		}}
	})})
	for i := range 5 {
		s.publish(t, text(fmt.Sprint("tin-", i), 1))
	}
	s.due(t, "quan")
	loatest.Eventually(t, "a digest was kept", func() bool { return r.Counts().Kept == 5 })
	kill()
	s.run(t, 0, quick)
	s.level(t)
	all := got.list()
	if len(all) != 2 || all[0].header.Get(events.HeaderID) != all[1].header.Get(events.HeaderID) || string(all[0].body) != string(all[1].body) {
		t.Errorf("%d posts, expected the same digest twice, with one id", len(all))
	}
	if c := r.Counts(); c != (receiver.Counts{Received: 10, Kept: 5, Duplicates: 5}) {
		t.Errorf("counts %+v", c)
	}
	for i := range 5 {
		if c := s.receipt(t, "quan", fmt.Sprint("tin-", i)); c.Holds.Number != 1 || c.MayHold != (article.Version{}) {
			t.Errorf("receipt %+v", c)
		}
	}
}
