package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDirectoriesAreRememberedUntilADelete(t *testing.T) {
	t.Parallel()
	bucket := t.TempDir()
	dir := filepath.Join(bucket, "media", "a")
	object := filepath.Join(dir, "w320.webp")
	var d durable
	write := func(deletes int) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(object, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.wrote(bucket, object, deletes); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, rooted bool) {
		t.Helper()
		if d.isRooted(dir) != rooted || d.isRooted(filepath.Dir(dir)) != rooted {
			t.Errorf("%s: remembered %v, want %v", when, d.rooted, rooted)
		}
	}
	write(d.writing())
	expect("after a write", true)

	before := d.writing()
	d.deleteBegins()
	expect("during a delete", false)
	if err := os.RemoveAll(filepath.Join(bucket, "media")); err != nil {
		t.Fatal(err)
	}
	if err := d.deleted(bucket, object); err != nil {
		t.Errorf("syncing what a delete left: %v", err)
	}
	write(d.writing())
	expect("after a write during a delete", false)
	d.deleteEnds()

	write(before)
	expect("after a write that began before the delete", false)
	write(d.writing())
	expect("after the next write", true)
}
