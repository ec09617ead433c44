package main

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/internal/streams"
)

// listenForChanges tells the gateway of feeds that are stored anew, by whatever process.
func (a *app) listenForChanges() error {
	sub, err := a.backbone.js.Conn().Subscribe(streams.ChangedFeeds, func(m *nats.Msg) {
		if feed, err := streams.ChangedFeedID(m.Subject); err == nil {
			a.gateway.Changed(feed)
		}
	})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", streams.ChangedFeeds, err)
	}
	a.closers = append(a.closers, func() { _ = sub.Unsubscribe() }) // it ends with the connection at the latest
	return nil
}
