package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
)

type portalsStatsCmd struct {
	client
	Name  string `arg:"" optional:"" help:"The portal's name; all portals without it."`
	Since string `default:"24h" placeholder:"DURATION|DATE" help:"From when on (24h)."`
	JSON  bool   `help:"Print as JSON, one portal a line."`
}

// Help is shown by loa portals stats --help.
func (*portalsStatsCmd) Help() string {
	return `The figures come from what all workers store of each attempt, so it does not matter which of
them run, or ran. They are of the attempts that ended in that time:

  DELIVERED  articles that the portal answered with 2xx
  FAILED     attempts that failed because of the portal: no answer, 5xx, 401, 429 ...
  REFUSED    attempts at which it did not want that one article: 400, 413, 422 ...
  P50, P99   of the time to its answer: half of all, and all but one in a hundred, were quicker
  TRIES      attempts that one delivery took, on the average; 1 is the best there is

Of each article at each portal the newest few attempts are kept. Of more than that, FAILED and
REFUSED tell the newest alone; TRIES counts them all, and what is sent once more by loa portals
replay. WAITING is of now, whatever --since says.`
}

// portalStats are a portal's figures.
type portalStats struct {
	Portal    string     `json:"portal"`
	State     string     `json:"state"`
	Since     time.Time  `json:"since"`
	Delivered int        `json:"delivered"`
	Failed    int        `json:"failed"`
	Refused   int        `json:"refused"`
	P50       float64    `json:"p50_seconds"`
	P99       float64    `json:"p99_seconds"`
	Tries     float64    `json:"tries_per_delivery,omitempty"`
	Waiting   int        `json:"waiting"`
	Oldest    *time.Time `json:"oldest_waiting,omitempty"`

	took  []float64 // seconds
	tries int
}

// add counts an attempt. What had no answer has no time of one.
func (st *portalStats) add(r portal.Receipt) {
	switch r.Outcome {
	case portal.OutcomeDelivered:
		st.Delivered++
		st.tries += r.Attempts
	case portal.OutcomeRefused:
		st.Refused++
	default:
		st.Failed++
	}
	if r.LastStatus != 0 {
		st.took = append(st.took, r.Took.Seconds())
	}
}

func (st *portalStats) finish() {
	if len(st.took) > 0 {
		st.P50, st.P99 = quantile(st.took, 0.5), quantile(st.took, 0.99)
	}
	if st.Delivered > 0 {
		st.Tries = float64(st.tries) / float64(st.Delivered)
	}
}

// row is what a person sees; where there is nothing to measure, nothing.
func (st *portalStats) row() []string {
	p50, p99, tries, oldest := "", "", "", ""
	if len(st.took) > 0 {
		p50, p99 = inSeconds(st.P50), inSeconds(st.P99)
	}
	if st.Delivered > 0 {
		tries = fmt.Sprintf("%.2f", st.Tries)
	}
	if st.Oldest != nil {
		oldest = clock(*st.Oldest)
	}
	return []string{st.Portal, st.State, strconv.Itoa(st.Delivered), strconv.Itoa(st.Failed), strconv.Itoa(st.Refused), p50, p99, tries, strconv.Itoa(st.Waiting), oldest}
}

func inSeconds(s float64) string { return fmt.Sprintf("%.3fs", s) }

func (c *portalsStatsCmd) Run(e *env) error {
	since, err := parseSince("since", c.Since)
	if err != nil {
		return err
	}
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		if c.Name != "" && !portals.Known(c.Name) {
			return fmt.Errorf("portal %q: %w", c.Name, portal.ErrNotFound)
		}
		receipts, err := portal.OpenReceipts(e.ctx, s.js)
		if err != nil {
			return err
		}
		defer receipts.Close()
		all, err := views(e.ctx, s, portals)
		if err != nil {
			return err
		}
		var stats []*portalStats
		by := map[string]*portalStats{}
		for _, v := range all {
			if c.Name == "" || v.Name == c.Name {
				st := &portalStats{Portal: v.Name, State: v.State, Since: since.UTC(), Waiting: v.Waiting, Oldest: v.Oldest}
				stats, by[v.Name] = append(stats, st), st
			}
		}
		for r, err := range receipts.Outcomes(e.ctx, c.Name, since, false) {
			if err != nil {
				return err
			}
			// Portals that were removed leave receipts.
			if st := by[r.Portal]; st != nil {
				st.add(r)
			}
		}
		if err := e.ctx.Err(); err != nil {
			return errors.Join(errors.New("not all attempts were counted"), err)
		}
		return c.print(e, stats)
	})
}

func (c *portalsStatsCmd) print(e *env, stats []*portalStats) error {
	var rows [][]string
	for _, st := range stats {
		st.finish()
		if c.JSON {
			if err := e.json(st); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, st.row())
	}
	switch {
	case c.JSON:
	case len(rows) == 0:
		e.printf("No portals.\n")
	default:
		e.table([]string{"PORTAL", "STATE", "DELIVERED", "FAILED", "REFUSED", "P50", "P99", "TRIES", "WAITING", "OLDEST"}, rows)
	}
	return nil
}
