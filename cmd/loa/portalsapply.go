package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/portal"
)

type portalsApplyCmd struct {
	client
	File   string `short:"f" required:"" type:"existingfile" placeholder:"FILE" help:"The portals, as under portals: in the configuration."`
	DryRun bool   `help:"Print what would change, and change nothing."`
	Prune  bool   `help:"Remove the portals that the file does not list; with --yes."`
	Yes    bool   `help:"Remove them without asking again."`
	JSON   bool   `help:"Print as JSON, one portal a line."`
}

// Help is shown by loa portals apply --help.
func (*portalsApplyCmd) Help() string {
	return `The file says what portals there are to be, and applying it again changes nothing more.
Either all of it is right, or nothing is changed. What was made while Loa ran is kept: a
pause, and a secret where the file names none. A new portal gets what is published from
then on; loa resync --portal NAME brings it what there is already.

Portals that the configuration of loa serve lists are applied from there at its start:
list each in one place.`
}

// appliedPortal is what was, or would be, done to one.
type appliedPortal struct {
	portal.Planned
	Removed bool `json:"removed,omitempty"`
	// Secret was made, and is not shown again.
	Secret string `json:"secret,omitempty"`
}

func (c *portalsApplyCmd) Run(e *env) error {
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
		return c.print(e, todo, len(want))
	})
}

// surplus are the portals that are to go.
func (c *portalsApplyCmd) surplus(portals *portal.Registry, want []portal.Portal) []string {
	if !c.Prune {
		return nil
	}
	var names []string
	for _, p := range portals.All() {
		if !slices.ContainsFunc(want, func(w portal.Portal) bool { return w.Name == p.Name }) {
			names = append(names, p.Name)
		}
	}
	return names
}

func (c *portalsApplyCmd) apply(e *env, portals *portal.Registry, want []portal.Portal, todo []appliedPortal) error {
	if !c.Yes && slices.ContainsFunc(todo, func(a appliedPortal) bool { return a.Removed }) {
		return errors.New("portals would be removed for good, and nothing has been changed: look with --dry-run, then say --yes")
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

func (c *portalsApplyCmd) print(e *env, todo []appliedPortal, listed int) error {
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
