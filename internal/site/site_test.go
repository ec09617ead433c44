package site_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/site"
)

func tree(t *testing.T) *site.Tree {
	t.Helper()
	tree, err := site.New([]site.Site{
		{ID: "phuong", Parent: "quan"}, // before its parent: order is free
		{ID: "thanh-pho"}, {ID: "quan", Parent: "thanh-pho"}, {ID: "quan-2", Parent: "thanh-pho"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestAncestorsLeadToTheTop(t *testing.T) {
	if got := tree(t).Ancestors("phuong"); !slices.Equal(got, []string{"phuong", "quan", "thanh-pho"}) {
		t.Errorf("ancestors of phuong: %v", got)
	}
	if got := tree(t).Ancestors("unknown"); got != nil {
		t.Errorf("ancestors of an unknown site: %v", got)
	}
}

func TestUnder(t *testing.T) {
	tr := tree(t)
	for _, c := range []struct {
		id, root string
		want     bool
	}{{"phuong", "thanh-pho", true}, {"phuong", "phuong", true}, {"phuong", "quan-2", false}, {"thanh-pho", "phuong", false}, {"", "", false}} {
		if got := tr.Under(c.id, c.root); got != c.want {
			t.Errorf("Under(%q, %q) = %v", c.id, c.root, got)
		}
	}
}

func TestFaultyTreesAreRefusedWithEveryFault(t *testing.T) {
	_, err := site.New([]site.Site{{ID: "a", Parent: "b"}, {ID: "b", Parent: "a"}, {ID: "c", Parent: "x"}, {ID: "c"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`site "a" lies under itself`, `site "b" lies under itself`, `parent "x" is not a site`, `site "c" is there twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
}

func TestHeirsFollowTheDays(t *testing.T) {
	day := time.Date(2025, 7, 1, 0, 0, 0, 0, time.UTC)
	later := day.Add(48 * time.Hour)
	tr, err := site.New([]site.Site{
		{ID: "a", Successors: []string{"c"}, Succeeded: day}, {ID: "b", Successors: []string{"c", "d"}, Succeeded: day},
		{ID: "c", Successors: []string{"d"}, Succeeded: later}, {ID: "d"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id, heir string
		at       time.Time
	}{{"a", "a", day.Add(-1)}, {"a", "c", day}, {"a", "d", later}, {"b", "b", later}, {"d", "d", later}} {
		if line := tr.Line(c.id, c.at); line[0] != c.id || line[len(line)-1] != c.heir {
			t.Errorf("%s goes on with %s at %s, want %s", line, c.id, c.at, c.heir)
		}
	}
	if got := tr.NextSuccession(day); !got.Equal(later) || !tr.NextSuccession(later).IsZero() {
		t.Errorf("after the first day comes %s", got)
	}
	_, err = site.New([]site.Site{
		{ID: "a", Successors: []string{"b"}, Succeeded: day}, {ID: "b", Successors: []string{"a", "x"}, Succeeded: day}, {ID: "c", Succeeded: day},
	})
	for _, want := range []string{`site "a" is succeeded by itself`, `successor "x" is not a site`, `site "c": expected successors and the day`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
}
