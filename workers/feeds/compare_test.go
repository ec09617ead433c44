package feeds

import (
	"testing"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// An index disagrees with exactly the articles that it lacks, or shows in a former state.
func TestCompareFindsWhatAFeedLacks(t *testing.T) {
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

	lacking, err := ix.Lacking(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range lacking {
		found[f.ID] = true
	}
	if !found[sample.City+"--all"] || !found[sample.CauGo+"--all"] || found[sample.CauGo] || found[sample.City] {
		t.Errorf("lacking are %v", found)
	}
}

// What is older than all that a full index keeps is not missed in it.
func TestCompareKnowsThatAnIndexIsFull(t *testing.T) {
	w := newWorld(t, Settings{Page: 1})
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
