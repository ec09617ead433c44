package main

import (
	"github.com/loa-syndication/loa/internal/portal"
)

type portalsHistoryCmd struct {
	client
	Name string `arg:"" optional:"" help:"The portal's name; all portals without it."`
	JSON bool   `help:"Print as JSON, one change a line."`
}

// Help is shown by loa portals history --help.
func (*portalsHistoryCmd) Help() string {
	return `Every change is recorded before it is made, for two years: by commands, by the
configuration file when loa serve starts, and by Loa itself, which pauses a portal that
answers 410. Portals that were removed are among them.`
}

func (c *portalsHistoryCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		n := 0
		for r, err := range portals.History(e.ctx, c.Name) {
			if err != nil {
				return err
			}
			n++
			if c.JSON {
				if err := e.json(r); err != nil {
					return err
				}
				continue
			}
			e.printf("%s  %s %s by %s", clock(r.At), r.Portal, r.What, r.By)
			if r.Why != "" {
				e.printf(": %s", r.Why)
			}
			e.printf("\n")
			if r.Fault != "" {
				e.printf("    it is not known whether that was done: %s\n", r.Fault)
			}
			for _, d := range r.Changes {
				e.printf("    %s\n", d)
			}
		}
		if n == 0 && !c.JSON {
			e.printf("No change is recorded.\n")
		}
		return nil
	})
}
