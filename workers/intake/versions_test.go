package intake_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
	"golang.org/x/text/unicode/norm"
)

func TestFirstPublicationMakesAnArticle(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) {
		a.Title = norm.NFD.String("Phường An Khánh  mở điểm\u202e tiêm")
		a.Body = norm.NFD.String(`<p onclick="x()">Ủy ban nhân dân phường mở điểm tiêm tại trường học.</p>`) +
			`<script>alert(1)</script><p>Xem <a href="/lich">lịch tiêm</a>.`
		a.Tags = []string{norm.NFD.String("y tế"), "y tế"}
		a.Authors = []events.Author{{Name: "Lê Thu Hà"}, {Name: "\u200b"}}
	}))

	a := b.article("tin-1")
	if a == nil {
		t.Fatalf("not in the log; dead letters: %+v", b.letters())
	}
	if want := "Phường An Khánh mở điểm tiêm"; a.Title != want {
		t.Errorf("title %q, want %q", a.Title, want)
	}
	if want := `<p>Ủy ban nhân dân phường mở điểm tiêm tại trường học.</p><p>Xem <a href="https://an-khanh.example.vn/lich">lịch tiêm</a>.</p>`; a.Body != want {
		t.Errorf("body %q, want %q", a.Body, want)
	}
	if want := "Ủy ban nhân dân phường mở điểm tiêm tại trường học."; !strings.HasPrefix(a.Summary, want) {
		t.Errorf("summary %q, want it to begin with %q", a.Summary, want)
	}
	if !slices.Equal(a.Tags, []string{"y tế"}) || len(a.Authors) != 1 {
		t.Errorf("tags %q, authors %v", a.Tags, a.Authors)
	}
	if a.GUID == "" || a.Version.String() != "1" || !a.Live() || a.Language != "vi" || a.Urgency != 5 || a.Accepted.IsZero() {
		t.Errorf("article is %+v", a)
	}
	if n := b.storeEqualsLog(); n != 1 {
		t.Errorf("%d articles, want 1", n)
	}
	b.noLetters()
}

func TestASummaryOfTheCMSIsKept(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Summary = "Cắt điện từ 8 giờ." }))
	if a := b.article("tin-1"); a.Summary != "Cắt điện từ 8 giờ." {
		t.Errorf("summary %q", a.Summary)
	}
}

func TestAnUpdateKeepsTheGUIDAndWhatTheArticleEverWas(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	first := b.article("tin-1")
	b.take(snapshot("tin-1", 2, func(a *events.Article) {
		a.Categories = []events.Category{{ID: "y-te"}}
		a.Language = "en"
	}))
	a := b.article("tin-1")
	if a.GUID != first.GUID || a.Number != 2 || !a.Accepted.After(first.Accepted) {
		t.Errorf("update is %+v, first was %+v", a, first)
	}
	if !slices.Equal(a.Ever.Categories, []string{"thong-bao", "y-te"}) || !slices.Equal(a.Ever.Languages, []string{"en", "vi"}) {
		t.Errorf("ever: %+v", a.Ever)
	}
	if len(a.Categories) != 1 || a.Categories[0].Label != "y-te" {
		t.Errorf("categories %v", a.Categories)
	}
	b.storeEqualsLog()
}

// An article may be older than what is remembered: its authors were not, once.
func TestAnUpdateRemembersWhatItsPredecessorDidNot(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Authors = []events.Author{{Name: "Lan"}} }))
	old, err := b.log.Latest(t.Context(), streams.KeyOf(siteID, "tin-1"))
	if err != nil {
		t.Fatal(err)
	}
	old.Article.Ever.Authors = nil
	if _, err := b.log.Put(t.Context(), old.Article, old.Seq); err != nil {
		t.Fatal(err)
	}
	b.take(snapshot("tin-1", 2, func(a *events.Article) { a.Authors = []events.Author{{Name: "Minh"}} }))
	if got := b.article("tin-1").Ever.Authors; !slices.Equal(got, []string{"Lan", "Minh"}) {
		t.Errorf("it ever had the authors %q", got)
	}
	b.take(withdrawal("tin-1", 3))
	if got := b.article("tin-1").Ever.Authors; !slices.Equal(got, []string{"Lan", "Minh"}) {
		t.Errorf("withdrawn, it ever had the authors %q", got)
	}
}

func TestAnArticleHasNotEverMoreTagsThanCanBeFollowed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes thousands of tags")
	}
	t.Parallel()
	b := start(t)
	const each, versions = 64, 32 // 2,048, and some categories
	for v := 1; v <= versions; v++ {
		b.take(snapshot("tin-1", int64(v), func(a *events.Article) {
			for i := range each {
				a.Tags = append(a.Tags, fmt.Sprintf("%d-%d", v, i))
			}
		}))
	}
	if l := b.letter(); !strings.Contains(l.Reason, "at most 2000") || l.Version != "32" {
		t.Errorf("dead letter %s: %s", l.Version, l.Reason)
	}
	b.take(withdrawal("tin-1", versions+1))
	if a := b.article("tin-1"); a.Live() {
		t.Error("it can no longer be withdrawn")
	}
}

func TestAnOlderVersionIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 3))
	b.take(snapshot("tin-1", 2), withdrawal("tin-1", 1))
	b.stays("tin-1", "3")
	if n := b.count("older"); n != 2 {
		t.Errorf("%d counted as older, want 2", n)
	}
	b.storeEqualsLog()
	b.noLetters()
}

func TestARepeatCompletesWhatACrashInterrupted(t *testing.T) {
	t.Parallel()
	b := start(t)
	expires := time.Now().Add(time.Hour)
	ev := snapshot("tin-1", 1, func(a *events.Article) { a.ExpiresAt = &expires })
	b.take(ev)
	// As if the process had died between the log and S3.
	key := streams.KeyOf(siteID, "tin-1")
	if err := b.objects.Delete(t.Context(), key.Object()); err != nil {
		t.Fatal(err)
	}
	if err := b.schedule.Cancel(t.Context(), streams.Expiry, key); err != nil {
		t.Fatal(err)
	}
	b.take(again(ev))
	b.stays("tin-1", "1")
	if n := b.count("duplicate"); n != 1 {
		t.Errorf("%d duplicates, want 1", n)
	}
	if n := b.storeEqualsLog(); n != 1 {
		t.Errorf("%d articles, want 1", n)
	}
	if w, err := b.schedule.Waiting(t.Context(), streams.Expiry, key); err != nil || w == nil {
		t.Errorf("expiry is scheduled: %v, %v", w, err)
	}
	b.noLetters()
}

func TestTheSameVersionWithOtherContentIsSetAside(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	other := snapshot("tin-1", 1, func(a *events.Article) { a.Title = "Một bài khác" })
	b.take(other)
	if a := b.article("tin-1"); a.Title != "Lịch cắt điện, bản 1" {
		t.Errorf("title became %q", a.Title)
	}
	l := b.letter()
	if want := "/data/version: got 1 again with other content, expected a greater version for every change"; l.Reason != want {
		t.Errorf("reason %q, want %q", l.Reason, want)
	}
	if l.Stage != "intake" || l.Key != siteID+".tin-1" || l.Event != other.ID || l.Version != "1" {
		t.Errorf("letter %+v", l)
	}
}

func TestAWithdrawalTakesTheContentAway(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]int64{"naming the version withdrawn": 4, "as a version of its own": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			live := snapshot("tin-1", 4)
			b.take(live)
			guid := b.article("tin-1").GUID
			gone := withdrawal("tin-1", version)
			b.take(gone)
			a := b.article("tin-1")
			if a.Live() || a.Body != "" || a.Summary != "" || a.GUID != guid || a.Number != version || a.Title == "" || a.URL == "" ||
				a.Withdrawal == nil || a.Withdrawal.Reason != "Nội dung không chính xác" {
				t.Fatalf("withdrawn: %+v", a)
			}
			if !slices.Equal(a.Ever.Categories, []string{"thong-bao"}) {
				t.Errorf("ever: %+v", a.Ever)
			}
			was := a.Version
			b.take(again(live), again(gone))
			if a := b.article("tin-1"); a.Live() || a.Version != was {
				t.Errorf("after repeats: %+v", a)
			}
			b.storeEqualsLog()
			b.noLetters()
			b.take(snapshot("tin-1", 6))
			if a := b.article("tin-1"); !a.Live() || a.GUID != guid || a.Withdrawal != nil {
				t.Errorf("published anew: %+v", a)
			}
		})
	}
}

func TestAWithdrawalBeforePublicationIsKept(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(withdrawal("tin-1", 2))
	if a := b.article("tin-1"); a == nil || a.Live() || a.GUID == "" {
		t.Fatalf("withdrawn: %+v", a)
	}
	b.take(snapshot("tin-1", 1), snapshot("tin-1", 2))
	if a := b.article("tin-1"); a.Live() || a.Version.String() != "2" {
		t.Errorf("a snapshot that came late shows the article: %+v", a)
	}
	if n := b.count("older"); n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}
	b.storeEqualsLog()
	b.noLetters()
}

func TestAContradictionIsSetAsideAfterAWithdrawalToo(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	b.take(withdrawal("tin-1", 1))
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Title = "Một bài khác" }))
	if a := b.article("tin-1"); a.Live() {
		t.Errorf("article is %+v", a)
	}
	b.letter()
}
