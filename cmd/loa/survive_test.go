package main

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/sample"
)

// somePartners are portals with every kind of filter. Some share flags: the first two do, and the next
// two, and two more.
func somePartners() []*partner {
	return []*partner{
		{name: "tat-ca"},
		{name: "toan-bo"},
		{name: "ben-song", filter: portal.Filter{Sites: []string{sample.BenSong}}},
		{name: "khan-cap", filter: portal.Filter{Urgency: 3}},
		{name: "thong-bao", filter: portal.Filter{Categories: []string{"thong-bao", "y-te"}}},
		{name: "cay-xanh", filter: portal.Filter{Tags: []string{"cây xanh", "thư viện"}}},
		{name: "hay-nghi", filter: portal.Filter{Sites: []string{sample.City}, Categories: []string{"giao-thong", "van-hoa", "kinh-te"}}},
	}
}

var survivors = flag.Int("articles", 300, "how many articles the CMS publishes while Loa is killed")

// A CMS publishes hundreds of articles with updates, corrections and withdrawals, out of order and
// repeated, while Loa is killed again and again, and a portal is away. In the end the log, its
// copies, every feed and every portal are what the CMS said, and nothing ever went backwards.
func TestEverythingSurvivesKills(t *testing.T) {
	t.Parallel()
	articles, pause := *survivors, 13*time.Millisecond // some 9 s, which several kills fall into
	const kills, mostKills = 5, 10
	if testing.Short() {
		articles = min(articles, 150)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	c := newCity(t, somePartners()...)
	c.media("erase_after: 1s") // while everything goes on
	c.serve()
	said := newLedger()
	events := story(rng, articles, c.pictures)
	cms := c.cms()
	published := make(chan struct{})
	go func() {
		defer close(published)
		publish(t, cms, events, pause, said)
	}()
	unwatch := c.watchFeeds(sample.City+"--all", sample.City, sample.BenSong+"--all", sample.CauGo)

	away, killed := c.partners[1], 0 // it shares flags
	for killed < kills || published != nil {
		pause := time.After(500*time.Millisecond + time.Duration(rng.IntN(2000))*time.Millisecond)
		if killed >= mostKills {
			pause = nil
		}
		select {
		case <-published:
			published = nil
		case <-pause:
			c.loa.Kill()
			switch killed++; killed {
			case 1:
				away.close()
			case 3:
				away.open(t)
			}
			c.serve()
		}
	}
	t.Logf("%d articles, %d events, killed %d times", articles, len(events), killed)

	s := c.session()
	c.level(s)
	unwatch()
	want := said.wanted()
	if len(want) != articles {
		t.Errorf("the CMS spoke of %d articles, want %d", len(want), articles)
	}
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	erased := 0
	for _, tr := range c.printed {
		erased += strings.Count(tr.String(), "picture erased")
	}
	t.Logf("%d pictures were erased meanwhile", erased)
	c.feedsAgree(want)
	c.portalsAgree(want)
	s.close()
	c.loa.terminate(t, grace)
	c.copiesAgree()
}
