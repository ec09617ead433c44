package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

// openPortals opens the registry for one command.
func (s *session) openPortals(ctx context.Context) (*portal.Registry, error) {
	tree, err := siteTree(s.cfg.Sites)
	if err != nil {
		return nil, err
	}
	keys, err := portalKeys(s.cfg, false)
	if err != nil {
		return nil, err
	}
	return portal.Open(ctx, s.js, tree, keys, zerolog.Nop())
}

// withPortals connects, opens the registry, and closes both afterwards.
func (c *client) withPortals(e *env, do func(*session, *portal.Registry) error) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	portals, err := s.openPortals(e.ctx)
	if err != nil {
		return err
	}
	defer portals.Close()
	err = do(s, portals)
	if errors.Is(err, portal.ErrNotFound) {
		err = fmt.Errorf("%w; loa portals ls lists those there are", err)
	}
	return err
}

// operator signs changes.
func operator() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "command line"
}

// portalView is a portal as people and scripts are told of it: nothing secret.
type portalView struct {
	Name     string         `json:"name"`
	Title    string         `json:"title,omitempty"`
	URL      string         `json:"url"`
	State    string         `json:"state"` // up, slow, catching up, down, paused, unusable
	Since    *time.Time     `json:"since,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Probe    *time.Time     `json:"next_probe,omitempty"` // of one that is down
	Waiting  int            `json:"waiting"`
	Oldest   *time.Time     `json:"oldest_waiting,omitempty"`
	Format   string         `json:"format"`
	Content  string         `json:"content"`
	Digest   *portal.Digest `json:"digest,omitempty"`
	Filter   portal.Filter  `json:"filter"`
	InFlight int            `json:"in_flight"`
	Rate     float64        `json:"rate,omitempty"`
	Timeout  string         `json:"timeout"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	Headers  []string       `json:"headers,omitempty"` // names
	Signs    []string       `json:"signs"`             // what with: v1 (HMAC-SHA256), v1a (ed25519)
	Former   *time.Time     `json:"former_secret_until,omitempty"`
	Created  time.Time      `json:"created"`
	Changed  portal.Change  `json:"changed"`
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// views describes all portals.
func views(ctx context.Context, s *session, portals *portal.Registry) ([]portalView, error) {
	waiting, err := reconcile.CountWaiting(ctx, s.js, bulletins.Kind, portals.Names())
	if err != nil {
		return nil, err
	}
	states := portals.States()
	var all []portalView
	for _, p := range portals.All() {
		v := portalView{Name: p.Name, Title: p.Title, URL: p.URL, State: "up", Format: p.Format, Content: p.Content, Digest: p.Digest, Filter: p.Filter, InFlight: p.InFlight, Rate: p.Rate,
			Timeout: p.Timeout.String(), Allow: p.Allow, Created: p.Created, Changed: p.Changed,
			Waiting: waiting[p.Name].Flags, Oldest: optional(waiting[p.Name].Oldest)}
		for name := range p.Headers {
			v.Headers = append(v.Headers, name)
		}
		slices.Sort(v.Headers)
		v.signs(p, time.Now())
		v.fares(p, states[p.Name])
		all = append(all, v)
	}
	for name, fault := range portals.Malformed() {
		all = append(all, portalView{Name: name, State: "unusable", Reason: fault.Error(), Waiting: waiting[name].Flags, Oldest: optional(waiting[name].Oldest)})
	}
	slices.SortFunc(all, func(a, b portalView) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// signs fills in what the bulletins are signed with.
func (v *portalView) signs(p portal.Portal, now time.Time) {
	for _, s := range p.Secrets {
		scheme := "v1"
		if events.IsSigningKey(s.Reveal()) {
			scheme = "v1a"
		}
		v.Signs = append(v.Signs, scheme)
	}
	for _, f := range p.Former {
		if now.Before(f.Until) && (v.Former == nil || f.Until.After(*v.Former)) {
			v.Former = &f.Until
		}
	}
}

// fares fills in the state.
func (v *portalView) fares(p portal.Portal, st portal.State) {
	switch {
	case p.Paused != nil:
		v.State, v.Reason, v.Since = "paused", p.Paused.Why+" ("+p.Paused.By+")", optional(p.Paused.Since)
	case st.Down:
		v.State, v.Reason, v.Since, v.Probe = "down", st.Reason, optional(st.Since), optional(st.NextProbe)
	case !st.Slow.Since.IsZero():
		v.State, v.Since = "slow", optional(st.Slow.Since)
		v.Reason = "its answers take long, then " + st.Slow.Answer.Round(100*time.Millisecond).String()
	case v.Oldest != nil && v.Oldest.Before(st.Since) && p.Digest == nil: // of a digest all wait
		v.State, v.Since = "catching up", optional(st.Since)
		v.Reason = "some wait from before it was back"
	}
}

type portalsLsCmd struct {
	client
	JSON bool `help:"Print as JSON, one portal a line."`
}

// Help is shown by loa portals ls --help.
func (*portalsLsCmd) Help() string {
	return `A portal is one of these:

  up           what is due to it is sent
  slow         so it is, but its answers take more than 2 s on the average, until less than 1 s
  catching up  it is back, and something waits from before
  down         it fails; single tries, with growing pauses, find out when it is back
  paused       by whom and why, until loa portals resume
  unusable     its entry is malformed; what is due to it waits`
}

func (c *portalsLsCmd) Run(e *env) error {
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		all, err := views(e.ctx, s, portals)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, v := range all {
			if c.JSON {
				if err := e.json(v); err != nil {
					return err
				}
				continue
			}
			since, oldest := "", ""
			if v.Since != nil {
				since = clock(*v.Since)
			}
			if v.Oldest != nil {
				oldest = clock(*v.Oldest)
			}
			rows = append(rows, []string{v.Name, v.State, since, strconv.Itoa(v.Waiting), oldest, shorten(v.URL, 50), shorten(v.Reason, 60)})
		}
		if c.JSON {
			return nil
		}
		if len(rows) == 0 {
			e.printf("No portals. Add them to the configuration, or with loa portals add.\n")
			return nil
		}
		e.table([]string{"PORTAL", "STATE", "SINCE", "WAITING", "OLDEST", "ADDRESS", "WHY"}, rows)
		return nil
	})
}

type portalsShowCmd struct {
	client
	Name string `arg:"" help:"The portal's name."`
	JSON bool   `help:"Print as JSON."`
}

func (c *portalsShowCmd) Run(e *env) error {
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		all, err := views(e.ctx, s, portals)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(v portalView) bool { return v.Name == c.Name })
		if i < 0 {
			return fmt.Errorf("portal %q: %w", c.Name, portal.ErrNotFound)
		}
		v := all[i]
		if c.JSON {
			return e.json(v)
		}
		e.printf("%s  %s\n  address   %s\n  state     %s", v.Name, v.Title, v.URL, v.State)
		if v.Since != nil {
			e.printf(" since %s", clock(*v.Since))
		}
		e.printf("\n")
		if v.Reason != "" {
			e.printf("  why       %s\n", v.Reason)
		}
		if v.Probe != nil {
			e.printf("  next try  %s\n", clock(*v.Probe))
		}
		e.printf("  waiting   %d", v.Waiting)
		if v.Oldest != nil {
			e.printf(", the oldest since %s", clock(*v.Oldest))
		}
		rate := "no limit"
		if v.Rate > 0 {
			rate = fmt.Sprintf("%g a second", v.Rate)
		}
		e.printf("\n  limits    %d at once, %s, %s for an answer\n", v.InFlight, rate, v.Timeout)
		e.printf("  signs     %s", strings.Join(v.Signs, ", "))
		if v.Former != nil {
			e.printf(", and with a former secret until %s", clock(*v.Former))
		}
		e.printf("\n")
		for _, f := range []struct {
			name   string
			values []string
		}{
			{"sites", v.Filter.Sites}, {"categories", v.Filter.Categories}, {"tags", v.Filter.Tags}, {"languages", v.Filter.Languages},
			{"not sites", v.Filter.Not.Sites}, {"not categories", v.Filter.Not.Categories}, {"not tags", v.Filter.Not.Tags},
			{"not languages", v.Filter.Not.Languages},
		} {
			if len(f.values) > 0 {
				e.printf("  %-9s %s\n", f.name, strings.Join(f.values, ", "))
			}
		}
		if v.Filter.Urgency > 0 {
			e.printf("  urgency   at most %d\n", v.Filter.Urgency)
		}
		if !v.Filter.Since.IsZero() {
			e.printf("  since     %s\n", clock(v.Filter.Since))
		}
		e.printf("  format    %s", v.Format)
		if v.Format == portal.FormatBulletin {
			e.printf(", %s", v.Content)
		}
		e.printf("\n")
		if d := v.Digest; d != nil {
			e.printf("  digest    at %s (%s), at most %d articles", d.At, d.Zone, d.Most)
			if d.Express {
				e.printf(", urgent ones at once")
			}
			e.printf("\n")
		}
		e.printf("  changed   %s by %s\n", clock(v.Changed.At), v.Changed.By)
		return nil
	})
}

type portalsAddCmd struct {
	client
	Name       string   `arg:"" help:"A permanent name: a-z, 0-9 and hyphens."`
	URL        string   `required:"" help:"Where bulletins are posted."`
	Title      string   `help:"What people call it."`
	SecretFile string   `type:"existingfile" placeholder:"FILE" help:"File with its secret (whsec_…); without it one is made, and printed once."`
	Sites      []string `placeholder:"SITE" help:"Only articles of these sites and of those under them."`
	Categories []string `placeholder:"ID" help:"Only articles of these categories."`
	Tags       []string `placeholder:"TAG" help:"Only articles with one of these tags."`
	Urgency    int      `help:"Only articles at least as urgent as this (1 to 8; 1 is the most urgent)."`
	Languages  []string `placeholder:"TAG" help:"Only articles in one of these languages, such as vi."`
	Since      string   `placeholder:"DATE" help:"Only articles published on this day (dd/mm/yyyy) or later, now and ever: not what is imported from older times."`

	NotSites      []string `placeholder:"SITE" help:"Leave out the articles of these sites and of those under them."`
	NotCategories []string `placeholder:"ID" help:"Leave out articles of these categories."`
	NotTags       []string `placeholder:"TAG" help:"Leave out articles with one of these tags."`
	NotLanguages  []string `placeholder:"TAG" help:"Leave out articles in one of these languages."`

	Format  string `placeholder:"FORMAT" help:"What is sent: bulletin (the default), ninjs or atom."`
	Content string `placeholder:"CONTENT" help:"What a bulletin holds: the summary (the default), or full, which is with the text."`

	DigestAt      string `placeholder:"CRON" help:"Send one digest at set times instead of single bulletins: six fields, such as '0 0 7,16 * * *'."`
	DigestZone    string `placeholder:"ZONE" help:"Time zone of --digest-at (Asia/Ho_Chi_Minh)."`
	DigestMost    int    `placeholder:"N" help:"Articles in one digest (50)."`
	DigestExpress bool   `help:"Send urgent articles, corrections and withdrawals at once, digest or not."`

	Certificate string `type:"existingfile" placeholder:"FILE" help:"Certificate (PEM) to show to a portal that asks who calls; with --key."`
	Key         string `type:"existingfile" placeholder:"FILE" help:"Key (PEM) of --certificate."`
	CA          string `name:"ca" type:"existingfile" placeholder:"FILE" help:"Certificates (PEM) by one of which the portal's own is signed."`

	InFlight int            `help:"Bulletins under way at once (4)."`
	Rate     float64        `help:"Bulletins a second (no limit)."`
	Timeout  time.Duration  `help:"For one answer (15s)."`
	Allow    []netip.Prefix `placeholder:"CIDR" help:"Private addresses that the portal may have, such as 10.1.2.0/24."`
	From     string         `default:"now" help:"Which articles it gets: those published from now on, all there are, or those published since dd/mm/yyyy." placeholder:"now|all|DATE"`
}

func (c *portalsAddCmd) Run(e *env) error {
	since, backfill, err := parseFrom(c.From)
	if err != nil {
		return err
	}
	var wanted time.Time
	if c.Since != "" {
		if wanted, err = time.ParseInLocation(dayForm, c.Since, local); err != nil {
			return fmt.Errorf("--since: got %q, expected a date as dd/mm/yyyy", c.Since)
		}
	}
	return c.withPortals(e, func(s *session, portals *portal.Registry) error {
		p, exists := portals.Get(c.Name)
		if !exists {
			p = portal.Portal{Name: c.Name}
		}
		before := p
		p.URL, p.Title = c.URL, c.Title
		p.Filter = portal.Filter{Sites: c.Sites, Categories: c.Categories, Tags: c.Tags, Urgency: c.Urgency, Languages: c.Languages, Since: wanted,
			Not: portal.Exclusion{Sites: c.NotSites, Categories: c.NotCategories, Tags: c.NotTags, Languages: c.NotLanguages}}
		p.Format, p.Content, p.Digest = c.Format, c.Content, nil
		if c.DigestAt != "" {
			p.Digest = &portal.Digest{At: c.DigestAt, Zone: c.DigestZone, Most: c.DigestMost, Express: c.DigestExpress}
		}
		if err := c.readTLS(&p); err != nil {
			return err
		}
		p.InFlight, p.Rate, p.Timeout, p.Allow = c.InFlight, c.Rate, c.Timeout, c.Allow
		if c.SecretFile != "" {
			secret, err := os.ReadFile(c.SecretFile)
			if err != nil {
				return err
			}
			p.Secrets = []portal.Secret{portal.Secret(strings.TrimSpace(string(secret)))}
		}
		made := len(p.Secrets) == 0
		p, err := portals.Put(e.ctx, p, operator())
		if err != nil {
			return err
		}
		if exists {
			e.printf("Changed portal %s.\n", p.Name)
		} else {
			e.printf("Added portal %s.\n", p.Name)
		}
		if made {
			e.printf("Its secret, which is not shown again: %s\n", p.Secrets[0].Reveal())
		}
		if !backfill {
			if exists && filterChanged(portal.Differences(before, p)) {
				e.printf("%s%s\n", olderArticles, p.Name)
			}
			return nil
		}
		n, err := raiseFor(e.ctx, s, p.Name, since)
		if err != nil {
			return err
		}
		e.printf("%d articles of the log are compared with it.\n", n)
		return nil
	})
}

// readTLS reads the files that the flags name.
func (c *portalsAddCmd) readTLS(p *portal.Portal) error {
	p.Certificate, p.CA = nil, ""
	var pem [3]string
	for i, name := range []string{c.Certificate, c.Key, c.CA} {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		pem[i] = string(data)
	}
	if pem[0] != "" || pem[1] != "" {
		p.Certificate = &portal.Certificate{Chain: pem[0], Key: portal.Secret(pem[1])}
	}
	p.CA = pem[2]
	return nil
}

// dayForm is how commands take days.
const dayForm = "02/01/2006"

// parseFrom reads --from.
func parseFrom(from string) (since time.Time, backfill bool, err error) {
	switch from {
	case "now":
		return time.Time{}, false, nil
	case "all":
		return time.Time{}, true, nil
	}
	if since, err = time.ParseInLocation(dayForm, from, local); err != nil {
		return since, false, fmt.Errorf("--from: got %q, expected now, all or a date as dd/mm/yyyy", from)
	}
	return since, true, nil
}

// raisePage is how many flags are raised at once.
const raisePage = 1000

// raiseFor flags a portal for every article published since then. Which of them it is to have,
// its filter decides when they are taken.
func raiseFor(ctx context.Context, s *session, name string, since time.Time) (int, error) {
	var flags []reconcile.Flag
	n := 0
	flush := func() error {
		n += len(flags)
		err := reconcile.Raise(ctx, s.js, flags)
		flags = flags[:0]
		return err
	}
	for a, err := range s.log.Walk(ctx, "*", 0) {
		if err != nil {
			return n, err
		}
		if !a.Live() || a.Published.Before(since) {
			continue
		}
		f := reconcile.FlagsFor(bulletins.Kind, []string{name}, nil, a)
		f[0].Class = streams.Normal // what is old news overtakes nothing
		if flags = append(flags, f...); len(flags) == raisePage {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	return n, flush()
}

type portalsPauseCmd struct {
	client
	Name string `arg:"" help:"The portal's name."`
	Why  string `required:"" help:"Why, for those who wonder."`
}

func (c *portalsPauseCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		if err := portals.Pause(e.ctx, c.Name, operator(), c.Why); err != nil {
			return err
		}
		e.printf("Paused %s. What is due to it waits.\n", c.Name)
		return nil
	})
}

type portalsResumeCmd struct {
	client
	Name string `arg:"" help:"The portal's name."`
}

func (c *portalsResumeCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		if err := portals.Resume(e.ctx, c.Name, operator()); err != nil {
			return err
		}
		e.printf("Resumed %s.\n", c.Name)
		return nil
	})
}

type portalsRotateCmd struct {
	client
	Name       string        `arg:"" help:"The portal's name."`
	Overlap    time.Duration `default:"168h" help:"How long the old secret signs as well (168h, a week); 0s ends it at once."`
	Ed25519    bool          `name:"ed25519" help:"Make a signing key, whose public half the portal is given, in the place of a shared secret."`
	SecretFile string        `type:"existingfile" placeholder:"FILE" help:"File with the new secret; without it one is made, and printed once."`
	Now        bool          `help:"Make no new secret, but end the overlap of an earlier rotation now."`
}

// Help is shown by loa portals rotate --help.
func (*portalsRotateCmd) Help() string {
	return `The portal gets a new secret. For the time of the overlap each bulletin carries a signature
with the new one and with the old, so the portal can be given the new one at any moment of
it. Afterwards the old one is dropped by itself.

A configuration file that still names an old secret does not bring it back.`
}

func (c *portalsRotateCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		if c.Now {
			ended, err := portals.EndOverlap(e.ctx, c.Name, operator())
			if err != nil {
				return err
			}
			if !ended {
				e.printf("No former secret of %s is in use.\n", c.Name)
				return nil
			}
			e.printf("Only the current secret of %s signs from now on.\n", c.Name)
			return nil
		}
		fresh := events.NewSecret()
		switch {
		case c.SecretFile != "":
			data, err := os.ReadFile(c.SecretFile)
			if err != nil {
				return err
			}
			fresh = strings.TrimSpace(string(data))
		case c.Ed25519:
			fresh = events.NewSigningKey()
		}
		if err := portals.Rotate(e.ctx, c.Name, portal.Secret(fresh), c.Overlap, operator()); err != nil {
			return err
		}
		e.printf("Rotated the secret of %s.\n", c.Name)
		switch {
		case events.IsSigningKey(fresh):
			public, err := events.PublicKey(fresh)
			if err != nil {
				return err
			}
			e.printf("The public key to give to the portal: %s\n", public)
		case c.SecretFile == "":
			e.printf("The new one, which is not shown again: %s\n", fresh)
		}
		if c.Overlap > 0 {
			e.printf("The old one signs as well until %s.\n", clock(time.Now().Add(c.Overlap)))
		}
		return nil
	})
}

type portalsRmCmd struct {
	client
	Name string `arg:"" help:"The portal's name."`
	Yes  bool   `help:"Do it without asking again." required:""`
}

func (c *portalsRmCmd) Run(e *env) error {
	return c.withPortals(e, func(_ *session, portals *portal.Registry) error {
		if err := portals.Delete(e.ctx, c.Name, operator()); err != nil {
			return err
		}
		e.printf("Removed %s. What it holds, it keeps: nothing tells it of corrections and withdrawals any more.\nShould it come back under this name within 90 days, it is known what it holds.\n", c.Name)
		return nil
	})
}
