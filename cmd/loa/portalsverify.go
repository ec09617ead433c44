package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/workers/bulletins"
)

type portalsVerifyCmd struct {
	client
	Name     string  `arg:"" help:"The portal's name."`
	Repair   bool    `help:"Have sent again what differs."`
	MediaURL *string `name:"media-url" env:"LOA_MEDIA_URL" placeholder:"URL" help:"What comes before media/ in the addresses of pictures, where Loa was started with another than the configuration has."`
	JSON     bool    `help:"Print as JSON: one difference a line, and what there was in all in the last."`
}

// Help is shown by loa portals verify --help.
func (*portalsVerifyCmd) Help() string {
	return `The portal is sent, in pages and signed as bulletins are, a manifest: what it is to hold, each
article with version, status and the hash of its content. A portal that can compare answers with
what it holds. Shown is what differs:

  shown though withdrawn   it shows what Loa has withdrawn
  missing                  it acknowledged the article, and does not hold it
  older                    it holds a former version
  content differs          it holds the same version with other texts
  not noted                it holds what it is to hold, but Loa has no receipt of that
  newer                    it holds a version that Loa has not had
  unknown                  it holds an article that Loa has not had

With --repair all but the last two are sent again, by the workers and as anything that is due: a
paused portal gets it when it is resumed, one that is down when it is back, one with a digest in its
next. What waits already comes anyway, and is counted apart; so is what the portal's filter selects
but it was never sent, which loa resync --portal would bring.

The status is 0 if nothing differs, or all that does is being sent again; 3 if the portal does not
compare; else 1. How a portal comes to compare is described in events/README.md.`
}

// differencesShown is how many differences people are shown.
const differencesShown = 50

func (c *portalsVerifyCmd) Run(e *env) error {
	return c.withSources(e, func(src reach.Sources) error {
		p, ok := src.Portals.Get(c.Name)
		if fault := src.Portals.Malformed()[c.Name]; fault != nil {
			return fmt.Errorf("verify portal %q: %w", c.Name, fault)
		}
		if !ok {
			return fmt.Errorf("verify portal %q: %w", c.Name, portal.ErrNotFound)
		}
		base, err := c.mediaBase()
		if err != nil {
			return err
		}
		manifests := bulletins.NewManifests(p, version())
		defer manifests.Close()
		shown, told := 0, time.Now()
		r, err := src.Verify(e.ctx, reach.VerifyOptions{Portal: p, Form: bulletins.FormOf(p), MediaBase: base, Send: manifests.Send, Repair: c.Repair,
			Each: func(d reach.Difference) error {
				shown++
				switch {
				case c.JSON:
					return e.json(d)
				case shown <= differencesShown:
					c.print(e, d)
				case shown == differencesShown+1:
					e.printf("… more follow; --json shows all\n")
				}
				return nil
			},
			Progress: func(articles int) {
				if time.Since(told) > resyncTold {
					told = time.Now()
					fmt.Fprintf(e.stderr, "%d articles compared\n", articles)
				}
			}})
		switch {
		case errors.Is(err, bulletins.ErrNotCompared):
			fmt.Fprintf(e.stderr, "loa: portal %s %v\n", c.Name, err)
			return errLater
		case err != nil && r.Compared > 0:
			return errors.Join(err, fmt.Errorf("%d articles were compared before; what was to be sent again will be", r.Compared))
		case err != nil:
			return err
		case c.JSON:
			if err := e.json(r); err != nil {
				return err
			}
		default:
			c.summarise(e, p, r)
		}
		if r.Differences() > r.Again {
			return errSaid
		}
		return nil
	})
}

// mediaBase is what the workers put before the addresses of pictures.
func (c *portalsVerifyCmd) mediaBase() (string, error) {
	if c.MediaURL != nil {
		return strings.TrimSuffix(*c.MediaURL, "/") + "/", nil
	}
	cfg, err := c.config()
	if err != nil {
		return "", err
	}
	// A Loa on this machine tells where its gateway is in fact.
	if running, err := readAddresses(cfg.DataDir); err == nil && running.Gateway != "" {
		return swapBase(cfg.MediaURL, cfg.PublicURL, running.Gateway), nil
	}
	return cfg.MediaURL, nil
}

func (c *portalsVerifyCmd) print(e *env, d reach.Difference) {
	here, there := "no article", "nothing"
	if d.Here != "" {
		here = "version " + d.Here + ", " + d.HereStatus
	}
	if d.There != "" {
		there = "version " + d.There + ", " + d.ThereStatus
	}
	name := d.Site + "/" + d.ID
	if d.ID == "" {
		name = d.GUID
	}
	again := ""
	if d.Again {
		again = "; sent again"
	}
	e.printf("%-22s  %s: there %s, here %s%s\n", d.Drift, shorten(name, 90), there, here, again)
}

func (c *portalsVerifyCmd) summarise(e *env, p portal.Portal, r reach.VerifyResult) {
	if r.Differences() > 0 {
		e.printf("\n")
	}
	e.printf("%s holds %d of %d articles as it is to.\n", p.Name, r.Level, r.Compared)
	if r.Differences() > 0 {
		var kinds []string
		for _, d := range reach.Drifts() {
			if r.Drifts[d] > 0 {
				kinds = append(kinds, fmt.Sprintf("%d %s", r.Drifts[d], d))
			}
		}
		e.printf("Different: %s.\n", strings.Join(kinds, ", "))
	}
	if r.Waiting > 0 {
		e.printf("Waiting to be sent, or just being sent: %d.\n", r.Waiting)
	}
	if r.SetAside > 0 {
		e.printf("Set aside as dead letters: %d; see loa dead ls.\n", r.SetAside)
	}
	if r.Unsent > 0 {
		e.printf("Selected by its filter, and never sent: %d; to send them: loa resync --portal %s\n", r.Unsent, p.Name)
	}
	mendable := 0
	for d, n := range r.Drifts {
		if d.Mendable() {
			mendable += n
		}
	}
	switch {
	case r.Again > 0:
		e.printf("Sent again%s: %d.\n", c.when(p), r.Again)
	case mendable > 0:
		e.printf("To have %d sent again: loa portals verify %s --repair\n", mendable, p.Name)
	}
}

// when says of what keeps the articles from being sent at once.
func (c *portalsVerifyCmd) when(p portal.Portal) string {
	switch {
	case p.Paused != nil:
		return " when the portal is resumed, which is paused (" + p.Paused.Why + ")"
	case p.Digest != nil:
		next, err := p.Digest.Next(time.Now())
		if err != nil || next.IsZero() {
			return " with its next digest"
		}
		return " with its digest at " + clock(next)
	}
	return ""
}
