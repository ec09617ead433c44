package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
)

// withReceipts connects, opens the receipts, and closes both afterwards.
func (c *client) withReceipts(e *env, do func(*session, *portal.Receipts) error) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	receipts, err := portal.OpenReceipts(e.ctx, s.js)
	if err != nil {
		return err
	}
	defer receipts.Close()
	return do(s, receipts)
}

// parseSince reads a duration, which is so long ago, a date, or a date with a time.
func parseSince(flag, s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{"02/01/2006", "02/01/2006 15:04", "02/01/2006 15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, local); err == nil {
			return t, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--%s: got %q, expected a duration such as 90m, or a date as dd/mm/yyyy, with or without hh:mm", flag, s)
}

type deliveriesTailCmd struct {
	client
	Portal string `help:"Only those to one portal." placeholder:"NAME"`
	Failed bool   `help:"Only those that failed."`
	Since  string `default:"10m" placeholder:"DURATION|DATE" help:"From when on (10m)."`
	Follow bool   `short:"f" help:"Go on with those to come, until Ctrl-C."`
	JSON   bool   `help:"Print as JSON, one a line."`
}

// Help is shown by loa deliveries tail --help.
func (*deliveriesTailCmd) Help() string {
	return `Every attempt of every worker is shown when it has ended, from what Loa stores: the
newest few of each article at each portal, for 30 days, and the very newest for good. What is
still under way is not shown.`
}

// deliveryView is an attempt as scripts are told of it.
type deliveryView struct {
	At       time.Time `json:"at"`
	Portal   string    `json:"portal"`
	Site     string    `json:"site"`
	Article  string    `json:"article"`
	GUID     string    `json:"guid"`
	Version  string    `json:"version"`
	Outcome  string    `json:"outcome"`
	Status   int       `json:"status,omitempty"`
	Seconds  float64   `json:"seconds"`
	Attempt  int       `json:"attempt"`
	Error    string    `json:"error,omitempty"`
	Delivery string    `json:"webhook_id"`
}

func (c *deliveriesTailCmd) Run(e *env) error {
	since, err := parseSince("since", c.Since)
	if err != nil {
		return err
	}
	return c.withReceipts(e, func(_ *session, receipts *portal.Receipts) error {
		shown := 0
		for r, err := range receipts.Outcomes(e.ctx, c.Portal, since, c.Follow) {
			if err != nil {
				return err
			}
			if c.Failed && r.Outcome == portal.OutcomeDelivered {
				continue
			}
			shown++
			if err := c.print(e, r); err != nil {
				return err
			}
		}
		if shown == 0 && !c.JSON && e.ctx.Err() == nil {
			e.printf("No deliveries since %s.\n", clock(since))
		}
		return nil
	})
}

func (c *deliveriesTailCmd) print(e *env, r portal.Receipt) error {
	if c.JSON {
		return e.json(deliveryView{At: r.LastAttempt, Portal: r.Portal, Site: r.Key.Site(), Article: r.Key.Article(), GUID: r.GUID,
			Version: r.Tried.String(), Outcome: r.Outcome, Status: r.LastStatus, Seconds: r.Took.Seconds(), Attempt: r.Attempts,
			Error: r.LastError, Delivery: r.WebhookID})
	}
	answer := "-"
	if r.LastStatus != 0 {
		answer = fmt.Sprint(r.LastStatus)
	}
	line := fmt.Sprintf("%s  %-9s %3s %7s  %s  %s/%s version %s", clock(r.LastAttempt), r.Outcome, answer, brief(r.Took), r.Portal, r.Key.Site(), r.Key.Article(), r.Tried)
	if r.Attempts > 1 {
		line += fmt.Sprintf(", attempt %d", r.Attempts)
	}
	if r.LastError != "" {
		// That it is this portal has been said.
		line += "  " + strings.TrimLeft(strings.TrimPrefix(r.LastError, fmt.Sprintf("portal %q", r.Portal)), ": ")
	}
	e.printf("%s\n", line)
	return nil
}

// brief is a duration with as many digits as people want to read.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}
