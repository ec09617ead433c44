package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/loa-syndication/loa/internal/streams"
)

type deadLsCmd struct {
	client
	Stage string `help:"Only those of one stage: intake, portal, feed." placeholder:"STAGE"`
	JSON  bool   `help:"Print as JSON, one a line."`
}

func (c *deadLsCmd) Run(e *env) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	var rows [][]string
	for l, err := range s.dead.List(e.ctx, c.Stage, "") {
		if err != nil {
			return err
		}
		if c.JSON {
			if err := e.json(deadJSON(l)); err != nil {
				return err
			}
			continue
		}
		why := l.Reason
		if len(l.Faults) > 0 {
			why += ": " + strings.Join(l.Faults, "; ")
		}
		rows = append(rows, []string{strconv.FormatUint(l.Seq, 10), clock(l.At), l.Stage, l.Key, l.Version, shorten(why, 90)})
	}
	if c.JSON {
		return nil
	}
	if len(rows) == 0 {
		e.printf("No dead letters.\n")
		return nil
	}
	e.table([]string{"NUMBER", "SINCE", "STAGE", "ABOUT", "VERSION", "REASON"}, rows)
	e.printf("\nloa dead show NUMBER tells more; loa dead retry NUMBER tries again.\n")
	return nil
}

func deadJSON(l streams.DeadLetter) any {
	return struct {
		Number uint64 `json:"number"`
		streams.DeadLetter
	}{l.Seq, l}
}

type deadShowCmd struct {
	client
	Number uint64 `arg:"" help:"As loa dead ls prints it."`
	JSON   bool   `help:"Print as JSON."`
	Raw    bool   `help:"Print the message that was set aside, and nothing else."`
}

func (c *deadShowCmd) Run(e *env) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := s.dead.Get(e.ctx, c.Number)
	if err != nil {
		return deadHint(err)
	}
	switch {
	case c.Raw:
		_, err := e.stdout.Write(l.Data)
		return err
	case c.JSON:
		return e.json(deadJSON(l))
	}
	e.printf("Dead letter %d\n  since    %s\n  stage    %s\n  about    %s\n", l.Seq, clock(l.At), l.Stage, l.Key)
	if l.Event != "" {
		e.printf("  event    %s\n", l.Event)
	}
	if l.Version != "" {
		e.printf("  version  %s\n", l.Version)
	}
	e.printf("  reason   %s\n", l.Reason)
	for _, f := range l.Faults {
		e.printf("           - %s\n", f)
	}
	e.printf("  message  %d bytes on %s (print it with --raw)\n", len(l.Data), l.Subject)
	return nil
}

type deadRetryCmd struct {
	client
	deadChoice
}

func (c *deadRetryCmd) Run(e *env) error {
	return c.each(e, &c.client, "retried", (*streams.Dead).Retry)
}

type deadDropCmd struct {
	client
	deadChoice
}

func (c *deadDropCmd) Run(e *env) error {
	return c.each(e, &c.client, "removed", (*streams.Dead).Drop)
}

// deadChoice says which dead letters are meant.
type deadChoice struct {
	Numbers []uint64 `arg:"" optional:"" help:"As loa dead ls prints them."`
	All     bool     `help:"All of them, or all of --stage."`
	Stage   string   `help:"With --all: only those of one stage." placeholder:"STAGE"`
}

func (c *deadChoice) each(e *env, cl *client, done string, do func(*streams.Dead, context.Context, uint64) error) error {
	if c.All == (len(c.Numbers) > 0) {
		return errors.New("expected the numbers of dead letters, or --all; loa dead ls lists them")
	}
	s, err := cl.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	numbers := c.Numbers
	if c.All {
		for l, err := range s.dead.List(e.ctx, c.Stage, "") {
			if err != nil {
				return err
			}
			numbers = append(numbers, l.Seq)
		}
	}
	for i, n := range numbers {
		if err := do(s.dead, e.ctx, n); err != nil {
			return fmt.Errorf("%d of %d %s, then: %w", i, len(numbers), done, deadHint(err))
		}
	}
	e.printf("%d %s.\n", len(numbers), done)
	return nil
}

func deadHint(err error) error {
	if errors.Is(err, streams.ErrNoDeadLetter) {
		return fmt.Errorf("%w; loa dead ls lists those there are", err)
	}
	return err
}
