package main

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest/wallclock"
)

var clocks = flag.Bool("clocks", false, "run the tests of clocks that jump, for which everything is built anew")

// Loa's clock on the wall, and that of the servers within it, jumps an hour ahead, back, an hour
// behind and right again, while a CMS publishes, and Loa is killed at some of these times. While
// it is wrong, portals refuse what is signed with it: that is too new or too old for them. When it
// is right again, everything is as it should be within a minute or so, and nothing waits for an
// hour to pass.
func TestSurvivesAClockThatJumps(t *testing.T) {
	if !*clocks {
		t.Skip("it builds everything anew; -clocks does so")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	wall := wallclock.New(t)
	c := newCity(t, append(somePartners(), &partner{name: "diem-tin", digest: "*/5 * * * * *"})...)
	c.program = wallclock.Build(t, "github.com/loa-syndication/loa/cmd/loa")
	c.environment = []string{wall.Environment()}
	c.serve()
	said, published := newLedger(), make(chan struct{})
	cms := c.cms()
	all := story(rng, 200, c.pictures)
	const jumps, each = 8, 6 * time.Second // a breaker opens, and probes
	go func() {
		defer close(published)
		publish(t, cms, all, jumps*each/time.Duration(len(all)), said)
	}()
	everywhere := c.partners[0]
	for i, by := range []time.Duration{time.Hour, 0, -time.Hour, 0, time.Hour, -time.Hour, time.Hour, 0} {
		before, posts := len(everywhere.history()), everywhere.receiver.Posts()
		wall.Jump(by)
		if i >= 3 {
			c.loa.Kill() // with a clock that the next one does not have
			c.serve()
		}
		time.Sleep(each)
		accepted, called := len(everywhere.history())-before, everywhere.receiver.Posts()-posts
		t.Logf("%s off: portal %s was called %d times, and accepted %d bulletins", by, everywhere.name, called, accepted)
	}
	<-published
	s := c.session()
	c.level(s) // which it has to be within minutes
	want := said.wanted()
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
	s.close()
	c.loa.terminate(t, grace)
	c.copiesAgree()
}
