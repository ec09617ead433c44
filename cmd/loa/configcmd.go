package main

import (
	"errors"
	"fmt"

	"github.com/loa-syndication/loa/internal/config"
)

type configCheckCmd struct {
	File string `arg:"" type:"existingfile" help:"The file to check."`
	JSON bool   `help:"Print faults and warnings as JSON, one a line."`
}

func (c *configCheckCmd) Run(e *env) error {
	cfg, warnings, err := config.Load(c.File, config.Overlay{})
	var bad *config.Error
	if c.JSON && (err == nil || errors.As(err, &bad)) {
		var faults []config.Fault
		if bad != nil {
			faults = bad.Faults
		}
		return c.json(e, faults, warnings)
	}
	for _, w := range warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
	if err != nil {
		return err
	}
	e.printf("%s is right: %d sites, %d portals.\n", c.File, len(cfg.Sites), len(cfg.Portals))
	return nil
}

// json prints what is wrong, and what is not well, for programs such as editors.
func (c *configCheckCmd) json(e *env, faults []config.Fault, warnings []config.Warning) error {
	for level, list := range map[string][]config.Fault{"error": faults, "warning": warnings} {
		for _, f := range list {
			err := e.json(map[string]any{"level": level, "file": c.File, "line": f.Place.Line, "column": f.Place.Column, "path": f.Path, "problem": f.Problem})
			if err != nil {
				return err
			}
		}
	}
	if len(faults) > 0 {
		return errSaid
	}
	return nil
}

type configExampleCmd struct{}

func (*configExampleCmd) Run(e *env) error {
	e.printf("%s", config.Example())
	return nil
}
