package intake_test

import (
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

func expiring(in time.Duration) func(*events.Article) {
	at := time.Now().Add(in)
	return func(a *events.Article) { a.ExpiresAt = &at }
}

func embargoed(in time.Duration) func(*events.Article) {
	at := time.Now().Add(in)
	return func(a *events.Article) { a.EmbargoUntil = &at }
}

// behind is a clock that lags the scheduler's.
func behind(by time.Duration) func(*intake.Options) {
	return func(o *intake.Options) { o.Now = func() time.Time { return time.Now().Add(-by) } }
}

func TestAnArticleExpires(t *testing.T) {
	t.Parallel()
	b := start(t)
	at := time.Now().Add(time.Second)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.ExpiresAt = &at }))
	if a := b.article("tin-1"); !a.Live() {
		t.Fatalf("before its time: %+v", a)
	}
	a := b.becomes("tin-1", "1.1")
	if early := time.Until(at); early > 0 {
		t.Errorf("expired %s early", early)
	}
	if a.Live() || !a.Expired || a.Body != "" || !a.Withdrawal.WithdrawnAt.Equal(at) {
		t.Errorf("expired: %+v", a)
	}
	b.settled()
	b.storeEqualsLog()
	b.noLetters()

	b.take(again(snapshot("tin-1", 2, expiring(time.Hour))))
	if a := b.article("tin-1"); !a.Live() {
		t.Errorf("published anew with a later expiry: %+v", a)
	}
}

func TestAnArticleThatArrivesExpiredIsNeverShown(t *testing.T) {
	t.Parallel()
	b := start(t)
	at := time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.ExpiresAt = &at }))
	a := b.article("tin-1")
	if a == nil || a.Live() || !a.Expired || a.Version.String() != "1" {
		t.Errorf("article is %+v", a)
	}
	b.storeEqualsLog()
}

func TestTheNewestVersionDecidesWhenAnArticleExpires(t *testing.T) {
	t.Parallel()
	b := start(t)
	soon := time.Now().Add(1500 * time.Millisecond)
	b.take(snapshot("later", 1, expiring(1500*time.Millisecond)), snapshot("never", 1, expiring(1500*time.Millisecond)))
	b.take(snapshot("later", 2, expiring(time.Hour)), snapshot("never", 2))
	loatest.Eventually(t, "the first expiry has passed", func() bool {
		w, err := b.schedule.Waiting(t.Context(), streams.Expiry, streams.KeyOf(siteID, "never"))
		return err == nil && w == nil && time.Now().After(soon)
	})
	b.settled()
	b.stays("later", "2")
	b.stays("never", "2")
	w, err := b.schedule.Waiting(t.Context(), streams.Expiry, streams.KeyOf(siteID, "later"))
	if err != nil || w == nil || time.Until(w.At) < 50*time.Minute {
		t.Errorf("the later expiry is scheduled: %+v, %v", w, err)
	}
}

func TestAnExpiryThatWasLostIsScheduledAgain(t *testing.T) {
	t.Parallel()
	b := start(t)
	key := streams.KeyOf(siteID, "tin-1")
	b.take(snapshot("tin-1", 1, expiring(time.Hour)))
	// As if another process had put a former version's expiry in its place.
	if err := b.schedule.Set(t.Context(), streams.Expiry, key, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the right expiry is scheduled", func() bool {
		w, err := b.schedule.Waiting(t.Context(), streams.Expiry, key)
		return err == nil && w != nil && time.Until(w.At) > 50*time.Minute
	})
	b.stays("tin-1", "1")
}

func TestAnEmbargoedArticleAppearsAtItsTime(t *testing.T) {
	t.Parallel()
	b := start(t)
	at := time.Now().Add(time.Second)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.EmbargoUntil = &at }))
	b.stays("tin-1", "")
	a := b.becomes("tin-1", "1")
	if early := time.Until(at); early > 0 {
		t.Errorf("shown %s early", early)
	}
	if !a.Live() || a.Title != "Lịch cắt điện, bản 1" {
		t.Errorf("article is %+v", a)
	}
	b.settled()
	b.storeEqualsLog()
	b.noLetters()
	if n := b.count("scheduled"); n != 1 {
		t.Errorf("scheduled %d times, want 1", n)
	}
}

func TestAnEmbargoThatHasPassedMeansNothing(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, embargoed(-time.Minute)))
	b.stays("tin-1", "1")
}

func TestTheLiveVersionStaysDuringTheEmbargoOfTheNext(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	b.take(snapshot("tin-1", 2, embargoed(time.Second)))
	b.stays("tin-1", "1")
	b.becomes("tin-1", "2")
}

func TestOfEmbargoedVersionsTheNewestWaits(t *testing.T) {
	t.Parallel()
	b := start(t)
	two := snapshot("tin-1", 2, embargoed(time.Hour))
	b.take(two)
	b.take(snapshot("tin-1", 1, embargoed(time.Hour))) // late: does not replace it
	b.take(again(two))
	key := streams.KeyOf(siteID, "tin-1")
	waiting := func() int64 {
		w, err := b.schedule.Waiting(t.Context(), streams.Embargo, key)
		if err != nil || w == nil {
			t.Fatalf("waiting: %v, %v", w, err)
		}
		ev, err := events.Parse(w.Header, w.Data)
		if err != nil {
			t.Fatal(err)
		}
		return ev.Version()
	}
	if v := waiting(); v != 2 {
		t.Errorf("version %d waits, want 2", v)
	}
	if b.count("older") != 1 || b.count("duplicate") != 1 || b.count("scheduled") != 1 {
		t.Errorf("older %d, duplicate %d, scheduled %d; want 1 each", b.count("older"), b.count("duplicate"), b.count("scheduled"))
	}
	b.take(snapshot("tin-1", 3, embargoed(time.Second)))
	b.stays("tin-1", "")
	b.becomes("tin-1", "3")
	b.noLetters()

	b.take(snapshot("tin-2", 1, embargoed(time.Hour)))
	b.take(snapshot("tin-2", 1, embargoed(2*time.Hour)))
	if l := b.letter(); l.Key != siteID+".tin-2" {
		t.Errorf("letter %+v", l)
	}
}

// JetStream takes a message that is due, and then purges its subject: what replaced the message
// in between would be lost.
func TestAVersionThatFollowsRightBeforeTheEndOfAnEmbargoIsNotLost(t *testing.T) {
	t.Parallel()
	b := start(t)
	for i := range int64(5) {
		b.publish(snapshot("tin-1", i+1, embargoed(time.Duration(i+1)*300*time.Millisecond)))
	}
	b.becomes("tin-1", "5")
	if b.count("handed back") == 0 {
		t.Error("no version waited for the one before to become due")
	}
	b.settled()
	b.storeEqualsLog()
	b.noLetters()
}

func TestWhatIsWithdrawnDuringItsEmbargoIsNeverShown(t *testing.T) {
	t.Parallel()
	b := start(t)
	at := time.Now().Add(time.Second)
	b.take(snapshot("same", 1, func(a *events.Article) { a.EmbargoUntil = &at }), snapshot("newer", 1, func(a *events.Article) { a.EmbargoUntil = &at }))
	b.take(withdrawal("same", 1), withdrawal("newer", 2))
	for _, id := range []string{"same", "newer"} {
		loatest.Eventually(t, "the embargo is over", func() bool {
			w, err := b.schedule.Waiting(t.Context(), streams.Embargo, streams.KeyOf(siteID, id))
			return err == nil && w == nil && time.Now().After(at)
		})
		if a := b.article(id); a == nil || a.Live() {
			t.Errorf("%s: %+v", id, a)
		}
	}
	b.noLetters()
}

func TestABadArticleUnderEmbargoIsSetAsideAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, embargoed(time.Hour), func(a *events.Article) { a.Title = "\u200b\u200b" }))
	if l := b.letter(); l.Reason != "/data/title: got invisible characters alone, expected text" {
		t.Errorf("reason %q", l.Reason)
	}
}

func TestAClockBehindTheSchedulersWaitsQuietly(t *testing.T) {
	t.Parallel()
	const lag = 1500 * time.Millisecond
	b := start(t, behind(lag))
	at := time.Now().Add(500 * time.Millisecond)
	b.take(snapshot("embargoed", 1, func(a *events.Article) { a.EmbargoUntil = &at }), snapshot("expiring", 1, func(a *events.Article) { a.ExpiresAt = &at }))
	b.becomes("embargoed", "1")
	b.becomes("expiring", "1.1")
	if early := time.Until(at.Add(lag)); early > 0 {
		t.Errorf("%s early by the intake's own clock", early)
	}
	b.settled()
	if n, again, m := b.count("handed back"), b.count("no change"), b.count("scheduled"); n > 4 || again > 0 || m != 1 {
		t.Errorf("handed back %d times, scheduled again %d times, scheduled %d times; want 2, 0, 1", n, again, m)
	}
	b.noLetters()
}

func TestWhatIsDueIsNotReplacedByAnOlderVersion(t *testing.T) {
	t.Parallel()
	b := start(t, behind(2*time.Second)) // so that the newer one stays due for a while
	key := streams.KeyOf(siteID, "tin-1")
	b.publish(snapshot("tin-1", 3, embargoed(300*time.Millisecond)))
	loatest.Eventually(t, "the newer version is due", func() bool {
		w, err := b.schedule.Waiting(t.Context(), streams.Embargo, key)
		return err == nil && w != nil && w.Seq == 0
	})
	b.publish(snapshot("tin-1", 2, embargoed(time.Hour)))
	loatest.Eventually(t, "the older one is dropped", func() bool { return b.count("older") == 1 })
	b.becomes("tin-1", "3")
	b.noLetters()
}
