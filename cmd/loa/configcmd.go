package main

import (
	"errors"
	"fmt"

	"github.com/loa-syndication/loa/internal/config"
)

type configCheckCmd struct {
	File string `arg:"" type:"existingfile" help:"The file to check."`
	JSON bool   `help:"Print the faults as JSON, one a line."`
}

func (c *configCheckCmd) Run(e *env) error {
	cfg, warnings, err := config.Load(c.File, config.Overlay{})
	for _, w := range warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
	if err != nil {
		return err
	}
	e.printf("%s is right: %d sites, %d portals.\n", c.File, len(cfg.Sites), len(cfg.Portals))
	return nil
}

type configExampleCmd struct{}

func (*configExampleCmd) Run(e *env) error {
	e.printf("%s", config.Example())
	return nil
}

var _ = errors.New
