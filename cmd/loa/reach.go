package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/streams"
)

type reachCmd struct {
	client
	Article string        `arg:"" help:"SITE/ID." placeholder:"SITE/ID"`
	Wait    bool          `help:"Wait until all reachable portals have it: those that are neither paused nor down, nor wait for a digest."`
	Timeout time.Duration `default:"5m" help:"How long to wait at most."`
	JSON    bool          `help:"Print as JSON."`
}

// Help is shown by loa reach --help.
func (*reachCmd) Help() string {
	return `A portal is listed if it is to show the article, or ever received it. One that never
received an article which is withdrawn has nothing to withdraw, and counts for nothing.

The exit status is 0 if every portal has the current version; 3 if those that have not
are paused, down or removed, wait for their digest, or for a person to look at a dead
letter; 1 if a reachable portal has not got it (yet).

Pictures that the article no longer shows are listed too, with what became of them: kept,
to be erased when their time of grace is over, erased, or used by another article.`
}

func (c *reachCmd) Run(e *env) error {
	key, err := articleKey(c.Article)
	if err != nil {
		return err
	}
	return c.withSources(e, func(s reach.Sources) error {
		r, err := s.Article(e.ctx, key)
		if errors.Is(err, streams.ErrNotFound) {
			return fmt.Errorf("no article %s; if it was published, loa dead ls may tell why it did not arrive", c.Article)
		}
		if err == nil && c.Wait {
			r, err = c.wait(e, s, key, r)
		}
		if err != nil {
			return err
		}
		former, err := c.former(e, s, key)
		if err != nil {
			return err
		}
		if c.JSON {
			err = e.json(struct {
				reach.Report
				Former []pictureState `json:"former_pictures,omitempty"`
			}{r, former})
		} else {
			c.print(e, r)
			printFormer(e, former)
		}
		switch {
		case err != nil || r.Everywhere():
			return err
		case r.Reachable == 0:
			return errLater
		default:
			return errSaid
		}
	})
}

// former tells what became of the pictures that the article no longer shows.
func (c *reachCmd) former(e *env, src reach.Sources, key streams.Key) ([]pictureState, error) {
	a, err := src.Log.Latest(e.ctx, key)
	if err != nil {
		return nil, err
	}
	return (&session{js: src.JS}).formerPictures(e.ctx, a)
}

// reachEvery is how often --wait looks.
const reachEvery = 250 * time.Millisecond

// wait looks again until nothing reachable is outstanding, or the time is over.
func (c *reachCmd) wait(e *env, s reach.Sources, key streams.Key, r reach.Report) (reach.Report, error) {
	ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
	defer cancel()
	told := ""
	for {
		if line := summary(r); line != told {
			told = line
			fmt.Fprintln(e.stderr, line)
		}
		if r.Reachable == 0 {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, e.ctx.Err()
		case <-time.After(reachEvery):
		}
		next, err := s.Article(ctx, key)
		if err != nil && ctx.Err() != nil {
			return r, e.ctx.Err()
		}
		if err != nil {
			return r, err
		}
		r = next
	}
}

func verb(r reach.Report) string {
	if r.Status == "withdrawn" {
		return "withdrawn"
	}
	return "version " + r.Version
}

func (c *reachCmd) print(e *env, r reach.Report) {
	e.printf("%s\n%s/%s, version %s, %s, in the log since %s\n\n", r.Title, r.Site, r.ID, r.Version, r.Status, clock(r.Accepted))
	var rows [][]string
	for _, p := range r.Portals {
		if p.State == reach.Unneeded {
			continue
		}
		attempts, answer := "", ""
		if p.Attempts > 0 {
			attempts = strconv.Itoa(p.Attempts)
			answer = "none"
		}
		if p.Answer > 0 {
			answer = strconv.Itoa(p.Answer)
		}
		why := p.Why
		switch {
		case p.Next.IsZero():
		case p.State == reach.Digest:
			why = "digest due at " + clock(p.Next)
		default:
			why += "; next attempt about " + clock(p.Next)
		}
		rows = append(rows, []string{p.Portal, string(p.State), p.Holds, clock(p.At), attempts, answer, clock(p.Since), shorten(why, 90)})
	}
	if len(rows) > 0 {
		e.table([]string{"PORTAL", "STATE", "HOLDS", "RECEIVED", "ATTEMPTS", "ANSWER", "SINCE", "WHY"}, rows)
		e.printf("\n")
	}
	e.printf("%s\n", summary(r))
}

// summary is the reach in one line.
func summary(r reach.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %d of %d portals", verb(r), r.Delivered, r.Concerned)
	if r.Unneeded > 0 {
		fmt.Fprintf(&b, "; %d never received it and have nothing to withdraw", r.Unneeded)
	}
	var left []string
	out := r.Outstanding()
	for _, state := range []reach.State{reach.Waiting, reach.Digest, reach.Refused, reach.Down, reach.Paused, reach.Dead, reach.Unusable, reach.Removed, reach.Missing} {
		if out[state] > 0 {
			left = append(left, fmt.Sprintf("%d %s", out[state], state))
		}
	}
	if len(left) > 0 {
		b.WriteString("; outstanding: " + strings.Join(left, ", "))
	}
	return b.String()
}

// withSources connects, opens what there is to compare, and closes it afterwards.
func (c *client) withSources(e *env, do func(reach.Sources) error) error {
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		if len(s.cfg.Sites) == 0 {
			return errors.New("which sites there are must be known to compare: name Loa's configuration with --config")
		}
		src := reach.Sources{JS: s.js, Log: s.log, Dead: s.dead, Portals: portals}
		var err error
		if src.Tree, err = siteTree(s.cfg.Sites); err != nil {
			return err
		}
		if src.Receipts, err = portal.OpenReceipts(e.ctx, s.js); err != nil {
			return err
		}
		defer src.Receipts.Close()
		return do(src)
	})
}
