package media

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

// erasing is an eraser over a real log and object store, with two pictures stored.
type erasing struct {
	*Eraser
	t       *testing.T
	js      jetstream.JetStream
	objects *objects.Store
}

const (
	station = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	ground  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func newErasing(t *testing.T) *erasing {
	t.Helper()
	b := &erasing{t: t, js: loatest.NATS(t), objects: loatest.Objects(t)}
	var err error
	// No use is too young to be judged.
	if b.Eraser, err = NewEraser(t.Context(), EraserOptions{JS: b.js, Objects: b.objects, Settling: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	for _, picture := range []string{station, ground} {
		b.put(picture)
	}
	return b
}

func (b *erasing) put(picture string) {
	b.t.Helper()
	for _, file := range []string{"original.jpg", "w320.jpg", "w320.webp"} {
		if _, err := b.objects.Put(b.t.Context(), folder(picture)+file, []byte("x"), objects.Meta{}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// files counts the picture's objects.
func (b *erasing) files(picture string) (n int) {
	b.t.Helper()
	for _, err := range b.objects.List(b.t.Context(), folder(picture)) {
		if err != nil {
			b.t.Fatal(err)
		}
		n++
	}
	return n
}

// write writes an article that shows the pictures, over the version of sequence last.
func (b *erasing) write(id string, last uint64, pictures ...string) uint64 {
	b.t.Helper()
	a := &article.Article{GUID: article.NewGUID("an-khanh", id), Site: "an-khanh", ID: id, Status: events.StatusLive, Title: id,
		Version: article.Version{Number: int64(last + 1)}}
	for _, picture := range pictures {
		a.Images = append(a.Images, article.Image{SHA256: picture})
	}
	seq, err := b.log.Put(b.t.Context(), a, last)
	if err != nil {
		b.t.Fatal(err)
	}
	return seq
}

func (b *erasing) erase(picture string) time.Duration {
	b.t.Helper()
	wait, err := b.Erase(b.t.Context(), picture)
	if err != nil {
		b.t.Fatal(err)
	}
	return wait
}

func (b *erasing) gone(picture string) bool {
	b.t.Helper()
	gone, err := b.uses.Gone(b.t.Context(), picture)
	if err != nil {
		b.t.Fatal(err)
	}
	return gone
}

func TestOnlyPicturesThatNoArticleUsesAreErased(t *testing.T) {
	t.Parallel()
	b := newErasing(t)
	first := b.write("tin-1", 0, station, ground)
	b.write("tin-2", 0, ground)
	if err := b.uses.Whole(t.Context(), b.log); err != nil { // the log is older than the account
		t.Fatal(err)
	}
	b.erase(station)
	if b.files(station) != 3 || b.gone(station) {
		t.Error("a picture in use was erased")
	}
	b.write("tin-1", first)
	b.erase(station)
	b.erase(ground)
	if b.files(station) != 0 || !b.gone(station) {
		t.Errorf("%d files are left of the picture that nobody uses", b.files(station))
	}
	if b.files(ground) != 3 || b.gone(ground) {
		t.Error("the picture that another article uses was erased")
	}
	b.erase(station) // once more does no harm
}

func TestAPictureAboutToBeUsedIsNotErased(t *testing.T) {
	t.Parallel()
	b := newErasing(t)
	b.o.Settling = time.Hour
	if err := b.uses.Add(t.Context(), streams.KeyOf("an-khanh", "tin-1"), []string{station}); err != nil {
		t.Fatal(err)
	}
	if wait := b.erase(station); wait < 50*time.Minute || wait > time.Hour {
		t.Errorf("to be looked at again in %s", wait)
	}
	if b.files(station) != 3 || b.gone(station) {
		t.Error("it was erased")
	}
}

func TestErasingGoesOnAfterAFault(t *testing.T) {
	t.Parallel()
	b := newErasing(t)
	real := b.o.Objects
	b.o.Objects = &breaking{Erasable: real, left: 1}
	if _, err := b.Erase(t.Context(), station); err == nil {
		t.Fatal("no error")
	}
	// Half of it is gone: nobody may begin to use it now.
	key := streams.KeyOf("an-khanh", "tin-1")
	if err := b.uses.Add(t.Context(), key, []string{station}); !errors.Is(err, streams.ErrErased) {
		t.Fatalf("use of a picture that is being erased: %v", err)
	}
	b.o.Objects = real
	b.erase(station)
	if b.files(station) != 0 || !b.gone(station) {
		t.Errorf("%d files are left", b.files(station))
	}
	// Stored again by somebody who was killed then, it is erased again.
	b.put(station)
	b.erase(station)
	if b.files(station) != 0 || !b.gone(station) {
		t.Errorf("%d files are left of what was stored again for nobody", b.files(station))
	}
	// Whoever wants it then has to store it again, and it lives.
	if err := b.uses.Add(t.Context(), key, []string{station}); !errors.Is(err, streams.ErrErased) {
		t.Fatalf("use of a picture that was erased: %v", err)
	}
	b.put(station)
	if err := b.uses.Add(t.Context(), key, []string{station}); err != nil || b.gone(station) {
		t.Fatalf("use of a picture that is stored again: %v, gone %t", err, b.gone(station))
	}
	b.write("tin-1", 0, station)
	b.erase(station)
	if b.files(station) != 3 {
		t.Error("it was erased though it is used")
	}
}

// breaking breaks off after some deletions, as a crash would.
type breaking struct {
	Erasable
	left int
}

func (f *breaking) Delete(ctx context.Context, key string) error {
	if f.left--; f.left < 0 {
		return objects.ErrUnavailable
	}
	return f.Erasable.Delete(ctx, key)
}

func TestDuePicturesAreErasedAfterARestart(t *testing.T) {
	t.Parallel()
	b := newErasing(t)
	for _, picture := range []string{station, ground} {
		at := time.Now().Add(time.Second)
		if picture == ground {
			at = time.Now().Add(time.Hour)
		}
		if err := b.schedule.Set(t.Context(), streams.Erasure, streams.ErasureKey(picture), at, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	loatest.Eventually(t, "the due picture is erased", func() bool { return b.gone(station) && b.files(station) == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if b.files(ground) != 3 {
		t.Error("erased before its time")
	}
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	b := newErasing(t)
	waits := strings.Repeat("c", 64)
	b.put(waits)
	for _, key := range []string{folder(ground) + "notes.pdf", "media/notes.txt"} { // no pictures
		if _, err := b.objects.Put(t.Context(), key, []byte("x"), objects.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.schedule.Set(t.Context(), streams.Erasure, streams.ErasureKey(waits), time.Now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	b.write("tin-1", 0, station)
	survey := func(age time.Duration) (found []string, s Survey) {
		t.Helper()
		s, err := b.Survey(t.Context(), age, func(Survey) {}, func(o Orphan) error {
			found = append(found, o.SHA256)
			if o.Files != 3 || o.Bytes != 3 {
				t.Errorf("%+v", o)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found, s
	}
	if found, s := survey(time.Hour); len(found) != 0 || s.Young != 2 || s.Pictures != 3 || s.Articles != 1 {
		t.Errorf("young ones: %v, %+v", found, s)
	}
	// S3 tells times in seconds; everything is older than a moment in the future.
	if found, s := survey(-time.Minute); len(found) != 1 || found[0] != ground || s.Waiting != 1 || s.OrphanBytes != 3 {
		t.Errorf("%v, %+v", found, s)
	}
	b.erase(ground)
	if n := b.files(ground); n != 1 {
		t.Errorf("%d files are left beside the erased picture, not the one that is none of it", n)
	}
}
