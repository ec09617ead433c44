package bulletins_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestBulletinSaysWhatTheArticleIs(t *testing.T) {
	t.Parallel()
	s := started(t)
	var mu sync.Mutex
	var header http.Header
	r := s.receive(t, portal.Portal{Name: "east", Headers: map[string]portal.Secret{"X-Key": "khoá riêng"}}, receiver.Options{
		Answer: func(_ int, req *http.Request) *receiver.Fault {
			mu.Lock()
			defer mu.Unlock()
			header = req.Header.Clone()
			return nil
		},
	})
	a := text("1", 1)
	a.Images = []article.Image{{Image: events.Image{Role: events.RoleLead, Alt: "Trạm y tế"}, SHA256: "ab",
		Original:   events.Rendition{URL: "loa-media:media/ab/original.jpg", MediaType: "image/jpeg", Width: 1600, Height: 900},
		Renditions: []events.Rendition{{URL: "media/ab/w320.webp", MediaType: "image/webp", Width: 320, Height: 180}}}}
	s.publish(t, a)
	s.level(t)

	h, ok := r.Get(a.GUID)
	if !ok {
		t.Fatal("nothing received")
	}
	b := h.Bulletin
	if b.Type != events.BulletinPublished || !b.Timestamp.Equal(a.Accepted) || b.Data.Title != a.Title || b.Data.Summary != a.Summary ||
		b.Data.SiteName != "Phường Cầu Gỗ" || b.Data.Categories[0].Label != "Y tế" || b.Data.Status != events.StatusLive {
		t.Errorf("got %+v", b)
	}
	if img := b.Data.Image; img == nil || img.URL != "https://loa.example/media/ab/original.jpg" ||
		img.Renditions[0].URL != "https://loa.example/media/ab/w320.webp" || img.Alt != "Trạm y tế" {
		t.Errorf("image %+v", b.Data.Image)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Loa/1.2.3", "X-Key": "khoá riêng", events.HeaderID: h.WebhookID,
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
	}
	if _, sent := header["Idempotency-Key"]; sent {
		t.Error("a header that is for the transport alone was sent")
	}
	if got := s.receipt(t, "east", "1"); got.Holds != a.Version || got.Status != events.StatusLive || got.MayHold.Number != 0 ||
		got.GUID != a.GUID || got.WebhookID != h.WebhookID || got.Attempts != 1 || got.LastStatus != 204 {
		t.Errorf("receipt %+v", got)
	}
}

func TestPortalLearnsOfEveryChangeInOrder(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{})
	for v := range int64(5) {
		s.publish(t, text("1", v+1))
		if v%2 == 0 {
			s.level(t)
		}
	}
	s.publish(t, withdrawal("1", 6))
	s.level(t)
	h, _ := r.Get(guid("1"))
	if d := h.Bulletin.Data; h.Bulletin.Type != events.BulletinWithdrawn || d.Version != 6 || d.Withdrawal.Reason != "Lịch đã đổi." || d.Title == "" || d.Summary != "" {
		t.Errorf("holds %+v", h.Bulletin)
	}
	s.publish(t, text("1", 7)) // it comes back
	s.level(t)
	if h, _ := r.Get(guid("1")); h.Bulletin.Type != events.BulletinPublished || h.Bulletin.Data.Version != 7 {
		t.Errorf("holds %+v", h.Bulletin)
	}
	if c := r.Counts(); c.Regressions > 0 || c.Duplicates > 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestVersionHeldIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{})
	e := s.publish(t, text("1", 3))
	s.level(t)
	for range 3 {
		s.flag(t, e, "east")
		s.level(t)
	}
	if r.Posts() != 1 {
		t.Errorf("%d posts", r.Posts())
	}
}

func TestWithdrawalIsNotSentWhereTheArticleNeverWent(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east", Paused: &portal.Pause{}}, receiver.Options{})
	s.publish(t, text("1", 1))
	s.publish(t, withdrawal("1", 2))
	if err := s.portals.Resume(t.Context(), "east", "test"); err != nil {
		t.Fatal(err)
	}
	s.level(t)
	if r.Posts() != 0 {
		t.Errorf("%d posts", r.Posts())
	}
}

func TestPortalGetsOnlyWhatItsFilterSelectsButLearnsOfWhatItHolds(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east", Filter: portal.Filter{Sites: []string{"city"}, Categories: []string{"y-te"}}}, receiver.Options{})
	a, b := text("1", 1), text("2", 1)
	b.Categories = []events.Category{{ID: "van-hoa"}}
	e := s.publish(t, b)
	s.flag(t, e, "east") // also if the router erred
	s.publish(t, a)
	s.level(t)
	if held := r.Held(); len(held) != 1 || held[0].Bulletin.Data.ID != "1" {
		t.Fatalf("holds %+v", held)
	}
	a = text("1", 2)
	a.Categories = b.Categories
	a.Ever = article.Selections{Categories: []string{"y-te"}}
	s.publish(t, a)
	s.level(t)
	if h, _ := r.Get(a.GUID); h.Bulletin.Data.Version != 2 {
		t.Errorf("holds version %d", h.Bulletin.Data.Version)
	}
	s.change(t, "east", func(p *portal.Portal) { p.Filter.Categories = []string{"giao-thong"} })
	s.publish(t, withdrawal("1", 3))
	s.publish(t, text("3", 1))
	s.level(t)
	if h, _ := r.Get(a.GUID); h.Bulletin.Data.Status != events.StatusWithdrawn || r.Posts() != 3 {
		t.Errorf("%s after %d posts", h.Bulletin.Data.Status, r.Posts())
	}
}

func TestPausedPortalGetsTheNewestVersionOnceWhenItIsResumed(t *testing.T) {
	t.Parallel()
	s := started(t)
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{})
	if err := s.portals.Pause(t.Context(), "east", "Lan", "bảo trì"); err != nil {
		t.Fatal(err)
	}
	for v := range int64(4) {
		e := s.publish(t, text("1", v+1))
		s.raise(t, streams.Express, e.Key, e.Seq, "east")
		s.raise(t, streams.Normal, e.Key, 0, "east")
	}
	if r.Posts() != 0 {
		t.Fatalf("%d posts", r.Posts())
	}
	if err := s.portals.Resume(t.Context(), "east", "Lan"); err != nil {
		t.Fatal(err)
	}
	s.level(t)
	if h, _ := r.Get(guid("1")); r.Posts() != 1 || h.Bulletin.Data.Version != 4 {
		t.Errorf("%d posts, version %d", r.Posts(), h.Bulletin.Data.Version)
	}
}

func TestFlagsOfADeletedPortalAreLoweredAndOfAMalformedOneWait(t *testing.T) {
	t.Parallel()
	s := started(t)
	kv, err := s.js.KeyValue(t.Context(), streams.PortalsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "config.east", []byte("{")); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the entry is seen", func() bool { return s.portals.Known("east") })
	e := s.publish(t, text("1", 1))
	s.flag(t, e, "nobody")
	loatest.Eventually(t, "the other flag lowered", func() bool { return s.flags(t) == 1 })
	if err := s.portals.Delete(t.Context(), "east", "test"); err != nil {
		t.Fatal(err)
	}
	s.level(t)
}

func TestBulletinIsSignedWithBothSecretsWhileOneReplacesTheOther(t *testing.T) {
	t.Parallel()
	s := started(t)
	fresh := portal.Secret(events.NewSecret())
	both := []portal.Secret{fresh, secret}
	before := s.receive(t, portal.Portal{Name: "before", Secrets: both}, receiver.Options{Secrets: []string{secret.Reveal()}})
	after := s.receive(t, portal.Portal{Name: "after", Secrets: both}, receiver.Options{Secrets: []string{fresh.Reveal()}})
	s.publish(t, text("1", 1))
	s.level(t)
	if before.Counts().Kept != 1 || after.Counts().Kept != 1 {
		t.Errorf("before %+v, after %+v", before.Counts(), after.Counts())
	}
}

func TestDeadPortalDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	s := started(t)
	s.receive(t, portal.Portal{Name: "dead"}, receiver.Options{Answer: always(receiver.Hang())})
	well := s.receive(t, portal.Portal{Name: "well"}, receiver.Options{})
	var ids []string
	for _, id := range strings.Fields("1 2 3 4 5 6 7 8 9 10") {
		s.publish(t, text(id, 1))
		ids = append(ids, id)
	}
	loatest.Eventually(t, "the other portal has them all", func() bool { return well.Counts().Kept == len(ids) })
	var held []string
	for _, h := range well.Held() {
		held = append(held, h.Bulletin.Data.ID)
	}
	slices.Sort(held)
	slices.Sort(ids)
	if !slices.Equal(held, ids) {
		t.Errorf("holds %q", held)
	}
	if err := s.portals.Delete(t.Context(), "dead", "test"); err != nil {
		t.Fatal(err)
	}
}
