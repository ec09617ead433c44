package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/workers/bulletins"
)

type portalsTestCmd struct {
	client
	Name string `arg:"" help:"The portal's name."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown by loa portals test --help.
func (*portalsTestCmd) Help() string {
	return `One bulletin of type loa.ping is sent from here, as the workers send the others: signed
by all the portal's secrets, with its headers, to no address that it may not have. It is JSON
whatever the portal's format is. Paused portals are tested too. Nothing is noted of it: a portal
that is down stays so until the next probe. The status is 1 unless the answer is 2xx.`
}

// pongView is the answer to a ping as scripts are told of it.
type pongView struct {
	Portal   string  `json:"portal"`
	Delivery string  `json:"webhook_id"`
	Outcome  string  `json:"outcome"`
	Status   int     `json:"status,omitempty"`
	Seconds  float64 `json:"seconds"`
	Line     string  `json:"answer,omitempty"`
	Error    string  `json:"error,omitempty"`
	Advice   string  `json:"advice,omitempty"`
}

func (c *portalsTestCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		p, ok := portals.Get(c.Name)
		if fault := portals.Malformed()[c.Name]; fault != nil {
			return fmt.Errorf("test portal %q: %w", c.Name, fault)
		}
		if !ok {
			return fmt.Errorf("test portal %q: %w", c.Name, portal.ErrNotFound)
		}
		pong, err := bulletins.Ping(e.ctx, p, version())
		if err != nil {
			return err
		}
		v := pongView{Portal: p.Name, Delivery: pong.Delivery, Outcome: pong.Outcome, Status: pong.Status, Seconds: pong.Took.Seconds(), Line: pong.Line}
		if pong.Err != nil {
			v.Error, v.Advice = pong.Err.Error(), pong.Advice()
		}
		if c.JSON {
			return errors.Join(pong.Err, e.json(v))
		}
		took := pong.Took.Round(time.Millisecond)
		if pong.Err != nil {
			return fmt.Errorf("%w (after %s)\n%s", pong.Err, took, v.Advice)
		}
		e.printf("%s answered %d %s in %s.\n", v.Portal, v.Status, http.StatusText(v.Status), took)
		if v.Line != "" {
			e.printf("It says: %s\n", v.Line)
		}
		return nil
	})
}
