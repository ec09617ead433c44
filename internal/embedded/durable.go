package embedded

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// maxRooted bounds the directories that are remembered as durable; some 100 bytes each.
const maxRooted = 10_000

// durable makes the names of objects durable. A file that is synced is lost all the same when
// the power fails, unless every directory on the way to it has been synced since it was made.
// Syncing a directory in vain costs as much as a small write, so durable remembers which are
// known to be safe.
type durable struct {
	mu sync.Mutex
	// rooted are the directories that have been synced, by this process, together with all
	// directories above them up to the bucket. It is empty while an object is being deleted,
	// for that may remove directories; they may be made again, and are not durable then.
	rooted map[string]bool
	// deleting counts the deletes in progress, deletes those ever begun.
	deleting int
	deletes  int
}

// writing is called before an object is written, for the number to give to wrote.
func (d *durable) writing() (deletes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deletes
}

// wrote makes what has happened to the object's attributes and name durable. Its contents
// are so already.
func (d *durable) wrote(bucket, object string, deletes int) error {
	if err := syncPath(object); err != nil && !vanished(err) {
		return err
	}
	var synced []string
	for dir := filepath.Dir(object); ; dir = filepath.Dir(dir) {
		if err := syncPath(dir); err != nil && !vanished(err) { // deleted meanwhile, by somebody else
			return err
		}
		if dir == bucket || d.isRooted(dir) {
			break
		}
		synced = append(synced, dir)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deleting > 0 || d.deletes != deletes {
		return nil // what was synced may be gone
	}
	if d.rooted == nil || len(d.rooted)+len(synced) > maxRooted {
		d.rooted = make(map[string]bool)
	}
	for _, dir := range synced {
		d.rooted[dir] = true
	}
	return nil
}

func (d *durable) isRooted(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rooted[dir]
}

// deleteBegins is called before an object is deleted, deleteEnds afterwards.
func (d *durable) deleteBegins() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deleting++
	d.deletes++
	clear(d.rooted)
}

func (d *durable) deleteEnds() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deleting--
}

// deleted makes the removal of an object durable, and that of the directories which it left
// empty: by syncing the nearest one that is still there.
func (d *durable) deleted(bucket, object string) error {
	for dir := filepath.Dir(object); len(dir) >= len(bucket); dir = filepath.Dir(dir) {
		if err := syncPath(dir); !vanished(err) {
			return err
		}
	}
	return nil
}

// vanished says that a path does not lead anywhere any more.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}
