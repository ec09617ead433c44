package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/portal"
)

type portalsApplyCmd struct {
	client
	File   string `short:"f" required:"" type:"existingfile" placeholder:"FILE" help:"The portals, as under portals: in the configuration."`
	DryRun bool   `help:"Print what would change, and change nothing."`
	Prune  bool   `help:"Remove the portals that the file does not list; with --yes."`
	Yes    bool   `help:"Remove them without asking again."`
	From   string `default:"now" help:"Which articles new portals get, and those whose filter changed: those published from now on, all there are, or those published since dd/mm/yyyy." placeholder:"now|all|DATE"`
	JSON   bool   `help:"Print as JSON, one portal a line."`
}

// Help is shown by loa portals apply --help.
func (*portalsApplyCmd) Help() string {
	return `The file says what portals there are to be, and applying it again changes nothing more.
Either all of it is right, or nothing is changed. What was made while Loa ran is kept: a
pause, and a secret where the file names none. A new portal gets what is published from
then on, and so does one of what a wider filter selects; --from brings what there is
already, and so does loa resync --portal NAME later. What a portal has of articles that
its filter no longer selects, it goes on being told of: corrections and withdrawals.

Portals that the configuration of loa serve lists are applied from there at its start:
list each in one place.`
}

// appliedPortal is what was, or would be, done to one.
type appliedPortal struct {
	portal.Planned
	Removed bool `json:"removed,omitempty"`
	// Secret was made, and is not shown again.
	Secret string `json:"secret,omitempty"`
	// Compared is how many articles of the log --from had compared with it.
	Compared int `json:"compared,omitempty"`
}

// selects tells whether other articles than before may be due to it.
func (a appliedPortal) selects() bool {
	return a.New || filterChanged(a.Changes)
}

func filterChanged(changes []portal.Difference) bool {
	return slices.ContainsFunc(changes, func(d portal.Difference) bool { return strings.HasPrefix(d.Field, "filter.") })
}

// olderArticles is said where a filter changed, and nothing was said of what there is already.
const olderArticles = "its filter selects from what is published from now on; what there is already comes with: loa resync --portal "

func (c *portalsApplyCmd) Run(e *env) error {
	since, backfill, err := parseFrom(c.From)
	if err != nil {
		return err
	}
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		listed, warnings, err := config.LoadPortals(c.File, s.cfg.Sites)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			fmt.Fprintf(e.stderr, "warning: %s\n", w)
		}
		want := configuredPortals(listed)
		plan, err := portals.Plan(e.ctx, want)
		if err != nil {
			return err
		}
		var todo []appliedPortal
		for _, p := range plan {
			if p.New || len(p.Changes) > 0 {
				todo = append(todo, appliedPortal{Planned: p})
			}
		}
		for _, name := range c.surplus(portals, want) {
			todo = append(todo, appliedPortal{Planned: portal.Planned{Name: name}, Removed: true})
		}
		if !c.DryRun {
			if err := c.apply(e, portals, want, todo); err != nil {
				return err
			}
		}
		var missed error
		for i, a := range todo {
			if backfill && !c.DryRun && !a.Removed && a.selects() && missed == nil {
				if todo[i].Compared, err = raiseFor(e.ctx, s, a.Name, since); err != nil {
					missed = fmt.Errorf("the portals are as the file says, but not all articles were compared; run loa resync: %w", err)
				}
			}
		}
		// Secrets that were made are shown in any case.
		return errors.Join(c.print(e, todo, len(want), backfill), missed)
	})
}

// surplus are the portals that are to go.
func (c *portalsApplyCmd) surplus(portals *portal.Registry, want []portal.Portal) []string {
	if !c.Prune {
		return nil
	}
	var names []string
	for _, p := range portals.All() {
		names = append(names, p.Name)
	}
	names = slices.AppendSeq(names, maps.Keys(portals.Malformed()))
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(want, func(w portal.Portal) bool { return w.Name == name })
	})
}

func (c *portalsApplyCmd) apply(e *env, portals *portal.Registry, want []portal.Portal, todo []appliedPortal) error {
	if !c.Yes && slices.ContainsFunc(todo, func(a appliedPortal) bool { return a.Removed }) {
		var names []string
		for _, a := range todo {
			if a.Removed {
				names = append(names, a.Name)
			}
		}
		return fmt.Errorf("%s would be removed for good, and nothing has been changed: look with --dry-run, then say --yes", strings.Join(names, ", "))
	}
	if err := portals.Apply(e.ctx, want, operator()); err != nil {
		return err
	}
	for i, a := range todo {
		switch {
		case a.Removed:
			if err := portals.Delete(e.ctx, a.Name, operator()); err != nil {
				return err
			}
		case a.New:
			j := slices.IndexFunc(want, func(p portal.Portal) bool { return p.Name == a.Name })
			if p, ok := portals.Get(a.Name); ok && len(want[j].Secrets) == 0 {
				todo[i].Secret = p.Secrets[0].Reveal()
			}
		}
	}
	return nil
}

func (c *portalsApplyCmd) print(e *env, todo []appliedPortal, listed int, backfill bool) error {
	for _, a := range todo {
		if c.JSON {
			if err := e.json(a); err != nil {
				return err
			}
			continue
		}
		switch {
		case a.Removed:
			e.printf("- %s\n", a.Name)
		case a.New:
			e.printf("+ %s\n", a.Name)
		default:
			e.printf("~ %s\n", a.Name)
		}
		for _, d := range a.Changes {
			e.printf("    %s\n", d)
		}
		if a.Secret != "" {
			e.printf("    its secret, which is not shown again: %s\n", a.Secret)
		}
		switch {
		case a.Compared > 0:
			e.printf("    %d articles of the log are compared with it\n", a.Compared)
		case !backfill && filterChanged(a.Changes) && !a.New:
			e.printf("    %s%s\n", olderArticles, a.Name)
		}
	}
	switch {
	case c.JSON:
	case len(todo) == 0:
		e.printf("Nothing to do: %d portals are as the file says.\n", listed)
	case c.DryRun:
		e.printf("%d of %d portals would change. Nothing was changed.\n", len(todo), listed)
	default:
		e.printf("%d of %d portals changed.\n", len(todo), listed)
	}
	return nil
}
