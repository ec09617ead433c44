package site_test

import (
	"slices"
	"strings"
	"testing"

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
