package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// reach is what loa reach says of an article.
func (c *city) reach(article string) (status int, r reach.Report) {
	c.t.Helper()
	status, out, faults := c.command("reach", "--data", c.data, "--json", article)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		c.t.Fatalf("loa reach: %v\n%s%s", err, out, faults)
	}
	return status, r
}

// say publishes an article as front matter.
func (c *city) say(id, more string) {
	c.t.Helper()
	c.runLines(line{"publish --data {data} " + c.write(id+".md", fmt.Sprintf("---\nsite: phuong-cau-go\nid: %s\nurl: https://caugo.anhoa.example/%s\ntitle: Tin %s\n---\n%s\n", id, id, id, more)), 0, nil})
}

// purge empties a stream behind Loa's back.
func (c *city) purge(s *session, name string) {
	c.t.Helper()
	stream, err := s.js.Stream(c.t.Context(), name)
	if err == nil {
		err = stream.Purge(c.t.Context())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestReachAndResync(t *testing.T) {
	t.Parallel()
	open, away, other := &partner{name: "mo"}, &partner{name: "vang"}, &partner{name: "khac", filter: portal.Filter{Sites: []string{sample.DoiThong}}}
	c := newCity(t, open, away, other)
	c.serve()
	s := c.session()
	const tin = "phuong-cau-go/tin-1"
	c.say("tin-1", "Một.")
	c.runLines(line{"reach --data {data} --wait " + tin, 0, []string{"version 1 at 2 of 2 portals", "mo", "vang", "delivered"}})

	// One portal pauses, and misses a version and an article.
	c.runLines(
		line{"portals pause --data {data} vang --why bảo-trì", 0, nil},
		line{"reach --data {data} phuong-cau-go/khong-co", 1, []string{"no article", "loa dead ls"}},
	)
	c.say("tin-1", "Hai.")
	c.say("tin-2", "Mới.")
	c.runLines(line{"reach --data {data} --wait " + tin, 3, nil}, line{"reach --data {data} --wait phuong-cau-go/tin-2", 3, nil})
	status, r := c.reach(tin)
	if status != 3 || r.Delivered != 1 || r.Concerned != 2 || r.Reachable != 0 || r.Portals[0].Portal != "vang" ||
		r.Portals[0].State != reach.Paused || r.Portals[0].Holds != "1" {
		t.Errorf("status %d, %+v", status, r)
	}

	// Its flags are lost. Nothing is sent when it is resumed, and nobody would notice.
	waitFor(t, "the flags of the paused portal", func() bool {
		b, err := measureBacklog(t.Context(), s.js)
		return err == nil && b.Flags == 2
	})
	c.purge(s, streams.Flags)
	c.runLines(line{"portals resume --data {data} vang", 0, nil})
	c.level(s)
	if status, r := c.reach(tin); status != 1 || r.Portals[0].State != reach.Missing {
		t.Errorf("status %d, %+v", status, r)
	}
	openHad, awayHad := len(open.history()), len(away.history())
	c.runLines(line{"resync --data {data} --dry-run", 0, []string{"MISSING", "2 articles compared"}})
	c.level(s)
	if n := len(away.history()); n != awayHad {
		t.Errorf("a dry run sent %d bulletins", n-awayHad)
	}
	c.runLines(
		line{"resync --data {data} --portal khong-co", 1, []string{"khong-co", "loa portals ls"}},
		line{"resync --data {data} --site khong-co", 1, []string{"khong-co", "phuong-cau-go"}},
		line{"resync --data {data} --portal vang --json", 0, []string{`"vang":{"compared":2,"level":0,"flagged":0,"set_aside":0,"raised":2}`}},
	)
	c.level(s)
	c.runLines(
		line{"reach --data {data} " + tin, 0, []string{"version 2 at 2 of 2 portals"}},
		line{"resync --data {data}", 0, []string{"all 3", "2 articles compared"}},
	)
	c.level(s)
	if n := len(open.history()) - openHad; n != 0 {
		t.Errorf("a level portal was sent %d bulletins", n)
	}
	if n := len(away.history()) - awayHad; n != 2 {
		t.Errorf("the portal was sent %d bulletins, want the 2 it lacked", n)
	}

	// Receipts and feeds' indexes are lost: portals are sent the same again, which they drop by
	// its id, and the feeds come back.
	held := len(away.receiver.Held())
	c.purge(s, streams.Receipts)
	c.purge(s, "KV_"+streams.FeedsBucket)
	before := away.receiver.Counts()
	c.runLines(line{"resync --data {data}", 0, []string{"RAISED", "phuong-cau-go--all"}})
	c.level(s)
	after := away.receiver.Counts()
	if after.Kept != before.Kept || after.Duplicates != before.Duplicates+2 || len(away.receiver.Held()) != held {
		t.Errorf("before %+v, after %+v", before, after)
	}
	c.runLines(
		line{"reach --data {data} " + tin, 0, []string{"version 2 at 2 of 2 portals"}},
		line{"resync --data {data} --json", 0, []string{`"mo":{"compared":2,"level":2,"flagged":0,"set_aside":0,"raised":0}`}},
	)
	if n := len(other.history()); n != 0 {
		t.Errorf("a portal of another district was sent %d bulletins", n)
	}
	feeds, err := s.js.KeyValue(t.Context(), streams.FeedsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feeds.Get(t.Context(), sample.City+"--all"); err != nil {
		t.Errorf("the city's feed: %v", err)
	}

	// So does a document that the object store has lost.
	doc := filepath.Join(c.data, "s3/buckets/loa/feeds/phuong-cau-go/feed.rss")
	if err := os.Remove(doc); err != nil {
		t.Fatal(err)
	}
	c.runLines(line{"resync --data {data} --feeds --site phuong-cau-go", 0, []string{"2 articles compared"}})
	waitFor(t, "the feed to be stored again", func() bool { _, err := os.Stat(doc); return err == nil })

	// Withdrawn while one portal is down: it is told who still shows it.
	away.close()
	c.runLines(line{"withdraw --data {data} " + tin + " --reason Nhầm", 0, nil})
	waitFor(t, "the portal to be found down", func() bool {
		_, r := c.reach(tin)
		return r.Outstanding()[reach.Down] == 1 && r.Delivered == 1
	})
	c.runLines(line{"reach --data {data} --wait " + tin, 3, nil})
	away.open(t)
	waitFor(t, "the portal to be told", func() bool { status, _ := c.reach(tin); return status == 0 })
	c.runLines(line{"reach --data {data} " + tin, 0, []string{"withdrawn at 2 of 2 portals"}})
}

// A site that is put above others shows what they had published before, as one does that goes on
// with what another did, and a feed that is new in the configuration.
func TestFeedsFollowTheConfigurationAtTheNextStart(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	c.serve()
	s := c.session()
	for i := range 3 {
		c.say(fmt.Sprintf("tin-%d", i), "Nội dung.")
	}
	c.level(s)
	s.close()
	c.loa.terminate(t, grace)
	text, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	above := strings.Replace(string(text), "portals:", "  - {id: vung, name: Vùng, url: \"https://vung.example/\"}\nportals:", 1)
	above = strings.Replace(above, `parent: ""}`, "parent: vung}", 1)
	above = strings.Replace(above, "{id: "+sample.CauGo+",", "{successors: ["+sample.ChoMoi+"], succeeded: 2025-07-01, id: "+sample.CauGo+",", 1)
	above += "feeds: {custom: [{id: moi, title: Mới}]}\n"
	if err := os.WriteFile(c.config, []byte(above), 0o600); err != nil {
		t.Fatal(err)
	}
	c.serve()
	for what, id := range map[string]string{"the new site": "vung--all", "the configuration": "moi", "the site that goes on": sample.ChoMoi,
		"the site that has gone, which leads there": sample.CauGo} {
		waitFor(t, "the feed of "+what, func() bool {
			feed, err := fetch(t.Context(), c.gateway+"/feeds/"+id+"/feed.atom")
			return err == nil && strings.Count(string(feed), "<entry") == 3 && (id != sample.CauGo || strings.Contains(string(feed), sample.ChoMoi+"/feed.atom"))
		})
	}
}
