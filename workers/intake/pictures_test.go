package intake_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

const (
	photo = "https://an-khanh.example.vn/anh/tram.jpg"
	plan  = "https://an-khanh.example.vn/anh/ban-do.jpg"
)

// hasty is an intake that waits for pictures only shortly.
func hasty(pauses ...time.Duration) func(*intake.Options) {
	return func(o *intake.Options) { o.PicturesDeadline, o.PicturePauses = 100*time.Millisecond, pauses }
}

func TestABodyShowsTheStoredPictures(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, withPicture(photo)))
	a := b.article("tin-1")
	if lead := a.Lead(); len(a.Images) != 1 || lead == nil || !lead.Stored() || lead.Pending || lead.Alt != "Trạm biến áp" {
		t.Fatalf("images %+v", a.Images)
	}
	m := media(photo)
	for _, want := range []string{
		`src="` + m + `/w640.jpeg"`, `width="640" height="480"`,
		`srcset="` + m + `/w320.jpeg 320w, ` + m + `/w640.jpeg 640w, ` + m + `/w1280.jpeg 1280w"`,
		`alt="Trạm biến áp"`, "<figcaption>",
	} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("no %s in %s", want, a.Body)
		}
	}
	b.storeEqualsLog()
}

func TestAPictureThatOnlyTheBodyShowsIsStoredToo(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) {
		a.Body += `<p><img src="/anh/ban-do.jpg"> <img data-src="/anh/ban-do.jpg"></p>`
	}))
	a := b.article("tin-1")
	if len(a.Images) != 1 || a.Images[0].URL != plan || a.Images[0].Role != events.RoleInline || !a.Images[0].Stored() {
		t.Fatalf("images %+v", a.Images)
	}
	if strings.Count(a.Body, `src="`+media(plan)+"/w640.jpeg") != 2 || strings.Contains(a.Body, "ban-do") {
		t.Errorf("body %s", a.Body)
	}
	if n := b.pictures.times(plan); n != 1 {
		t.Errorf("asked for %d times, want 1", n)
	}
}

func TestAnInlinePictureIsStoredAndLeavesTheArticle(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) {
		a.Images = []events.Image{{Data: []byte("JPEG"), ContentID: "anh1", Role: events.RoleLead}}
		a.Body += `<img src="cid:anh1" alt="Sơ đồ">`
	}))
	a := b.article("tin-1")
	if len(a.Images) != 1 || !a.Images[0].Stored() || a.Images[0].Data != nil {
		t.Fatalf("images %+v", a.Images)
	}
	if !strings.Contains(a.Body, `src="`+media("anh1")+`/w640.jpeg"`) || strings.Contains(a.Body, "cid:") {
		t.Errorf("body %s", a.Body)
	}
}

// It is kept nowhere but in the event: what is not stored now never will be.
func TestAnInlinePictureHasNoDeadline(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(time.Hour))
	b.pictures.set("cid:anh1", func(c context.Context, img events.Image) (article.Image, error) {
		select {
		case <-c.Done():
			return article.Image{}, c.Err()
		case <-time.After(300 * time.Millisecond): // a large picture takes longer than the deadline
			return there(c, img)
		}
	})
	b.take(snapshot("tin-1", 1, func(a *events.Article) {
		a.Images = []events.Image{{Data: []byte("JPEG"), ContentID: "anh1", Role: events.RoleLead}}
	}))
	if a := b.article("tin-1"); len(a.Images) != 1 || !a.Images[0].Stored() {
		t.Fatalf("images %+v", a.Images)
	}
}

func TestAPictureThatNeverComesDoesNotHoldTheArticleBack(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.pictures.set(photo, failing(errNoPicture))
	b.take(snapshot("tin-1", 1, withPicture(photo), withPicture(plan)))
	a := b.article("tin-1")
	stored := ids(a.Images, article.Image.Stored)
	if !slices.Equal(stored, []string{plan}) || a.Images[0].Fault != errNoPicture.Error() || a.Images[0].Pending {
		t.Errorf("images %+v", a.Images)
	}
	if w, err := b.schedule.Waiting(t.Context(), streams.Pictures, streams.KeyOf(siteID, "tin-1")); w != nil || err != nil {
		t.Errorf("another attempt is scheduled: %v, %v", w, err)
	}
	l := b.letter()
	if !l.Warning || l.Reason != "the article goes without 1 pictures or attachments" || !slices.Equal(l.Faults, []string{photo + ": " + errNoPicture.Error()}) {
		t.Errorf("letter %+v", l)
	}

	// A person who knows better has it tried again.
	if err := b.dead.Retry(t.Context(), l.Seq); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "another warning", func() bool { all := b.letters(); return len(all) == 1 && all[0].Seq != l.Seq })
	b.settled()
	b.stays("tin-1", "1")
	b.pictures.set(photo, there)
	if err := b.dead.Retry(t.Context(), b.letter().Seq); err != nil {
		t.Fatal(err)
	}
	a = b.becomes("tin-1", "1.1")
	if !a.Images[0].Stored() || !strings.Contains(a.Body, media(photo)) {
		t.Errorf("images %+v in %s", a.Images, a.Body)
	}
	b.settled()
	b.noLetters()
}

func TestAPictureThatIsRefusedLaterIsWarnedOf(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(20*time.Millisecond, time.Hour))
	b.pictures.set(photo, failing(errors.New("connection refused")), failing(errNoPicture))
	b.publish(snapshot("tin-1", 1, withPicture(photo)))
	if a := b.becomes("tin-1", "1.1"); a.Images[0].Pending || a.Images[0].Fault != errNoPicture.Error() {
		t.Errorf("image %+v", a.Images[0])
	}
	b.settled()
	if l := b.letter(); !l.Warning || l.Version != "1" || !slices.Equal(l.Faults, []string{photo + ": " + errNoPicture.Error()}) {
		t.Errorf("letter %+v", l)
	}
	b.take(snapshot("tin-1", 2))
	b.noLetters()
}

func TestAPictureThatMissesTheDeadlineComesInARevision(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(50*time.Millisecond, 50*time.Millisecond, time.Hour))
	b.pictures.set(photo, hanging, failing(errors.New("connection refused")), there)
	b.publish(snapshot("tin-1", 1, withPicture(photo), withPicture(plan)))
	first := b.becomes("tin-1", "1")
	if img := first.Images[0]; img.Stored() || !img.Pending || img.Fault != "not there within 100ms" {
		t.Errorf("picture at first: %+v", img)
	}
	if !strings.Contains(first.Body, media(plan)) {
		t.Errorf("body at first: %s", first.Body)
	}
	a := b.becomes("tin-1", "1.1")
	if img := a.Images[0]; !img.Stored() || img.Pending || img.Fault != "" || img.Alt != "Trạm biến áp" {
		t.Errorf("picture: %+v", img)
	}
	for _, m := range []string{media(photo), media(plan)} {
		if !strings.Contains(a.Body, `src="`+m+`/w640.jpeg"`) {
			t.Errorf("no %s in %s", m, a.Body)
		}
	}
	if a.GUID != first.GUID || !a.Accepted.After(first.Accepted) || !slices.Equal(a.Digests, first.Digests) || a.Summary != first.Summary {
		t.Errorf("revision %+v of %+v", a, first)
	}
	if n := b.pictures.times(plan); n != 1 {
		t.Errorf("the stored picture was asked for %d times, want 1", n)
	}
	b.settled()
	b.storeEqualsLog()
	b.noLetters()
	b.take(again(snapshot("tin-1", 1, withPicture(photo), withPicture(plan))))
	b.stays("tin-1", "1.1")
}

func TestAfterTheLastAttemptAPictureIsSetAside(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(20*time.Millisecond, 20*time.Millisecond))
	b.pictures.set(photo, failing(errors.New("connection refused")))
	b.publish(snapshot("tin-1", 1, withPicture(photo)))
	loatest.Eventually(t, "the dead letter", func() bool { return len(b.letters()) == 1 })
	l := b.letter()
	if l.Stage != "pictures" || l.Key != siteID+".tin-1" || l.Reason != "1 pictures or attachments could not be had in 2 attempts" ||
		!slices.Equal(l.Faults, []string{photo + ": connection refused"}) {
		t.Errorf("letter %+v", l)
	}
	if n := b.pictures.times(photo); n != 3 {
		t.Errorf("asked for %d times, want 3", n)
	}
	b.stays("tin-1", "1")

	b.pictures.set(photo, there)
	if err := b.dead.Retry(t.Context(), l.Seq); err != nil {
		t.Fatal(err)
	}
	b.becomes("tin-1", "1.1")
	b.settled()
	b.noLetters()
}

const timetable = "https://an-khanh.example.vn/tep/lich.pdf"

func withAttachment(a *events.Article) {
	a.Attachments = []events.Attachment{{URL: timetable, Title: "Lịch", MediaType: "application/pdf", Size: 9}}
}

func TestAttachmentsAreStored(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, withAttachment))
	a := b.article("tin-1")
	if len(a.Attachments) != 1 || a.Attachments[0].URL != media(timetable)+"/file.pdf" || a.Attachments[0].Source != timetable || a.Attachments[0].Title != "Lịch" {
		t.Errorf("attachments %+v", a.Attachments)
	}
	if sum := media(timetable)[len("loa-media:media/"):]; !slices.Equal(a.Pictures(), []string{sum}) {
		t.Errorf("in use: %v, want %s", a.Pictures(), sum)
	}
	b.storeEqualsLog()
}

// It is linked where it is until then.
func TestAnAttachmentThatMissesTheDeadlineComesInARevision(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(50*time.Millisecond, 50*time.Millisecond, time.Hour))
	b.pictures.set(timetable, hanging, failing(errors.New("connection refused")), there)
	b.publish(snapshot("tin-1", 1, withAttachment))
	first := b.becomes("tin-1", "1")
	if at := first.Attachments[0]; at.URL != timetable || !at.Pending || !at.Offered() || at.Fault != "not there within 100ms" {
		t.Errorf("at first: %+v", at)
	}
	a := b.becomes("tin-1", "1.1")
	if at := a.Attachments[0]; at.SHA256 == "" || at.Pending || at.Fault != "" {
		t.Errorf("then: %+v", at)
	}
	if a.Body != first.Body {
		t.Errorf("body %s", a.Body)
	}
	b.settled()
	b.noLetters()
}

func TestAnAttachmentThatIsNotStoredIsLinkedWhereItIs(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.pictures.set(timetable, failing(errNoPicture))
	b.take(snapshot("tin-1", 1, withAttachment))
	if at := b.article("tin-1").Attachments[0]; at.URL != timetable || at.Pending || at.Fault != errNoPicture.Error() || !at.Offered() {
		t.Errorf("attachment %+v", at)
	}
	if l := b.letter(); !l.Warning || !slices.Equal(l.Faults, []string{timetable + ": " + errNoPicture.Error()}) {
		t.Errorf("letter %+v", l)
	}
}

func TestALateAttemptLeavesANewerVersionAlone(t *testing.T) {
	t.Parallel()
	b := start(t, hasty(300*time.Millisecond))
	b.pictures.set(photo, failing(errors.New("connection refused")), there)
	b.take(snapshot("new", 1, withPicture(photo)))
	b.take(snapshot("new", 2))
	b.take(snapshot("gone", 1, withPicture(photo+"?2")))
	b.pictures.set(photo+"?2", there)
	b.take(withdrawal("gone", 2))
	loatest.Eventually(t, "nothing is scheduled", func() bool {
		for _, id := range []string{"new", "gone"} {
			if w, err := b.schedule.Waiting(t.Context(), streams.Pictures, streams.KeyOf(siteID, id)); err != nil || w != nil {
				return false
			}
		}
		return true
	})
	b.settled()
	b.stays("new", "2")
	b.stays("gone", "2")
	b.noLetters()
}

func TestAPanicIsOneEventsFault(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.pictures.set(photo, func(context.Context, events.Image) (article.Image, error) { panic("hỏng ảnh") })
	b.take(snapshot("tin-1", 1, withPicture(photo)), snapshot("tin-2", 1))
	b.stays("tin-1", "")
	b.stays("tin-2", "1")
	if l := b.letter(); l.Reason != "an error in Loa itself, panic: hỏng ảnh" || l.Key != siteID+".tin-1" {
		t.Errorf("letter %+v", l)
	}
}

func TestAPictureStoreThatIsAwayHoldsTheEventBack(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.pictures.set(photo, failing(objects.ErrUnavailable), failing(objects.ErrUnavailable), there)
	b.take(snapshot("tin-1", 1, withPicture(photo)))
	if a := b.article("tin-1"); a == nil || !a.Images[0].Stored() || a.Revision != 0 {
		t.Errorf("article %+v", a)
	}
	if n := b.count("retried"); n != 2 {
		t.Errorf("retried %d times, want 2", n)
	}
	b.noLetters()
}
