package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// listFor is how long a list of the feeds is good for: making one reads every index.
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

func (f *Feeds) readList(ctx context.Context) ([]Info, error) {
	var infos []Info
	err := eachIndex(ctx, f.bucket, func(id string, value []byte) error {
		feed, ok := f.catalog.Parse(id)
		if !ok {
			return nil
		}
		var ix struct {
			Updated time.Time  `json:"updated"`
			Label   string     `json:"label"`
			Refs    []struct{} `json:"refs"`
		}
		if err := json.Unmarshal(value, &ix); err != nil {
			return fmt.Errorf("index of %s: %w", feed.ID, err)
		}
		infos = append(infos, Info{
			ID: feed.ID, Title: f.catalog.Title(feed, ix.Label), Site: feed.Site, Kind: feed.Kind,
			Updated: ix.Updated, Entries: min(len(ix.Refs), f.catalog.Page(feed)),
		})
		return nil
	})
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.ID, b.ID) })
	return infos, err
}
