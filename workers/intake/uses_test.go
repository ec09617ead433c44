package intake_test

import (
	"slices"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// sum is the SHA-256 of the picture of that address.
func sum(url string) string { return media(url)[len("loa-media:media/"):] }

func erasing(id string, version int64) events.Event {
	return events.NewWithdrawn("https://cms.example.vn", events.Withdrawal{
		Site: siteID, ID: id, Version: version, Reason: "Ảnh không được phép dùng", Status: events.WithdrawnGone,
		WithdrawnAt: time.Date(2026, 10, 2, 8, 0, 0, 0, time.UTC), Erase: true,
	})
}

// users are the articles that are noted to use a picture.
func (b *bench) users(url string) (ids []streams.Key) {
	b.Helper()
	uses, err := streams.OpenUses(b.Context(), b.js)
	if err != nil {
		b.Fatal(err)
	}
	for use, err := range uses.Of(b.Context(), sum(url)) {
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, use.Article)
	}
	slices.Sort(ids)
	return ids
}

// erasure is when a picture is to be looked at; zero if it is not.
func (b *bench) erasure(url string) time.Time {
	b.Helper()
	w, err := b.schedule.Waiting(b.Context(), streams.Erasure, streams.ErasureKey(sum(url)))
	if err != nil {
		b.Fatal(err)
	}
	if w == nil {
		return time.Time{}
	}
	return w.At
}

func TestPicturesAreLetGoWhenTheyAreReplacedOrErased(t *testing.T) {
	t.Parallel()
	b := start(t)
	one, two := streams.KeyOf(siteID, "tin-1"), streams.KeyOf(siteID, "tin-2")
	wantUsers := func(url string, want ...streams.Key) {
		t.Helper()
		if got := b.users(url); !slices.Equal(got, want) {
			t.Errorf("%s is used by %v, not %v", url, got, want)
		}
	}
	b.take(snapshot("tin-1", 1, withPicture(photo), withPicture(plan)), snapshot("tin-2", 1, withPicture(plan)))
	wantUsers(photo, one)
	wantUsers(plan, one, two)

	// Withdrawn without erase, they stay; published again without one of them, that is let go.
	b.take(withdrawal("tin-1", 2))
	if a := b.article("tin-1"); len(a.Kept) != 2 || len(a.Released) != 0 {
		t.Errorf("withdrawn: kept %v, released %v", a.Kept, a.Released)
	}
	wantUsers(photo, one)
	if !b.erasure(photo).IsZero() {
		t.Error("a picture that is kept is to be erased")
	}
	b.take(snapshot("tin-1", 3, withPicture(plan)))
	wantUsers(photo)
	if left := time.Until(b.erasure(photo)); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the replaced picture is to be erased in %s", left)
	}
	if !b.erasure(plan).IsZero() {
		t.Error("a picture in use is to be erased")
	}

	b.take(erasing("tin-1", 4))
	if a := b.article("tin-1"); len(a.Kept) != 0 || !slices.Equal(a.Released, []string{sum(photo), sum(plan)}) {
		t.Errorf("erased: kept %v, released %v", a.Kept, a.Released)
	}
	wantUsers(plan, two) // which the eraser finds out
	if b.erasure(plan).IsZero() {
		t.Error("nobody looks at the picture that the withdrawn article used")
	}
	b.take(snapshot("tin-1", 5, withPicture(photo)))
	wantUsers(photo, one)
	if a := b.article("tin-1"); !slices.Equal(a.Released, []string{sum(plan)}) {
		t.Errorf("published again: released %v", a.Released)
	}
	b.storeEqualsLog()
}

func TestNoArticleUsesAPictureThatIsBeingErased(t *testing.T) {
	t.Parallel()
	b := start(t)
	uses, err := streams.OpenUses(t.Context(), b.js)
	if err != nil {
		t.Fatal(err)
	}
	turn := func(to streams.State) {
		t.Helper()
		life, err := uses.Life(t.Context(), sum(photo))
		if err == nil {
			_, err = uses.Turn(t.Context(), sum(photo), life, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	turn(streams.Erasing)
	b.publish(snapshot("tin-1", 1, withPicture(photo)))
	loatest.Eventually(t, "the picture is asked for twice", func() bool { return b.pictures.times(photo) >= 2 })
	if _, err := b.log.Latest(t.Context(), streams.KeyOf(siteID, "tin-1")); err == nil {
		t.Error("the article is out, with a picture that is being erased")
	}
	before := b.pictures.times(photo)
	turn(streams.Erased)
	b.becomes("tin-1", "1")
	if b.pictures.times(photo) <= before {
		t.Error("the picture was not stored again")
	}
	if gone, err := uses.Gone(t.Context(), sum(photo)); err != nil || gone {
		t.Errorf("gone %t, %v", gone, err)
	}
}

// A crash after the log was written, and before the pictures were let go, leaves the event to be
// taken in again.
func TestAnInterruptedReleaseIsCompleted(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, withPicture(photo)), erasing("tin-1", 2))
	uses, err := streams.OpenUses(t.Context(), b.js)
	if err != nil {
		t.Fatal(err)
	}
	key := streams.KeyOf(siteID, "tin-1")
	if err := uses.Note(t.Context(), key, []string{sum(photo)}); err != nil {
		t.Fatal(err)
	}
	if err := b.schedule.Cancel(t.Context(), streams.Erasure, streams.ErasureKey(sum(photo))); err != nil {
		t.Fatal(err)
	}
	b.take(again(erasing("tin-1", 2)))
	if users := b.users(photo); len(users) > 0 || b.erasure(photo).IsZero() {
		t.Errorf("still used by %v, to be erased at %s", users, b.erasure(photo))
	}
}

// By them the gallery's feed knows which of its entries are to go.
func TestAWithdrawnArticleRemembersItsGallery(t *testing.T) {
	t.Parallel()
	b := start(t)
	hung := func(url string) func(*events.Article) {
		return func(a *events.Article) {
			a.Images = append(a.Images, events.Image{URL: url, Role: events.RoleGallery, Alt: "Ảnh"})
		}
	}
	b.take(snapshot("tin-1", 1, withPicture(photo), hung(plan)))
	for version := int64(2); version <= 3; version++ { // a second withdrawal forgets nothing
		b.take(erasing("tin-1", version))
		if a := b.article("tin-1"); a.Live() || !slices.Equal(a.Gallery, []string{sum(plan)}) {
			t.Errorf("version %s: the gallery was %v", a.Version, a.Gallery)
		}
	}
	b.take(snapshot("tin-1", 4, hung(photo)))
	if a := b.article("tin-1"); len(a.Gallery) > 0 || !slices.Equal(a.GalleryPictures(), []string{sum(photo)}) {
		t.Errorf("published again: the gallery was %v, is %v", a.Gallery, a.GalleryPictures())
	}
}
