// Package site holds the tree of publishing sites: which exist, what they are called, and which
// lies under which. The level of a site (ward, district, city) is nothing but its place in the
// tree, which may have any depth.
package site

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Site is a portal that publishes.
type Site struct {
	// ID is permanent; it should name no place, tier or host, since those change.
	ID     string
	Name   string
	Parent string // empty at the top
	URL    string // the site's home page
	// Successors are the sites that go on with what the site did, from Succeeded on: one after a
	// merger or a renaming, more after a split. The site stays in the tree, and what it published
	// keeps its name.
	Successors []string
	Succeeded  time.Time
}

// maxDepth bounds the tree's height; it also ends a walk up a tree that has a loop.
const maxDepth = 16

// Tree is the sites of one deployment. It does not change; a new configuration is a new Tree.
type Tree struct {
	sites map[string]Site
	order []string
}

// Fault is what is wrong with one of the sites given to [New].
type Fault struct {
	// Index is the site's place among those given.
	Index   int
	problem string
}

func (f *Fault) Error() string { return f.problem }

// New checks the sites and makes a tree of them: ids are unique, parents exist, nothing lies
// under itself. All faults found are returned, joined; each is a *[Fault].
func New(sites []Site) (*Tree, error) {
	t := &Tree{sites: make(map[string]Site, len(sites))}
	var faults []error
	fault := func(i int, format string, args ...any) {
		faults = append(faults, &Fault{i, fmt.Sprintf(format, args...)})
	}
	place := make([]int, 0, len(sites)) // of each site of t.order among sites
	for i, s := range sites {
		if _, twice := t.sites[s.ID]; twice {
			fault(i, "site %q is there twice", s.ID)
			continue
		}
		t.sites[s.ID] = s
		t.order = append(t.order, s.ID)
		place = append(place, i)
	}
	for n, id := range t.order {
		if p := t.sites[id].Parent; p != "" {
			if _, ok := t.sites[p]; !ok {
				fault(place[n], "site %q: parent %q is not a site", id, p)
				continue
			}
		}
		if chain := t.Ancestors(id); len(chain) > maxDepth {
			fault(place[n], "site %q lies under itself, or more than %d levels deep", id, maxDepth)
		}
	}
	for n, id := range t.order {
		s := t.sites[id]
		for _, next := range s.Successors {
			if _, ok := t.sites[next]; !ok {
				fault(place[n], "site %q: successor %q is not a site", id, next)
			}
		}
		if slices.Contains(t.after(id), id) {
			fault(place[n], "site %q is succeeded by itself in the end", id)
		}
		if (len(s.Successors) > 0) != !s.Succeeded.IsZero() {
			fault(place[n], "site %q: expected successors and the day from which they are, or neither", id)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return t, nil
}

// after is all sites that follow a site, the next ones first.
func (t *Tree) after(id string) []string {
	all := slices.Clone(t.sites[id].Successors)
	for i := 0; i < len(all); i++ {
		for _, next := range t.sites[all[i]].Successors {
			if !slices.Contains(all, next) {
				all = append(all, next)
			}
		}
	}
	return all
}

// Successors are the sites that go on with what a site did, at a time; none while it does so itself.
func (t *Tree) Successors(id string, at time.Time) []string {
	if s := t.sites[id]; !s.Succeeded.IsZero() && !at.Before(s.Succeeded) {
		return s.Successors
	}
	return nil
}

// Line is the site, and those that go on with all of what it did, at a time, in order: the one that
// it was merged into or renamed to, the one that this one was in turn. Where more than one goes on,
// the line ends.
func (t *Tree) Line(id string, at time.Time) []string {
	line := []string{id}
	for next := t.Successors(id, at); len(next) == 1; next = t.Successors(next[0], at) {
		line = append(line, next[0])
	}
	return line
}

// NextSuccession is the first time after one at which a site is succeeded; zero when there is none.
func (t *Tree) NextSuccession(after time.Time) (next time.Time) {
	for _, s := range t.sites {
		if s.Succeeded.After(after) && (next.IsZero() || s.Succeeded.Before(next)) {
			next = s.Succeeded
		}
	}
	return next
}

// Get gives a site by its id.
func (t *Tree) Get(id string) (Site, bool) {
	s, ok := t.sites[id]
	return s, ok
}

// Name is what people call a site; empty for an unknown one.
func (t *Tree) Name(id string) string { return t.sites[id].Name }

// All gives the sites in the order of the configuration.
func (t *Tree) All() []Site {
	all := make([]Site, len(t.order))
	for i, id := range t.order {
		all[i] = t.sites[id]
	}
	return all
}

// Ancestors is the way up from the site to the top, the site itself first; empty for an
// unknown one.
func (t *Tree) Ancestors(id string) []string {
	var chain []string
	for s, ok := t.sites[id]; ok && len(chain) <= maxDepth; s, ok = t.sites[s.Parent] {
		chain = append(chain, s.ID)
	}
	return chain
}

// Under reports whether the site is root or lies under it.
func (t *Tree) Under(id, root string) bool { return slices.Contains(t.Ancestors(id), root) }

// Names is the ids of all sites, sorted, for messages to people.
func (t *Tree) Names() []string { return slices.Sorted(slices.Values(t.order)) }
