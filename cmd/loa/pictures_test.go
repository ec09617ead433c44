package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// A picture of a withdrawn article is erased after its time of grace, over a kill -9 in between;
// one that another article uses stays; published again, it comes back.
func TestErasedPicturesAreGone(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	c.media("erase_after: 2s")
	for i, name := range []string{"mot.jpg", "hai.jpg"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), sample.Photo(uint64(i+70), 640, 400), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tin := func(id, images string) string {
		return c.write(id+".md", "---\nsite: phuong-cau-go\nid: "+id+"\nurl: https://caugo.anhoa.example/"+id+
			"\ntitle: Tin "+id+"\nimages: ["+images+"]\n---\nNội dung.\n")
	}
	one, two := tin("tin-1", "{file: mot.jpg, alt: Một}, {file: hai.jpg, alt: Hai}"), tin("tin-2", "{file: hai.jpg, alt: Hai}")
	c.serve()
	c.runLines(
		line{"publish --data {data} " + one, 0, []string{"in the log"}},
		line{"publish --data {data} " + two, 0, []string{"in the log"}},
	)
	var pictures []string
	status, out, _ := c.command("article", "show", "--data", c.data, "--json", "phuong-cau-go/tin-1")
	var a article.Article
	if err := json.Unmarshal([]byte(out), &a); status != 0 || err != nil {
		t.Fatalf("status %d, %v in %s", status, err, out)
	}
	for _, img := range a.Images {
		pictures = append(pictures, img.SHA256)
	}
	answers := func(picture string) int {
		resp, err := http.Get(c.gateway + "/media/" + picture + "/w320")
		if err != nil {
			return 0 // Loa starts
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if answers(pictures[0]) != http.StatusOK || answers(pictures[1]) != http.StatusOK {
		t.Fatal("the pictures are not there")
	}
	c.runLines(
		line{"withdraw --data {data} phuong-cau-go/tin-1 --reason Nhầm --erase", 0, []string{"in the log"}},
		line{"article show --data {data} phuong-cau-go/tin-1", 0, []string{"to be erased", "used by another: phuong-cau-go/tin-2"}},
	)
	c.loa.Kill()
	c.serve()
	loatest.Eventually(t, "the picture is gone", func() bool { return answers(pictures[0]) == http.StatusGone })
	if got := answers(pictures[1]); got != http.StatusOK {
		t.Errorf("the picture that another article uses answers %d", got)
	}
	c.runLines(
		line{"article show --data {data} phuong-cau-go/tin-1", 0, []string{" erased "}},
		line{"reach --data {data} phuong-cau-go/tin-1", 0, []string{" erased ", "used by another"}},
		line{"publish --data {data} " + one, 0, []string{"version 3: in the log"}},
	)
	loatest.Eventually(t, "the picture is back", func() bool { return answers(pictures[0]) == http.StatusOK })

	// What no article uses is found, and deleted only when that is asked for.
	orphan := strings.Repeat("d", 64)
	folder := filepath.Join(c.data, "s3", "buckets", "loa", "media")
	if err := os.CopyFS(filepath.Join(folder, orphan), os.DirFS(filepath.Join(folder, pictures[1]))); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(folder, orphan))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, f := range files {
		if err := os.Chtimes(filepath.Join(folder, orphan, f.Name()), old, old); err != nil {
			t.Fatal(err)
		}
	}
	c.runLines(
		line{"media gc --data {data} --min-age 1m", 1, []string{"at least 1h"}},
		line{"media gc --data {data}", 0, []string{orphan, "1 orphans", "nothing was deleted"}},
		line{"media gc --data {data} --json", 0, []string{`"orphans":1`, `"deleted":0`}},
		line{"media gc --data {data} --yes", 0, []string{"1 deleted"}},
		line{"media gc --data {data}", 0, []string{"0 orphans"}},
	)
	if answers(pictures[0]) != http.StatusOK || answers(pictures[1]) != http.StatusOK {
		t.Error("a picture in use was deleted")
	}
	c.loa.terminate(t, grace)

	// Other widths take effect on what is stored by a rebuild.
	c.media("widths: [160]")
	c.serve()
	c.runLines(
		line{"media rebuild --data {data} --jobs 0", 1, []string{"expected 1 to"}},
		line{"media rebuild --data {data}", 0, []string{"2 articles with pictures: 2 got a new revision"}},
		line{"media rebuild --data {data} --json", 0, []string{`{"articles":2,"changed":0,"failed":[]}`}},
		line{"article show --data {data} phuong-cau-go/tin-1", 0, []string{"version 3.1, live", "2 renditions"}},
	)
	c.loa.terminate(t, grace)
}

// putOff counts the pictures that are due, and of which a use is noted by an article that does not
// show them.
func putOff(t *testing.T, s *session) (n uint64) {
	t.Helper()
	uses, err := streams.OpenUses(t.Context(), s.js)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for use, err := range uses.Of(t.Context(), "*") {
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.log.Latest(t.Context(), use.Article)
		if err == nil && slices.Contains(a.Pictures(), use.Picture) {
			continue
		}
		left[use.Picture] = true
	}
	return uint64(len(left))
}

// Articles take and drop the same few pictures while Loa is killed again and again: in the end,
// every picture that an article shows is there.
func TestErasingNeverTakesWhatIsUsed(t *testing.T) {
	t.Parallel()
	const articles, photos, changes, kills = 8, 5, 240, 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newCity(t)
	c.media("erase_after: 1s")
	c.serve()
	cms := events.NewPublisher(c.cms())
	versions := map[string]int64{}
	for n := range changes {
		id := fmt.Sprintf("tin-%d", rng.IntN(articles))
		versions[id]++
		at := sample.Base.Add(time.Duration(n) * time.Second)
		ev := events.NewWithdrawn(source, events.Withdrawal{Site: sample.CauGo, ID: id, Version: versions[id], Reason: "Nhầm.",
			Status: events.WithdrawnGone, WithdrawnAt: at, Erase: true})
		if rng.IntN(2) == 0 {
			a := events.Article{Site: sample.CauGo, ID: id, Version: versions[id], URL: "https://caugo.anhoa.example/" + id,
				Title: "Tin", Body: "<p>Nội dung.</p>", Published: at}
			for range rng.IntN(3) {
				a.Images = append(a.Images, events.Image{URL: fmt.Sprintf("%s/photo/%d.jpg", c.pictures, 900+rng.IntN(photos)), Role: events.RoleInline})
			}
			ev = events.NewPublished(source, a)
		}
		if _, err := cms.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		if n%(changes/(kills+1)) == changes/(kills+1)-1 && n < changes-1 {
			c.loa.Kill()
			c.serve()
		}
	}
	s := c.session()
	c.level(s)
	c.noDeadLetters(s)
	shown := 0
	check := func() {
		t.Helper()
		for a, err := range s.log.Walk(t.Context(), "*", 0) {
			if err != nil {
				t.Fatal(err)
			}
			if a.Number != versions[a.ID] {
				t.Errorf("%s is version %s, not %d", a.ID, a.Version, versions[a.ID])
			}
			for _, img := range a.Images {
				for _, r := range append(img.Renditions, img.Original) {
					shown++
					if _, err := fetch(t.Context(), article.ResolveMedia(r.URL, c.gateway)); err != nil {
						t.Errorf("%s shows a picture that is not there: %v", a.ID, err)
					}
				}
			}
		}
	}
	check()
	// Nor does what is still due take any. What a kill left noted as used is put off for an hour.
	loatest.Eventually(t, "all that is due has been looked at", func() bool {
		stream, err := s.js.Stream(t.Context(), streams.Schedules)
		if err != nil {
			return false
		}
		scheduled, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("schedule.>"))
		if err != nil || len(scheduled.State.Subjects) > 0 {
			return false
		}
		due, err := s.js.Consumer(t.Context(), streams.Schedules, "due-erasures")
		return err == nil && due.CachedInfo().NumPending+uint64(due.CachedInfo().NumAckPending) <= putOff(t, s)
	})
	t.Logf("%d pictures are put off", putOff(t, s))
	check()
	erased := 0
	for _, tr := range c.printed {
		erased += strings.Count(tr.String(), "picture erased")
	}
	t.Logf("%d files are shown, %d times a picture was erased", shown, erased)
	if erased == 0 {
		t.Error("no picture was ever erased")
	}
	s.close()
	c.loa.terminate(t, grace)
}
