// Package announcements tells WebSub hubs elsewhere that feeds have changed. Loa's own hub, which has
// subscribers itself, is workers/hub.
//
//	feeds ──flag (hub, feed)──▶ announcements ──"publish"──▶ WebSub hub ──▶ its subscribers
//
// It is the [reconcile.Reconciler] of the kind "hub": a target is a hub, a key is a feed. What was
// announced last is kept in a bucket, by the ETags of the feed's documents, so a flag that is
// raised once too often costs no announcement, and none is missed: the flag is lowered when the
// hub has answered 2xx.
//
// WebSub (W3C Recommendation, 23 January 2018, §6) leaves to publisher and hub how they talk; the
// form that hubs know is that of PubSubHubbub 0.4 §7: hub.mode=publish with hub.url. Newer hubs
// want hub.topic, so both are sent.
package announcements

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Kind of the targets that this package reconciles.
const Kind = "hub"

// documents of a feed; each is a topic of its own.
var documents = []string{"feed.rss", "feed.atom", "feed.json"}

// Objects is where the feeds are.
type Objects interface {
	Stat(ctx context.Context, key string) (objects.Info, error)
}

// Options of a worker. All but Log are required.
type Options struct {
	JS      jetstream.JetStream
	Objects Objects
	Client  *http.Client
	// Hubs are the addresses of the hubs.
	Hubs []string
	// PublicURL is the base of the feeds' addresses.
	PublicURL string
	Log       zerolog.Logger
}

// Announcer announces feeds to hubs.
type Announcer struct {
	opts      Options
	byTarget  map[string]string // hub addresses
	announced jetstream.KeyValue
}

const (
	// inFlight is how many feeds are announced to one hub at once.
	inFlight = 4
	// maxAnswer is how much of a hub's answer is read, in bytes.
	maxAnswer = 4 << 10
)

// New opens the bucket that [streams.Setup] made.
func New(ctx context.Context, o Options) (*Announcer, error) {
	kv, err := o.JS.KeyValue(ctx, streams.HubsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.HubsBucket, err)
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	a := &Announcer{opts: o, announced: kv, byTarget: map[string]string{}}
	for _, address := range o.Hubs {
		a.byTarget[events.Token(address)] = address
	}
	return a, nil
}

// Changed flags every hub for a feed whose documents have been stored.
func (a *Announcer) Changed(ctx context.Context, feed string) error {
	var flags []reconcile.Flag
	for target := range a.byTarget {
		flags = append(flags, reconcile.Flag{Class: streams.Normal, Kind: Kind, Target: target, Key: feed})
	}
	return reconcile.Raise(ctx, a.opts.JS, flags)
}

// Limits are those of a hub, for [reconcile.Options].
func (a *Announcer) Limits(string) reconcile.Limits { return reconcile.Limits{InFlight: inFlight} }

// Reconcile implements [reconcile.Reconciler].
func (a *Announcer) Reconcile(ctx context.Context, target string, flags []reconcile.Flag) error {
	address, ok := a.byTarget[target]
	if !ok {
		return nil // it is no longer configured
	}
	for _, f := range flags {
		if err := a.announce(ctx, address, target, f.Key); err != nil {
			return err
		}
	}
	return nil
}

// announce tells a hub of a feed, unless it has been told of it as it is.
func (a *Announcer) announce(ctx context.Context, address, target, feed string) error {
	var now []string
	for _, doc := range documents {
		info, err := a.opts.Objects.Stat(ctx, "feeds/"+feed+"/"+doc)
		if errors.Is(err, objects.ErrNotFound) {
			return nil // there is nothing to announce
		}
		if err != nil {
			return fmt.Errorf("look at feed %s: %w", feed, err)
		}
		now = append(now, info.ETag)
	}
	state, key := strings.Join(now, " "), target+"."+feed
	last, err := a.announced.Get(ctx, key)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("look up what hub %s was told of feed %s: %w", address, feed, err)
	}
	if err == nil && string(last.Value()) == state {
		return nil
	}
	began := time.Now()
	for _, doc := range documents {
		if err := a.publish(ctx, address, a.opts.PublicURL+"/feeds/"+feed+"/"+doc); err != nil {
			return err
		}
	}
	a.opts.Log.Info().Str("hub", address).Str("target", feed).Dur("took", time.Since(began)).Msg("feed announced")
	if _, err := a.announced.Put(ctx, key, []byte(state)); err != nil {
		return fmt.Errorf("note what hub %s was told of feed %s: %w", address, feed, err)
	}
	return nil
}

// publish posts one announcement.
func (a *Announcer) publish(ctx context.Context, address, topic string) error {
	form := url.Values{"hub.mode": {"publish"}, "hub.url": {topic}, "hub.topic": {topic}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return reconcile.Permanent(fmt.Errorf("hub %s: %w", address, err))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := a.opts.Client.Do(req)
	if err != nil {
		return reconcile.Down(fmt.Errorf("announce %s to hub %s: %w", topic, address, err), 0)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection can be used again
	switch {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode/100 == 4 && res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusRequestTimeout:
		return reconcile.Failed(fmt.Errorf("hub %s refused %s: %s", address, topic, res.Status))
	}
	return reconcile.Down(fmt.Errorf("hub %s answered %s to %s", address, res.Status, topic), 0)
}
