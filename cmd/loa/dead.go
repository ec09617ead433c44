package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

type deadLsCmd struct {
	client
	deadFilter
	JSON bool `help:"Print as JSON, one a line."`
}

func (c *deadLsCmd) Run(e *env) error {
	matches, err := c.matcher()
	if err != nil {
		return err
	}
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
		if !matches(l) {
			continue
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
	if l.Subject != "" {
		e.printf("  message  %d bytes on %s (print it with --raw)\n", len(l.Data), l.Subject)
	}
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

// deadFilter says which dead letters are meant by what they are about.
type deadFilter struct {
	Stage  string `help:"Only those of one stage: intake, pictures, warning, portal, feed, hub, subscriber." placeholder:"STAGE"`
	Site   string `help:"Only those about articles of one site." placeholder:"SITE"`
	Portal string `help:"Only those of one portal." placeholder:"NAME"`
	Reason string `help:"Only those in whose reason this is found, in capitals or not." placeholder:"TEXT"`
	Since  string `help:"Only those set aside since then, or in so long." placeholder:"DURATION|DATE"`
	Before string `help:"Only those set aside before then, or longer ago." placeholder:"DURATION|DATE"`
}

// matcher reads the filter.
func (f deadFilter) matcher() (func(streams.DeadLetter) bool, error) {
	var since, before time.Time
	var err error
	if f.Since != "" {
		if since, err = parseSince("since", f.Since); err != nil {
			return nil, err
		}
	}
	if f.Before != "" {
		if before, err = parseSince("before", f.Before); err != nil {
			return nil, err
		}
	}
	if f.Portal != "" && f.Stage != "" && f.Stage != bulletins.Kind {
		return nil, fmt.Errorf("--portal: got it with --stage %s, expected stage %s, which alone has portals", f.Stage, bulletins.Kind)
	}
	reason := strings.ToLower(f.Reason)
	return func(l streams.DeadLetter) bool {
		about := strings.Split(l.Key, ".")
		article := about[max(len(about)-2, 0):] // after the target, where there is one
		switch {
		case f.Stage != "" && l.Stage != f.Stage,
			f.Portal != "" && (l.Stage != bulletins.Kind || about[0] != f.Portal),
			f.Site != "" && (len(article) < 2 || article[0] != events.Token(f.Site)),
			l.At.Before(since), !before.IsZero() && !l.At.Before(before):
			return false
		}
		return strings.Contains(strings.ToLower(l.Reason+"\n"+strings.Join(l.Faults, "\n")), reason)
	}, nil
}

// deadChoice says which dead letters something is done to.
type deadChoice struct {
	Numbers []uint64 `arg:"" optional:"" help:"As loa dead ls prints them."`
	All     bool     `help:"All there are."`
	deadFilter
	Yes bool `help:"Do it to all that --all or a filter finds; without it, they are listed."`
}

// deadTold is how often progress is shown.
const deadTold = time.Second

func (c *deadChoice) each(e *env, cl *client, done string, do func(*streams.Dead, context.Context, uint64) error) error {
	found := c.All || c.deadFilter != deadFilter{}
	if found == (len(c.Numbers) > 0) {
		return errors.New("expected either the numbers of dead letters, or a filter, or --all; loa dead ls lists them")
	}
	matches, err := c.matcher()
	if err != nil {
		return err
	}
	s, err := cl.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	numbers := c.Numbers
	if found {
		// All are found before the first is touched: one that fails again is not taken twice.
		for l, err := range s.dead.List(e.ctx, c.Stage, "") {
			if err != nil {
				return err
			}
			if !matches(l) {
				continue
			}
			numbers = append(numbers, l.Seq)
			if !c.Yes {
				e.printf("%d  %s  %s  %s  %s\n", l.Seq, clock(l.At), l.Stage, l.Key, shorten(l.Reason, 90))
			}
		}
		if !c.Yes {
			e.printf("%d would be %s; --yes does it.\n", len(numbers), done)
			return nil
		}
	}
	gone, last := 0, time.Now()
	for i, n := range numbers {
		err := do(s.dead, e.ctx, n)
		switch {
		case err == nil:
		case found && errors.Is(err, streams.ErrNoDeadLetter): // somebody else was quicker
			gone++
		default:
			return fmt.Errorf("%d of %d %s, then: %w", i-gone, len(numbers), done, deadHint(err))
		}
		if time.Since(last) > deadTold {
			last = time.Now()
			fmt.Fprintf(e.stderr, "%d of %d\n", i+1, len(numbers))
		}
	}
	e.printf("%d %s.\n", len(numbers)-gone, done)
	if gone > 0 {
		e.printf("%d were gone before.\n", gone)
	}
	return nil
}

func deadHint(err error) error {
	if errors.Is(err, streams.ErrNoDeadLetter) {
		return fmt.Errorf("%w; loa dead ls lists those there are", err)
	}
	return err
}
