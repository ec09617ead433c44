package intake_test

import (
	"context"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

func TestRenewedPicturesMakeARevision(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	in, err := intake.New(t.Context(), intake.Options{JS: b.js, Pictures: b.pictures, Objects: b.objects})
	if err != nil {
		t.Fatal(err)
	}
	b.run()
	b.take(snapshot("tin-1", 1, withPicture(photo), withPicture(plan)))
	before := b.article("tin-1")
	// Of the first picture, the renditions of 320 pixels are no longer made.
	renew := func(_ context.Context, img article.Image) (article.Image, error) {
		if img.URL == photo && len(img.Renditions) == 6 {
			img.Renditions = img.Renditions[2:]
		}
		return img, nil
	}
	key := streams.KeyOf(siteID, "tin-1")
	if changed, err := in.Renew(t.Context(), key, renew); err != nil || !changed {
		t.Fatalf("changed %t, %v", changed, err)
	}
	a := b.becomes("tin-1", "1.1")
	one, two := media(photo), media(plan)
	if strings.Contains(a.Body, one+"/w320.jpeg") || !strings.Contains(a.Body, `srcset="`+one+"/w640.jpeg 640w, "+one+`/w1280.jpeg 1280w"`) ||
		!strings.Contains(a.Body, `srcset="`+two+"/w320.jpeg 320w") {
		t.Errorf("the body is %s", a.Body)
	}
	if want := strings.Replace(before.Body, one+"/w320.jpeg 320w, ", "", 1); a.Body != want {
		t.Errorf("the body is\n%s\nwant\n%s", a.Body, want)
	}
	if len(a.Released) > 0 {
		t.Errorf("released %v", a.Released)
	}
	if changed, err := in.Renew(t.Context(), key, renew); err != nil || changed {
		t.Errorf("once more: changed %t, %v", changed, err)
	}
	b.take(withdrawal("tin-1", 2))
	if changed, err := in.Renew(t.Context(), key, renew); err != nil || changed {
		t.Errorf("withdrawn: changed %t, %v", changed, err)
	}
	if changed, err := in.Renew(t.Context(), streams.KeyOf(siteID, "tin-9"), renew); err != nil || changed {
		t.Errorf("none: changed %t, %v", changed, err)
	}
	b.storeEqualsLog()
}
