package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

// TestEveryGatewayIsToldOfAChange has two gateways, and a feed that is stored as by a third process.
func TestEveryGatewayIsToldOfAChange(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "data")
	cfg.NATS.Listen, cfg.Listen = "", "127.0.0.1:0"
	bb, err := startBackbone(t.Context(), cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bb.close)
	tree, err := siteTree([]config.Site{{ID: "xa-0", Name: "Xã"}})
	if err != nil {
		t.Fatal(err)
	}
	var gateways []string
	for range 2 {
		own := *cfg
		a := &app{cfg: &own, log: zerolog.Nop(), backbone: bb}
		if err := a.listen(); err != nil {
			t.Fatal(err)
		}
		a.gateway, err = gateway.New(gateway.Options{Objects: bb.store, Sites: tree, PublicURL: own.PublicURL, Log: a.log})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.listenForChanges(); err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- a.gateway.Serve(t.Context(), a.listener) }()
		t.Cleanup(func() { // the context has ended
			if err := <-served; err != nil {
				t.Error(err)
			}
			a.backbone = nil // which others use
			a.close()
		})
		gateways = append(gateways, own.PublicURL)
	}
	store := func(text string) {
		t.Helper()
		if _, err := bb.store.Put(t.Context(), "feeds/xa-0/feed.rss", []byte(text), objects.Meta{ContentType: "application/rss+xml"}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from string) string {
		t.Helper()
		res, err := http.Get(from + "feeds/xa-0/feed.rss")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	// Asked a second after it asked the store last, a gateway would find the change by itself. So
	// this counts only where all goes faster than that, as it does but on a machine that is busy.
	const alone = 900 * time.Millisecond
	store("0")
	for round := 1; ; round++ {
		began := time.Now()
		for _, g := range gateways {
			read(g)
		}
		want := fmt.Sprint(round)
		store(want)
		if err := bb.js.Conn().Publish(streams.ChangedFeed("xa-0"), []byte(want)); err != nil {
			t.Fatal(err)
		}
		for _, g := range gateways {
			loatest.Eventually(t, "the feed is what was stored", func() bool { return read(g) == want })
		}
		if time.Since(began) < alone {
			return
		}
		if round == 20 {
			t.Fatalf("in %d rounds no gateway had the change within %s", round, alone)
		}
		time.Sleep(time.Second) // until what was read before counts no more
	}
}
