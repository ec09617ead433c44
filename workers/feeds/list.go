package feeds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// listFor is how long a list of the feeds is good for: making one looks at every index.
const listFor = 10 * time.Second

// Info describes a feed for a page that lists them.
type Info struct {
	ID    string
	Title string
	Site  string // its id
	Kind  Kind
	// Updated is when the last version that changed the feed entered the log.
	Updated time.Time
	// Entries is how many articles the feed shows.
	Entries int
}

// listing is the list made last.
type listing struct {
	mu    sync.Mutex // held while a list is made, so that one serves all who wait
	until time.Time
	infos []Info
	// known is what the list says of each feed, of which there may be tens of thousands.
	known map[string]listed
}

// listed is a feed, by a revision of its index or a later one.
type listed struct {
	revision uint64
	info     Info
}

// List gives the feeds that there are, by id: those that had an article, and whose site is
// still in the tree. It may be some seconds old.
func (f *Feeds) List(ctx context.Context) ([]Info, error) {
	f.list.mu.Lock()
	defer f.list.mu.Unlock()
	if time.Now().Before(f.list.until) {
		return slices.Clone(f.list.infos), nil
	}
	infos, err := f.readList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list feeds: %w", err)
	}
	f.list.infos, f.list.until = infos, time.Now().Add(listFor)
	return slices.Clone(infos), nil
}

// readList reads the indexes that have changed since the last list was made. One that is cut off
// has read some of them for the next.
func (f *Feeds) readList(ctx context.Context) ([]Info, error) {
	l := &f.list
	if l.known == nil {
		l.known = map[string]listed{}
	}
	current := map[string]uint64{}
	var changed []string
	err := eachIndex(ctx, f.bucket, func(v jetstream.KeyValueEntry) error {
		if _, ok := f.catalog.Parse(v.Key()); !ok {
			return nil
		}
		current[v.Key()] = v.Revision()
		if l.known[v.Key()].revision != v.Revision() {
			changed = append(changed, v.Key())
		}
		return nil
	}, jetstream.MetaOnly())
	if err != nil {
		return nil, err
	}
	indexes := NewIndexes(f.js, f.catalog)
	for part := range slices.Chunk(changed, indexesAtOnce) {
		found, err := indexes.read(ctx, part)
		if err != nil {
			return nil, err
		}
		for id, ix := range found {
			feed, _ := f.catalog.Parse(id)
			l.known[id] = listed{current[id], Info{
				ID: id, Title: f.catalog.Title(feed, ix.Label), Site: feed.Site, Kind: feed.Kind,
				Updated: ix.Updated, Entries: min(len(ix.Refs), f.catalog.Page(feed)),
			}}
		}
	}
	var infos []Info
	for id, one := range l.known {
		if _, ok := current[id]; !ok {
			delete(l.known, id)
			continue
		}
		infos = append(infos, one.info)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.ID, b.ID) })
	return infos, nil
}
