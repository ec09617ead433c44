package media

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/workers/media/picture"
)

func widthsOf(img article.Image) string {
	var all []int
	for _, r := range img.Renditions {
		if r.MediaType == "image/jpeg" {
			all = append(all, r.Width)
		}
	}
	return fmt.Sprint(all)
}

func TestRenewMakesWhatTheSettingsAskFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, err := b.Store.Store(t.Context(), events.Image{ContentID: "anh", Data: jpegFile(t, 900, 600, 5)})
	if err != nil {
		t.Fatal(err)
	}
	if got := widthsOf(before); got != "[320 640 900]" {
		t.Fatalf("widths %s", got)
	}
	if same, err := b.Renew(t.Context(), before); err != nil || !reflect.DeepEqual(same, before) {
		t.Errorf("nothing has changed: %+v, %v", same, err)
	}
	b.o.Forms.Widths = []int{200, 640}
	for range 2 {
		after, err := b.Renew(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		if got := widthsOf(after); got != "[200 640]" || after.SHA256 != before.SHA256 || after.Original != before.Original || after.ContentID != "anh" {
			t.Errorf("%s in %+v", got, after)
		}
		for _, r := range after.Renditions {
			o, err := b.objects.Stat(t.Context(), r.URL[len(article.MediaScheme):])
			if err != nil || o.Size != r.Size || o.ContentType != r.MediaType {
				t.Errorf("%s: %+v, %v", r.URL, o, err)
			}
		}
	}
	// It is shown so from now on, without being made again.
	again, err := b.Store.Store(t.Context(), events.Image{Data: jpegFile(t, 900, 600, 5)})
	if err != nil || widthsOf(again) != "[200 640]" {
		t.Errorf("published again: %s, %v", widthsOf(again), err)
	}
	for _, r := range before.Renditions { // somebody may show them
		if _, err := b.objects.Stat(t.Context(), r.URL[len(article.MediaScheme):]); err != nil {
			t.Error(err)
		}
	}
	b.o.Forms.Widths = []int{100}
	if err := b.objects.Delete(t.Context(), before.Original.URL[len(article.MediaScheme):]); err != nil {
		t.Fatal(err)
	}
	var permanent *PermanentError
	if _, err := b.Renew(t.Context(), before); !errors.As(err, &permanent) {
		t.Errorf("without the original: %v", err)
	}
}

func TestRenewMakesTheCropsOfEveryFocalPoint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	left := events.Image{Data: jpegFile(t, 400, 300, 5), ContentID: "a", Focal: &events.Focal{X: 0.2, Y: 0.5}}
	right := left
	right.Focal = &events.Focal{X: 0.8, Y: 0.5}
	one, other := b.must(left), b.must(right)
	if one.Crops != nil || other.Crops != nil {
		t.Fatalf("crops %v, %v", one.Crops, other.Crops)
	}
	b.o.Forms.Crops = []picture.Crop{picture.Square}
	for range 2 { // the second time, nothing is made
		for _, img := range []article.Image{one, other} {
			got, err := b.Renew(t.Context(), img)
			if err != nil || len(got.Crops) != 2 || !strings.Contains(got.Crops[0].URL, focal(img.Image).String()) {
				t.Errorf("crops %+v, %v", got.Crops, err)
			}
		}
	}
	b.wantCounts(map[string]int{"stored": 1, "rendered": 3})
}
