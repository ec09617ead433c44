package feeds

import (
	"testing"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// An index disagrees with exactly the articles that it lacks, or shows in a former state.
func TestCompareFindsWhatAFeedLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, sample.CauGo, 20)
	w.level(sample.CauGo, all[:15]...)
	w.put(all[15:]...)
	gone, newer := withdrawn(all[2]), changed(all[4], "Khác")
	w.put(gone, newer)

	ix := NewIndexes(w.js, w.catalog)
	behind := map[string]map[streams.Key]bool{}
	for e, err := range w.log.Walk(t.Context(), "*", 0) {
		if err != nil {
			t.Fatal(err)
		}
		err = ix.Compare(t.Context(), []streams.Entry{e}, func(feed string, e streams.Entry, level bool) {
			if behind[feed] == nil {
				behind[feed] = map[streams.Key]bool{}
			}
			if !level {
				behind[feed][e.Key] = true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := append([]*article.Article{gone, newer}, all[15:]...)
	for _, a := range want {
		if !behind[sample.CauGo][streams.KeyOf(a.Site, a.ID)] {
			t.Errorf("%s %s is not missed", a.ID, a.Title)
		}
	}
	if n := len(behind[sample.CauGo]); n != len(want) {
		t.Errorf("%d articles are missed, expected %d", n, len(want))
	}
	// A feed that was never rendered lacks all but what is withdrawn.
	if n := len(behind[sample.City+"--all"]); n != len(all)-1 {
		t.Errorf("the city's feed misses %d articles, expected %d", n, len(all)-1)
	}

	found := lacking(t, ix)
	if !found[sample.City+"--all"] || !found[sample.CauGo+"--all"] || found[sample.CauGo] || found[sample.City] {
		t.Errorf("lacking are %v", found)
	}
}

func lacking(t *testing.T, ix *Indexes) map[string]bool {
	t.Helper()
	all, err := ix.Lacking(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range all.Feeds {
		found[f.ID] = true
	}
	for _, kind := range all.Kinds {
		found["every "+string(kind)] = true
	}
	return found
}

// A log that is older than galleries are fills them, once.
func TestGalleriesAreFilledFromAnOlderLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 2)
	with := withGallery(all[0], "a")
	with.Ever.Gallery = false // as an earlier version wrote it
	w.level(ward, with, all[1])
	ix := NewIndexes(w.js, w.catalog)
	for range 2 { // the first may have been cut off
		if !lacking(t, ix)["every gallery"] {
			t.Error("galleries lack nothing")
		}
	}
	var behind []string
	for e, err := range w.log.Walk(t.Context(), "*", 0) {
		if err != nil {
			t.Fatal(err)
		}
		err = ix.Compare(t.Context(), []streams.Entry{e}, func(feed string, e streams.Entry, level bool) {
			if feed == gallery && !level {
				behind = append(behind, e.ID)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(behind) != 1 || behind[0] != with.ID {
		t.Errorf("the gallery is behind on %v", behind)
	}
	for range 2 {
		if err := ix.Filled(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := lacking(t, ix); len(found) > 0 && found["every gallery"] {
			t.Error("galleries are filled again and again")
		}
	}
}

// What is older than all that a full index keeps is not missed in it.
func TestCompareKnowsThatAnIndexIsFull(t *testing.T) {
	if testing.Short() {
		t.Skip("renders hundreds of articles")
	}
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 1}})
	all := many(t, sample.CauGo, reserve+20)
	w.level(sample.CauGo, all...)
	ix := NewIndexes(w.js, w.catalog)
	for e, err := range w.log.Walk(t.Context(), "*", 0) {
		if err == nil {
			err = ix.Compare(t.Context(), []streams.Entry{e}, func(feed string, e streams.Entry, level bool) {
				if feed == sample.CauGo && !level {
					t.Errorf("%s is missed", e.Key)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
