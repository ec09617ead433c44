package intake_test

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestImagesWithoutAlternativeTextAreWarnedOf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		images []events.Image
		body   string
		want   []string
	}{
		"described in the list":      {images: []events.Image{{URL: photo, Role: events.RoleLead, Alt: "Trạm"}}},
		"described in the body":      {images: []events.Image{{URL: photo, Role: events.RoleLead}}, body: `<img src="/anh/tram.jpg" alt="Trạm">`},
		"an ornament":                {body: `<img src="/anh/tram.jpg" alt="">`},
		"no pictures":                {body: `<p alt="x">img</p>`},
		"listed":                     {images: []events.Image{{URL: photo, Role: events.RoleLead, Alt: " "}}, want: []string{"/data/images/0/alt: " + photo}},
		"inline":                     {images: []events.Image{{Data: []byte("x"), ContentID: "a", Role: events.RoleInline}}, want: []string{"/data/images/0/alt: cid:a"}},
		"inline, described":          {images: []events.Image{{Data: []byte("x"), ContentID: "a", Role: events.RoleInline}}, body: `<img src="cid:a" alt="Sơ đồ">`},
		"in the body":                {body: `<img src="/anh/tram.jpg">`, want: []string{"/data/body: " + photo}},
		"in the body, loaded late":   {body: `<img src="/blank.gif" data-src="/anh/tram.jpg">`, want: []string{"/data/body: " + photo}},
		"twice, described only once": {body: `<img src="/anh/tram.jpg"><img src="/anh/tram.jpg" alt="Trạm">`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Images, a.Body = tc.images, a.Body+tc.body }))
			b.stays("tin-1", "1")
			if tc.want == nil {
				b.noLetters()
				return
			}
			l := b.letter()
			if l.Stage != streams.Warnings || !l.Warning || l.Key != siteID+".tin-1" || l.Version != "1" || !slices.Equal(l.Faults, tc.want) {
				t.Errorf("letter %+v", l)
			}
		})
	}
}

func TestOnlyTheNewestVersionIsWarnedOf(t *testing.T) {
	t.Parallel()
	b := start(t)
	silent := func(a *events.Article) { a.Images = []events.Image{{URL: photo, Role: events.RoleLead}} }
	b.take(snapshot("tin-1", 1, silent))
	b.take(again(snapshot("tin-1", 1, silent)))
	if l := b.letter(); l.Version != "1" {
		t.Errorf("letter %+v", l)
	}
	b.take(snapshot("tin-1", 2, silent))
	if l := b.letter(); l.Version != "2" {
		t.Errorf("letter %+v", l)
	}
	b.take(snapshot("tin-1", 3, withPicture(photo)))
	b.noLetters()
	b.take(snapshot("tin-2", 1, silent), snapshot("tin-3", 1, silent))
	if n := len(b.letters()); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
	b.take(snapshot("tin-2", 2), withdrawal("tin-3", 2))
	b.noLetters()
}

func TestNoArticleWaitsForAWarning(t *testing.T) {
	t.Parallel()
	b := start(t)
	stream, err := b.js.Stream(t.Context(), streams.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	full := stream.CachedInfo().Config
	full.MaxBytes, full.Discard = 1, jetstream.DiscardNew
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Images = []events.Image{{URL: photo, Role: events.RoleLead}} }))
	b.stays("tin-1", "1")
}
