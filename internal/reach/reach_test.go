package reach_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// world is what there is to compare, with ways to bring it about.
type world struct {
	reach.Sources
	t testing.TB
}

func newWorld(t testing.TB) *world {
	t.Helper()
	js := loatest.NATS(t)
	tree, err := site.New([]site.Site{{ID: "city"}, {ID: "ward", Parent: "city"}})
	w := &world{t: t}
	w.JS, w.Tree = js, tree
	if err == nil {
		w.Log, err = streams.OpenLog(t.Context(), js)
	}
	if err == nil {
		w.Dead, err = streams.OpenDead(t.Context(), js)
	}
	if err == nil {
		w.Receipts, err = portal.OpenReceipts(t.Context(), js)
	}
	if err == nil {
		w.Portals, err = portal.Open(t.Context(), js, tree, nil, zerolog.Nop())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Portals.Close)
	t.Cleanup(w.Receipts.Close)
	return w
}

func (w *world) portal(name string, change func(*portal.Portal)) {
	w.t.Helper()
	p := portal.Portal{Name: name, URL: "https://" + name + ".example/loa"}
	if change != nil {
		change(&p)
	}
	if _, err := w.Portals.Put(w.t.Context(), p, "test"); err != nil {
		w.t.Fatal(err)
	}
}

// article writes a version over the former one.
func (w *world) article(id string, version int64, status string) streams.Entry {
	w.t.Helper()
	key := streams.KeyOf("ward", id)
	last := uint64(0)
	if e, err := w.Log.Latest(w.t.Context(), key); err == nil {
		last = e.Seq
	}
	a := &article.Article{GUID: article.NewGUID("ward", id), Site: "ward", ID: id, Version: article.Version{Number: version},
		Status: status, Title: "Thông báo", Urgency: 5, Accepted: time.Now().Add(-time.Minute).UTC()}
	if status == events.StatusWithdrawn {
		a.Withdrawal = &events.BulletinWithdrawal{Reason: "Nhầm"}
	}
	if _, err := w.Log.Put(w.t.Context(), a, last); err != nil {
		w.t.Fatal(err)
	}
	e, err := w.Log.Latest(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// holds stores a receipt over the former one.
func (w *world) holds(name string, e streams.Entry, version int64, change func(*portal.Receipt)) {
	w.t.Helper()
	r, _, err := w.Receipts.Latest(w.t.Context(), name, e.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Holds, r.Status, r.At = article.Version{Number: version}, events.StatusLive, time.Now().UTC()
	r.Attempts, r.LastStatus, r.LastAttempt = 1, 204, r.At
	if version == 0 {
		r.Holds, r.At = article.Version{}, time.Time{}
	}
	if change != nil {
		change(&r)
	}
	if _, err := w.Receipts.Put(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) flag(name string, e streams.Entry) {
	w.t.Helper()
	err := reconcile.Raise(w.t.Context(), w.JS, []reconcile.Flag{{Class: streams.Normal, Kind: "portal", Target: name, Key: string(e.Key), Seq: e.Seq}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) flags() uint64 {
	w.t.Helper()
	s, err := w.JS.Stream(w.t.Context(), streams.Flags)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func (w *world) reach(e streams.Entry) (reach.Report, map[string]reach.Standing) {
	w.t.Helper()
	r, err := w.Article(w.t.Context(), e.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	by := map[string]reach.Standing{}
	for _, s := range r.Portals {
		by[s.Portal] = s
	}
	return r, by
}

func TestReachTellsWhyAPortalHasNotGotAnArticle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"has", "waits", "refuses", "down", "dead", "lost", "removed"} {
		w.portal(name, nil)
	}
	w.portal("paused", func(p *portal.Portal) { p.Paused = &portal.Pause{By: "lan", Why: "bảo trì", Since: time.Now()} })
	w.portal("later", func(p *portal.Portal) { p.Digest = &portal.Digest{At: "0 0 0 1 1 *", Zone: "Europe/Paris"} })
	w.portal("elsewhere", func(p *portal.Portal) { p.Filter.Categories = []string{"khac"} })
	e := w.article("tin", 2, events.StatusLive)
	w.holds("has", e, 2, nil)
	w.holds("removed", e, 1, nil)
	w.holds("refuses", e, 0, func(r *portal.Receipt) {
		r.MayHold, r.LastStatus, r.LastError = e.Version, 422, "answered 422: thiếu trường"
	})
	for _, name := range []string{"waits", "down", "paused", "later", "dead"} { // one that is lowered may stay for a while
		w.flag(name, e)
	}
	until := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	if err := reconcile.Raise(t.Context(), w.JS, []reconcile.Flag{{Class: streams.Normal, Kind: "portal", Target: "refuses", Key: string(e.Key), Seq: e.Seq,
		Failures: 2, Until: until}}); err != nil {
		t.Fatal(err)
	}
	w.Portals.SetState("down", portal.State{Down: true, Since: time.Now(), Failures: 3, Reason: "connection refused", NextProbe: time.Now().Add(time.Minute)})
	if err := w.Dead.Put(t.Context(), streams.DeadLetter{Stage: "portal", Key: "dead." + string(e.Key), Reason: "answered 413"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Portals.Delete(t.Context(), "removed", "test"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the registry to know", func() bool { return !w.Portals.Known("removed") && w.Portals.States()["down"].Down })

	r, by := w.reach(e)
	for name, want := range map[string]reach.State{"has": reach.Delivered, "waits": reach.Waiting, "refuses": reach.Refused, "down": reach.Down,
		"dead": reach.Dead, "lost": reach.Missing, "later": reach.Digest, "removed": reach.Removed, "paused": reach.Paused} {
		if by[name].State != want {
			t.Errorf("%s: got %q (%+v), expected %q", name, by[name].State, by[name], want)
		}
	}
	if _, listed := by["elsewhere"]; listed {
		t.Error("a portal that wants none of it is listed")
	}
	if r.Concerned != 9 || r.Delivered != 1 || r.Reachable != 3 || r.Everywhere() {
		t.Errorf("concerned %d, delivered %d, reachable %d", r.Concerned, r.Delivered, r.Reachable)
	}
	if s := by["refuses"]; s.Answer != 422 || !s.Next.Equal(until) || s.MayHold != "2" {
		t.Errorf("refuses: %+v", s)
	}
	if s := by["down"]; s.Why != "connection refused" || s.Next.IsZero() {
		t.Errorf("down: %+v", s)
	}
	if s := by["paused"]; s.Why != "bảo trì (lan)" {
		t.Errorf("paused: %+v", s)
	}
	if s := by["later"]; s.Next.UTC().Format("02 Jan 15:04:05") != "31 Dec 23:00:00" || s.Since.IsZero() {
		t.Errorf("later: %+v", s)
	}
	if r.Portals[0].State == reach.Delivered {
		t.Error("what is outstanding comes first")
	}
}

func TestWhoNeverReceivedAWithdrawnArticleHasNothingToWithdraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"withdrew", "shows", "never"} {
		w.portal(name, nil)
	}
	e := w.article("tin", 1, events.StatusLive)
	w.holds("withdrew", e, 1, nil)
	w.holds("shows", e, 1, nil)
	e = w.article("tin", 2, events.StatusWithdrawn)
	w.holds("withdrew", e, 2, func(r *portal.Receipt) { r.Status = events.StatusWithdrawn })
	w.flag("shows", e)
	r, by := w.reach(e)
	if by["never"].State != reach.Unneeded || by["shows"].State != reach.Waiting || by["withdrew"].State != reach.Delivered {
		t.Errorf("got %+v", by)
	}
	if r.Concerned != 2 || r.Delivered != 1 || r.Unneeded != 1 {
		t.Errorf("got %+v", r)
	}
}

// A thousand portals are a handful of questions.
func TestReachOfAThousandPortalsIsQuick(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const portals = 1000
	e := w.article("tin", 1, events.StatusLive)
	var group errgroup.Group
	group.SetLimit(50) // each is stored within five seconds, or not at all
	for i := range portals {
		group.Go(func() error {
			w.portal(fmt.Sprintf("p%d", i), nil)
			if i%2 == 0 {
				w.holds(fmt.Sprintf("p%d", i), e, 1, nil)
			}
			return nil
		})
	}
	_ = group.Wait() // what fails ends the test
	began := time.Now()
	r, _ := w.reach(e)
	took := time.Since(began)
	if r.Concerned != portals || r.Delivered != portals/2 {
		t.Errorf("concerned %d, delivered %d", r.Concerned, r.Delivered)
	}
	before := w.JS.Conn().Stats().OutMsgs
	w.reach(e)
	if n := w.JS.Conn().Stats().OutMsgs - before; n > 20 {
		t.Errorf("%d requests for %d portals", n, portals)
	}
	t.Logf("%s for %d portals", took, portals)
}

func TestResyncRaisesWhatIsMissingAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"a", "b", "paused"} {
		w.portal(name, nil)
	}
	var all []streams.Entry
	const articles = 1100 // more than a page
	for i := range articles {
		all = append(all, w.article(fmt.Sprintf("tin-%d", i), 1, events.StatusLive))
	}
	var wg sync.WaitGroup
	for i, e := range all {
		wg.Go(func() {
			if i%10 != 0 {
				w.holds("a", e, 1, nil)
			}
		})
	}
	wg.Wait()
	w.flag("b", all[3])
	withdrawn := w.article("tin-7", 2, events.StatusWithdrawn) // a shows it, b never did
	if err := w.Dead.Put(t.Context(), streams.DeadLetter{Stage: "portal", Key: "b." + string(all[5].Key), Reason: "answered 413"}); err != nil {
		t.Fatal(err)
	}
	before := w.flags()
	dry, err := w.Resync(t.Context(), reach.ResyncOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if w.flags() != before {
		t.Error("a dry run raised flags")
	}
	got, err := w.Resync(t.Context(), reach.ResyncOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]reach.Compared{
		"a":      {Compared: articles, Level: articles - articles/10 - 1, Raised: articles/10 + 1},
		"b":      {Compared: articles, Level: 1, Flagged: 1, SetAside: 1, Raised: articles - 3},
		"paused": {Compared: articles, Level: 1, Raised: articles - 1},
	}
	for name, c := range want {
		if got.Portals[name] != c || dry.Portals[name] != c {
			t.Errorf("%s: got %+v, in a dry run %+v, expected %+v", name, got.Portals[name], dry.Portals[name], c)
		}
	}
	up, err := reconcile.Up(t.Context(), w.JS, "portal", []reconcile.Pair{{Target: "a", Key: string(withdrawn.Key)}, {Target: "a", Key: string(all[0].Key)}})
	if err != nil || up[reconcile.Pair{Target: "a", Key: string(withdrawn.Key)}].Class != streams.Express ||
		up[reconcile.Pair{Target: "a", Key: string(all[0].Key)}].Class != streams.Normal {
		t.Errorf("the withdrawal is to overtake, old news are not: %+v, %v", up, err)
	}
	again, err := w.Resync(t.Context(), reach.ResyncOptions{Portals: []string{"a"}})
	if err != nil || again.Portals["a"].Raised != 0 || again.Portals["a"].Flagged != want["a"].Raised || len(again.Portals) != 1 {
		t.Errorf("once more: %+v, %v", again, err)
	}
}

// BenchmarkReach is of an article at 1,000 portals, a tenth of which have not got it.
func BenchmarkReach(b *testing.B) {
	w := newWorld(b)
	e := w.article("tin", 1, events.StatusLive)
	var group errgroup.Group
	group.SetLimit(50)
	for i := range 1000 {
		group.Go(func() error {
			name := fmt.Sprint("cong-", i)
			if _, err := w.Portals.Put(b.Context(), portal.Portal{Name: name, URL: "https://" + name + ".example/loa"}, "test"); err != nil {
				return err
			}
			if i%10 == 0 {
				return reconcile.Raise(b.Context(), w.JS, []reconcile.Flag{{Class: streams.Normal, Kind: "portal", Target: name, Key: string(e.Key), Seq: e.Seq}})
			}
			_, err := w.Receipts.Put(b.Context(), portal.Receipt{Portal: name, Key: e.Key, Holds: e.Version, Status: e.Status, At: time.Now()})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	loatest.Eventually(b, "the registry to know all portals", func() bool { return len(w.Portals.All()) == 1000 })
	for b.Loop() {
		if r, _ := w.reach(e); r.Delivered != 900 || r.Concerned != 1000 || r.Reachable != 100 {
			b.Fatalf("%d of %d, %d", r.Delivered, r.Concerned, r.Reachable)
		}
	}
}
