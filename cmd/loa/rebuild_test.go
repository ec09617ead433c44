package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/objects"
)

// All that NATS stored is lost, or a backup of an earlier day is put in its place: what the object
// store has of the articles makes the log, the feeds and the portals be what the CMS said.
func TestRebuildRestoresTheLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		backup bool // of half of the story
	}{"everything is lost": {false}, "an old backup comes back": {true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const articles = 60
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			city := newCity(t, somePartners()...)
			stored, backup := filepath.Join(city.data, "nats"), filepath.Join(t.TempDir(), "nats")
			said := newLedger()
			all := story(rng, articles, city.pictures)
			half := len(all) / 2
			city.serve()
			publish(t, city.cms(), all[:half], 0, said)
			if c.backup {
				s := city.session()
				city.level(s)
				s.close()
				city.loa.terminate(t, grace)
				copyDir(t, backup, stored)
				city.serve()
			}
			publish(t, city.cms(), all[half:], 0, said)
			s := city.session()
			city.level(s)
			want := said.wanted()
			s.close()
			city.loa.terminate(t, grace)

			if err := os.RemoveAll(stored); err != nil {
				t.Fatal(err)
			}
			if c.backup {
				copyDir(t, stored, backup)
			}
			city.serve()
			dry := city.rebuild("--dry-run")
			if dry.Copies != len(want) || dry.Restored == 0 || c.backup == (dry.Restored == len(want)) {
				t.Errorf("of %d articles: %+v would be restored", len(want), dry)
			}
			if done := city.rebuild(); done.Copies != dry.Copies || done.Restored != dry.Restored || len(done.Failed) > 0 {
				t.Errorf("restored %+v, where %+v was announced", done, dry)
			}
			if again := city.rebuild(); again.Restored != 0 || again.Copies != dry.Copies {
				t.Errorf("again: %+v", again)
			}
			city.rebuildNamesWhatIsNoCopy()
			s = city.session()
			city.level(s)
			city.logAgrees(s, want)
			city.noDeadLetters(s)
			city.feedsAgree(want)
			city.portalsAgree(want)
			s.close()
			city.loa.terminate(t, grace)
			city.copiesAgree()
		})
	}
}

// rebuildNamesWhatIsNoCopy puts objects among the copies that are none.
func (c *city) rebuildNamesWhatIsNoCopy() {
	c.t.Helper()
	cl := client{Data: &c.data}
	store, err := cl.objects(c.t.Context(), c.session())
	if err != nil {
		c.t.Fatal(err)
	}
	defer store.Close()
	broken := map[string]string{
		"articles/phuong-cau-go/hong.json":     `{"site":`,
		"articles/phuong-cau-go/nham-ten.json": `{"site":"phuong-cau-go","id":"ten-khac","version":1}`,
		"articles/phuong-cau-go/rong.json":     `{"site":"phuong-cau-go","id":"rong"}`,
	}
	for name, text := range broken {
		if _, err := store.Put(c.t.Context(), name, []byte(text), objects.Meta{ContentType: "application/json"}); err != nil {
			c.t.Fatal(err)
		}
	}
	status, out, faults := c.command("rebuild", "--data", c.data)
	if status != 1 || !strings.Contains(out, ": 0 put back") {
		c.t.Errorf("with broken copies: status %d\n%s", status, out)
	}
	for name := range broken {
		if !strings.Contains(faults, name) {
			c.t.Errorf("%s is not named in\n%s", name, faults)
		}
		if err := store.Delete(c.t.Context(), name); err != nil {
			c.t.Fatal(err)
		}
	}
}

// copyDir copies a directory as a backup does, with its files' modes.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-Rp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

// rebuild runs loa rebuild.
func (c *city) rebuild(more ...string) (done restored) {
	c.t.Helper()
	status, out, faults := c.command(append([]string{"rebuild", "--json", "--data", c.data}, more...)...)
	if err := json.Unmarshal([]byte(out), &done); err != nil || status != 0 {
		c.t.Fatalf("rebuild: status %d, %v\n%s%s", status, err, out, faults)
	}
	return done
}
