package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/websub"
)

// subscriptionView is a subscription as people and scripts are told of it. Its callback is between
// its owner and Loa: whoever knows it could ask in its name.
type subscriptionView struct {
	ID       string     `json:"id"`
	Topic    string     `json:"topic"` // feed and format
	Host     string     `json:"host"`
	State    string     `json:"state"`
	Signed   string     `json:"signed,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Last     *time.Time `json:"last_delivery,omitempty"`
	Failing  *time.Time `json:"failing_since,omitempty"`
	Failures int        `json:"failures,omitempty"`
	Reason   string     `json:"reason,omitempty"`

	callback string
	topic    websub.Topic
}

// hubFilter says which subscriptions are meant.
type hubFilter struct {
	Host string `help:"Only those with callbacks at one host." placeholder:"HOST"`
	Feed string `help:"Only those to one feed." placeholder:"FEED"`
}

// subscriptions gives those that the filter finds, by topic and host.
func (s *session) subscriptions(ctx context.Context, subs *websub.Registry, f hubFilter) ([]subscriptionView, error) {
	var all []subscriptionView
	var pairs []reconcile.Pair
	now := time.Now()
	for id, k := range subs.All() {
		v := subscriptionView{ID: string(id), State: "active"}
		switch {
		case k.Subscription != nil && k.Subscription.Live(now):
			v.callback, v.topic = k.Subscription.Callback, k.Subscription.Topic
			v.Since, v.Expires = &k.Subscription.Since, &k.Subscription.Expires
			if k.Subscription.Secret != "" {
				v.Signed = string(k.Subscription.Method)
			}
			d := k.Delivery
			v.Last, v.Failing, v.Failures, v.Reason = optional(d.At), optional(d.FailingSince), d.Failures, d.Error
			if v.Failing != nil {
				v.State = "failing"
			}
			flag := websub.DeliverFlag(v.callback, id, 0)
			pairs = append(pairs, reconcile.Pair{Target: flag.Target, Key: flag.Key})
		case k.Request != nil && k.Request.Mode == websub.ModeSubscribe:
			v.callback, v.topic, v.State = k.Request.Callback, k.Request.Topic, "unverified"
			v.Since = &k.Request.At
		default: // nothing any more
			continue
		}
		v.Topic, v.Host = v.topic.String(), websub.Host(v.callback)
		if (f.Host == "" || strings.EqualFold(f.Host, v.Host)) && (f.Feed == "" || f.Feed == v.topic.Feed) {
			all = append(all, v)
		}
	}
	up, err := reconcile.Up(ctx, s.js, websub.Kind, pairs)
	if err != nil {
		return nil, err
	}
	for i, v := range all {
		flag := websub.DeliverFlag(v.callback, websub.ID(v.ID), 0)
		if _, behind := up[reconcile.Pair{Target: flag.Target, Key: flag.Key}]; behind && v.State == "active" {
			all[i].State = "behind"
		}
	}
	slices.SortFunc(all, func(a, b subscriptionView) int {
		return strings.Compare(a.Topic+" "+a.Host+" "+a.ID, b.Topic+" "+b.Host+" "+b.ID)
	})
	return all, nil
}

// withHub opens what is known of subscriptions. Secrets are not needed, so neither is their key.
func (c *client) withHub(e *env, do func(*session, *websub.Registry) error) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	subs, err := websub.Open(e.ctx, s.js, nil, true, zerolog.Nop())
	if err != nil {
		return err
	}
	defer subs.Close()
	return do(s, subs)
}

type hubLsCmd struct {
	client
	hubFilter
	JSON bool `help:"Print as JSON, one subscription a line."`
}

// Help is shown by loa hub ls --help.
func (*hubLsCmd) Help() string {
	return `A subscription is one of these:

  active       it has its topic as it is, as far as is known
  behind       a delivery waits: for its turn, or until its host is back
  failing      the last delivery failed; it is tried again, and at the latest when the topic changes
  unverified   the callback has yet to confirm

Callbacks are not shown: whoever knows one could ask in its name.`
}

func (c *hubLsCmd) Run(e *env) error {
	return c.withHub(e, func(s *session, subs *websub.Registry) error {
		all, err := s.subscriptions(e.ctx, subs, c.hubFilter)
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
			rows = append(rows, []string{v.ID[:shownID], v.Topic, v.Host, v.State, clockOf(v.Expires), clockOf(v.Last), clockOf(v.Failing), shorten(v.Reason, 50)})
		}
		if c.JSON {
			return nil
		}
		if len(rows) == 0 {
			e.printf("No subscriptions.\n")
			return nil
		}
		e.table([]string{"ID", "TOPIC", "HOST", "STATE", "LEASE ENDS", "LAST DELIVERY", "FAILING SINCE", "REASON"}, rows)
		e.printf("\n%d subscriptions. loa hub drop ends some.\n", len(rows))
		return nil
	})
}

// shownID is how much of an id is shown: its first characters are as good as random.
const shownID = 12

func clockOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return clock(*t)
}

type hubDropCmd struct {
	client
	hubFilter
	IDs    []string `arg:"" optional:"" name:"id" help:"As loa hub ls prints them."`
	Reason string   `default:"ended by the publisher" help:"What the callback is told."`
}

// Help is shown by loa hub drop --help.
func (*hubDropCmd) Help() string {
	return `Nothing more is delivered to a subscription that was dropped, and its callback is told so
once, with the reason. It may subscribe again. An id is that of a callback, and stands for all of its
topics; one of them alone is <id in full> as --json shows it.`
}

func (c *hubDropCmd) Run(e *env) error {
	if (len(c.IDs) > 0) == (c.hubFilter != hubFilter{}) {
		return errors.New("expected either ids, or --host or --feed; loa hub ls lists the subscriptions")
	}
	return c.withHub(e, func(s *session, subs *websub.Registry) error {
		all, err := s.subscriptions(e.ctx, subs, c.hubFilter)
		if err != nil {
			return err
		}
		chosen := all
		if len(c.IDs) > 0 {
			if chosen, err = chooseSubscriptions(all, c.IDs); err != nil {
				return err
			}
		}
		for i, v := range chosen {
			if err := subs.Deny(e.ctx, v.callback, v.topic, c.Reason); err != nil {
				return fmt.Errorf("%d of %d dropped, then: %w", i, len(chosen), err)
			}
		}
		e.printf("%d dropped.\n", len(chosen))
		return nil
	})
}

// chooseSubscriptions finds what the beginnings of ids name: several, where one callback has several
// topics.
func chooseSubscriptions(all []subscriptionView, ids []string) ([]subscriptionView, error) {
	var chosen []subscriptionView
	for _, id := range ids {
		before := len(chosen)
		for _, v := range all {
			if len(id) >= shownID && strings.HasPrefix(v.ID, id) {
				chosen = append(chosen, v)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("no subscription has the id %q; loa hub ls lists them", id)
		}
	}
	return chosen, nil
}
