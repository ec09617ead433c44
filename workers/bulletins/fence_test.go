package bulletins_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

func TestTheIDOfABulletinStaysTheSameInEveryAttempt(t *testing.T) {
	t.Parallel()
	s := started(t)
	var here, there posts
	s.receive(t, portal.Portal{Name: "quan"}, receiver.Options{Answer: here.then(first(3, receiver.Status(http.StatusBadGateway, "")))})
	s.receive(t, portal.Portal{Name: "huyen"}, receiver.Options{Answer: there.then(nil)})
	s.publish(t, text("bai", 1))
	s.level(t)
	s.publish(t, text("bai", 2))
	s.level(t)

	all := here.list()
	if len(all) != 5 {
		t.Fatalf("%d posts, expected 3 that failed and 2 that did not", len(all))
	}
	for _, p := range all[:4] {
		if p.header.Get(events.HeaderID) != all[0].header.Get(events.HeaderID) || string(p.body) != string(all[0].body) {
			t.Error("an attempt at the same version differs from the first")
		}
	}
	ids := map[string]bool{}
	for _, p := range append(there.list(), all[0], all[4]) {
		ids[p.header.Get(events.HeaderID)] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d ids for two versions at two portals", len(ids))
	}
}

func TestAVersionThatAPortalHoldsIsNotSentAgain(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	s := stopped(t, js)
	s.run(t, 0, quick)
	r := s.receive(t, portal.Portal{Name: "quan"}, receiver.Options{})
	e := s.publish(t, text("bai", 1))
	s.level(t)
	again := func(s *stack) {
		s.raise(t, streams.Normal, e.Key, e.Seq, "quan")
		s.raise(t, streams.Express, e.Key, e.Seq, "quan")
		s.level(t)
	}
	again(s)
	s.stop()
	restarted := stopped(t, js)
	restarted.run(t, 0, quick)
	again(restarted)
	if r.Posts() != 1 {
		t.Errorf("%d posts", r.Posts())
	}
}

// The portals have kept the bulletin, but what they answered does not say so. The last could not
// be reached at all.
func TestAWithdrawalIsSentWhereTheArticleMayHaveArrived(t *testing.T) {
	t.Parallel()
	s := started(t)
	var well atomic.Bool
	faults := map[string]*receiver.Fault{
		"loi":  receiver.Status(http.StatusInternalServerError, "").Kept(),
		"treo": receiver.Hang().Kept(),
		"dut":  receiver.Raw("HTTP/1.1 204 No Content\r\nDate: ").Kept(),
		"cam":  receiver.Status(http.StatusUnprocessableEntity, "").Kept(),
	}
	portals := map[string]*receiver.Receiver{}
	for name, f := range faults {
		portals[name] = s.receive(t, portal.Portal{Name: name, Timeout: shortTimeout}, receiver.Options{Answer: while(&well, f)})
	}
	s.portal(t, portal.Portal{Name: "tat", URL: closedAddress(t), Secrets: []portal.Secret{secret}})

	one := article.Version{Number: 1}
	s.publish(t, text("bai", 1))
	for name := range faults {
		loatest.Eventually(t, name+" failed", func() bool { return s.receipt(t, name, "bai").LastError != "" })
		if c := s.receipt(t, name, "bai"); c.MayHold != one || c.Holds != (article.Version{}) {
			t.Errorf("receipt %+v", c)
		}
	}
	loatest.Eventually(t, "the dead portal is known not to hold anything", func() bool {
		c := s.receipt(t, "tat", "bai")
		return c.LastError != "" && !c.Touched()
	})

	s.publish(t, withdrawal("bai", 2))
	well.Store(true)
	s.level(t)
	for name, r := range portals {
		if h, _ := r.Get(guid("bai")); h.Bulletin.Data.Status != events.StatusWithdrawn || h.Bulletin.Data.Version != 2 {
			t.Errorf("portal %s still shows %+v", name, h.Bulletin.Data)
		}
	}
	r, url := serve(t, receiver.Options{Name: "tat", Secrets: []string{secret.Reveal()}})
	s.change(t, "tat", func(p *portal.Portal) { p.URL = url })
	s.publish(t, text("moi", 1))
	s.level(t)
	if _, ok := r.Get(guid("moi")); !ok || r.Posts() != 1 {
		t.Errorf("%d posts to the portal that never had the withdrawn article, expected the other article alone", r.Posts())
	}
}

func TestAWithdrawalOvertakesTheBacklog(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "quan", InFlight: 1}, receiver.Options{})
	s.publish(t, text("bai", 1))
	s.level(t)
	s.pause(t, "quan")
	const backlog = 40
	for i := range backlog {
		s.publish(t, text(fmt.Sprint("tin-", i), 1))
	}
	s.publish(t, withdrawal("bai", 2))
	s.resume(t, "quan")
	s.level(t)
	withdrawn, _ := r.Get(guid("bai"))
	before := 0
	for _, h := range r.Held() {
		if h.Received.Before(withdrawn.Received) {
			before++
		}
	}
	if withdrawn.Bulletin.Data.Status != events.StatusWithdrawn || before > backlog/2 {
		t.Errorf("the withdrawal, raised last of %d, came after %d others", backlog, before)
	}
}

func TestVersionsAtAPortalOnlyGrow(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "quan", InFlight: 8}, receiver.Options{})
	const ids, versions = 4, 15
	seqs := map[string][]uint64{}
	for v := range versions {
		for i := range ids {
			id := fmt.Sprint("bai-", i)
			e := s.publish(t, text(id, int64(v+1)))
			seqs[id] = append(seqs[id], e.Seq)
			class := []string{streams.Express, streams.Normal}[rand.N(2)]
			s.raise(t, class, e.Key, seqs[id][rand.N(len(seqs[id]))], "quan")
		}
	}
	s.level(t)
	if c := r.Counts(); c.Kept != c.Received || c.Kept < ids {
		t.Errorf("counts %+v: something was sent twice, or after a newer version", c)
	}
	for i := range ids {
		if h, _ := r.Get(guid(fmt.Sprint("bai-", i))); h.Bulletin.Data.Version != versions {
			t.Errorf("bai-%d is at version %d", i, h.Bulletin.Data.Version)
		}
	}
}

func TestTheFlagsOfADeletedPortalAreLowered(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "nghi"}, receiver.Options{})
	s.pause(t, "nghi")
	s.portal(t, portal.Portal{Name: "tat", URL: closedAddress(t)})
	for i := range 3 {
		s.publish(t, text(fmt.Sprint("bai-", i), 1))
	}
	s.down(t, "tat")
	for _, name := range []string{"nghi", "tat"} {
		if err := s.portals.Delete(t.Context(), name, "test"); err != nil {
			t.Fatal(err)
		}
	}
	s.level(t)
	if r.Posts() != 0 || len(s.dead(t)) != 0 {
		t.Errorf("%d posts, dead letters %v", r.Posts(), s.dead(t))
	}
}

// A lane that fetches its flags raises them again as it read them: a flag of an older version can
// take the place of one that was raised in between.
func TestAFlagOfAnOlderVersionBringsThatOfTheLog(t *testing.T) {
	t.Parallel()
	s := stopped(t, loatest.NATS(t))
	r := s.receive(t, portal.Portal{Name: "quan"}, receiver.Options{})
	older := s.publish(t, text("bai", 1))
	for v := range int64(3) {
		if v > 0 {
			s.publish(t, text("bai", v+1))
		}
		err := s.worker.Reconcile(t.Context(), "quan", []reconcile.Flag{{Key: string(older.Key), Seq: older.Seq}})
		if h, _ := r.Get(guid("bai")); err != nil || h.Bulletin.Data.Version != v+1 {
			t.Errorf("version %d, expected %d (%v)", h.Bulletin.Data.Version, v+1, err)
		}
	}
}

// A worker that was stopped between its look and its sending must not bring to a portal what
// another has meanwhile found nothing to withdraw of.
func TestAWorkerThatIsLateSendsNothingThatWasWithdrawn(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	late := stopped(t, js)
	r := late.receive(t, portal.Portal{Name: "quan"}, receiver.Options{})
	e, err := late.articles.Put(t.Context(), text("bai", 1), 0)
	if err != nil {
		t.Fatal(err)
	}
	err = late.worker.LevelLate(t.Context(), "quan", streams.KeyOf("ward", "bai"), func() {
		if _, err := late.articles.Put(t.Context(), withdrawal("bai", 2), e); err != nil {
			t.Fatal(err)
		}
		flag := reconcile.Flag{Kind: bulletins.Kind, Class: streams.Express, Target: "quan", Key: string(streams.KeyOf("ward", "bai"))}
		if err := late.worker.Reconcile(t.Context(), "quan", []reconcile.Flag{flag}); !errors.Is(err, reconcile.ErrLevel) {
			t.Fatal(err)
		}
	})
	if err != nil && !errors.Is(err, reconcile.ErrLevel) {
		t.Fatal(err)
	}
	if n := r.Posts(); n != 0 {
		t.Errorf("%d posts of an article that was withdrawn before any", n)
	}
	if rc := late.receipt(t, "quan", "bai"); rc.Touched() {
		t.Errorf("the portal is said to hold it: %+v", rc)
	}
}

// Whoever asks whether a version concerns a portal sees no receipt while it is sent the article for
// the first time, so its filter alone decides; here it was changed just then.
func TestAVersionThatComesDuringTheFirstAttemptFollowsIt(t *testing.T) {
	t.Parallel()
	s := started(t)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	var got posts
	r := s.receive(t, portal.Portal{Name: "quan", Filter: portal.Filter{Categories: []string{"y-te"}}}, receiver.Options{
		Answer: got.then(func(n int, _ *http.Request) *receiver.Fault {
			if n == 1 {
				close(arrived)
				<-goOn
			}
			return nil
		})})
	s.publish(t, text("bai", 1))
	<-arrived
	s.change(t, "quan", func(p *portal.Portal) { p.Filter.Categories = []string{"van-hoa"} })
	two := s.publish(t, withdrawal("bai", 2))
	if names, err := s.portals.Concerned(t.Context(), two); err != nil || len(names) > 0 {
		t.Fatalf("the withdrawal is known to concern %v (%v)", names, err)
	}
	close(goOn)
	s.level(t)
	loatest.Eventually(t, "the withdrawal is there", func() bool {
		h, _ := r.Get(guid("bai"))
		return h.Bulletin.Data.Status == events.StatusWithdrawn
	})
}

// Somebody who did not know of an attempt may have found that there is nothing to withdraw.
func TestAnAttemptThatIsRecoveredIsFollowedUpThoughNoFlagIsUp(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	s := stopped(t, js)
	r := s.receive(t, portal.Portal{Name: "quan"}, receiver.Options{})
	key := streams.KeyOf("ward", "bai")
	killed, err := portal.OpenReceipts(t.Context(), js)
	if err == nil {
		_, err = killed.Intend(t.Context(), portal.Receipt{Portal: "quan", Key: key, GUID: guid("bai")}, article.Version{Number: 1})
	}
	if err == nil {
		_, err = s.articles.Put(t.Context(), withdrawal("bai", 2), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, quick)
	loatest.Eventually(t, "the withdrawal is there", func() bool {
		h, _ := r.Get(guid("bai"))
		return h.Bulletin.Data.Status == events.StatusWithdrawn
	})
}
