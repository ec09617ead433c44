package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/sample"
)

// verify is what loa portals verify says of a portal: its differences by the article's id, and all
// in all.
func (c *city) verify(name string, more ...string) (status int, by map[string]reach.Difference, r reach.VerifyResult) {
	c.t.Helper()
	status, out, faults := c.command(append([]string{"portals", "verify", "--data", c.data, "--json", name}, more...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	by = map[string]reach.Difference{}
	for i, l := range lines {
		var d reach.Difference
		var err error
		if i == len(lines)-1 {
			err = json.Unmarshal([]byte(l), &r)
		} else {
			err = json.Unmarshal([]byte(l), &d)
			by[d.ID] = d
		}
		if err != nil {
			c.t.Fatalf("loa portals verify: %v\n%s%s", err, out, faults)
		}
	}
	return status, by, r
}

func TestDriftAtAPortalIsShownAndMended(t *testing.T) {
	t.Parallel()
	p := &partner{name: "mo"}
	c := newCity(t, p)
	c.serve()
	s := c.session()
	const most = 9
	for i := range most {
		c.say(fmt.Sprintf("tin-%d", i), "Nội dung.")
	}
	c.say("tin-1", "Nội dung mới.")
	for _, id := range []string{"tin-2", "tin-3"} {
		c.runLines(line{"withdraw --data {data} " + sample.CauGo + "/" + id + " --reason Nhầm", 0, nil})
	}
	c.level(s)
	if status, by, r := c.verify("mo"); status != 0 || len(by) != 0 || r.Compared != most || r.Level != most || r.Pages != 1 {
		t.Fatalf("without drift: status %d, %+v, %+v", status, by, r)
	}

	// Somebody edits what the portal holds.
	guid := func(id string) string { return article.NewGUID(sample.CauGo, id) }
	edit := func(id string, change func(*events.BulletinArticle)) { p.receiver.Edit(guid(id), change) }
	edit("tin-0", nil)
	edit("tin-1", func(a *events.BulletinArticle) { a.Version-- })
	edit("tin-2", func(a *events.BulletinArticle) { a.Version, a.Status = a.Version-1, events.StatusLive })
	edit("tin-3", nil) // withdrawn, and gone altogether: nothing is shown
	edit("tin-4", func(a *events.BulletinArticle) { a.Title = "Bị sửa" })
	edit("tin-5", func(a *events.BulletinArticle) { a.Version += 7 })
	edit("la", func(a *events.BulletinArticle) {
		*a = events.BulletinArticle{GUID: guid("la"), Site: sample.CauGo, ID: "la", Version: 1, Status: events.StatusLive, Title: "Lạ"}
	})
	want := map[string]reach.Drift{"tin-0": reach.Lost, "tin-1": reach.Older, "tin-2": reach.Shown, "tin-4": reach.Altered, "tin-5": reach.Newer, "la": reach.Unknown}
	before := p.history()
	status, by, r := c.verify("mo")
	if status != 1 || len(by) != len(want) || r.Level != most-5 || r.Again != 0 {
		t.Errorf("status %d, %+v", status, r)
	}
	for id, drift := range want {
		if by[id].Drift != drift {
			t.Errorf("%s: %+v, expected %q", id, by[id], drift)
		}
	}
	c.level(s)
	posts := func() []string {
		var ids []string
		for _, d := range p.history()[len(before):] {
			if d.guid != "" { // else a page of a manifest
				ids = append(ids, d.guid)
			}
		}
		slices.Sort(ids)
		return ids
	}
	if n := len(posts()); n != 0 {
		t.Errorf("looking alone sent %d bulletins", n)
	}
	_, told, _ := c.command("portals", "verify", "--data", c.data, "mo")
	for _, want := range []string{"mo holds 4 of 9 articles", "Different: 1 shown though withdrawn, 1 missing", "there nothing", "--repair"} {
		if !strings.Contains(told, want) {
			t.Errorf("want %q in\n%s", want, told)
		}
	}

	// What sending mends is sent, and nothing else.
	status, by, r = c.verify("mo", "--repair")
	if status != 1 || r.Again != 4 || by["la"].Again || by["tin-5"].Again || !by["tin-0"].Again {
		t.Errorf("status %d, %+v, %+v", status, by, r)
	}
	c.level(s)
	mended := []string{guid("tin-0"), guid("tin-1"), guid("tin-2"), guid("tin-4")}
	slices.Sort(mended)
	if got := posts(); !slices.Equal(got, mended) {
		t.Errorf("sent %v, expected %v", got, mended)
	}
	ids := map[string]string{}
	for _, d := range p.history() {
		if former, ok := ids[d.id]; ok && former != d.digest {
			t.Errorf("%s came with two bodies", d.id)
		}
		ids[d.id] = d.digest
	}
	edit("la", nil)
	edit("tin-5", func(a *events.BulletinArticle) { a.Version -= 7 })
	if status, by, r := c.verify("mo"); status != 0 || len(by) != 0 || r.Level != most {
		t.Errorf("mended: status %d, %v, %+v", status, slices.Collect(maps.Values(by)), r)
	}
	c.runLines(line{"reach --data {data} " + sample.CauGo + "/tin-0", 0, []string{"version 1 at 1 of 1 portals"}})

	// A withdrawal that Loa does not know was ever needed there: the receipt is lost.
	c.say("tin-9", "Nội dung.")
	c.level(s)
	c.purge(s, "RECEIPTS")
	c.runLines(line{"withdraw --data {data} " + sample.CauGo + "/tin-9 --reason Nhầm", 0, nil})
	c.level(s)
	status, by, r = c.verify("mo", "--repair")
	if status != 0 || by["tin-9"].Drift != reach.Shown || by["tin-0"].Drift != reach.Unnoted || r.Again != r.Differences() {
		t.Errorf("without receipts: status %d, %+v, %+v", status, by, r)
	}
	c.level(s)
	if h, _ := p.receiver.Get(guid("tin-9")); h.Bulletin.Data.Status != events.StatusWithdrawn {
		t.Errorf("still shown: %+v", h)
	}
	if status, _, r := c.verify("mo"); status != 0 || r.Differences() != 0 {
		t.Errorf("in the end: %d, %+v", status, r)
	}
}

// While articles change and are delivered, nothing of that is taken for drift.
func TestWhatIsUnderWayIsNoDrift(t *testing.T) {
	t.Parallel()
	p := &partner{name: "mo"}
	c := newCity(t, p)
	c.serve()
	s := c.session()
	pub := events.NewPublisher(c.cms())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for v := int64(1); ctx.Err() == nil; v++ {
			id := fmt.Sprint("tin-", v%20)
			if _, err := pub.Publish(ctx, events.NewPublished("/cms", events.Article{Site: sample.CauGo, ID: id, Version: v, URL: "https://caugo.anhoa.example/" + id,
				Title: fmt.Sprint("Tin ", v), Body: "<p>Nội dung.</p>", Published: time.Now()})); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	waitFor(t, "the portal to hold something", func() bool { return p.receiver.Counts().Kept > 20 })
	for range 15 {
		if status, by, r := c.verify("mo"); status != 0 || len(by) > 0 {
			t.Errorf("status %d, %+v, %+v", status, by, r)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.level(s)
	if status, by, r := c.verify("mo"); status != 0 || len(by) > 0 || r.Level != 20 {
		t.Errorf("in the end: status %d, %+v, %+v", status, by, r)
	}
}

func TestVerifyingPortalsThatAnswerBadly(t *testing.T) {
	t.Parallel()
	p := &partner{name: "mo", timeout: "2s"}
	c := newCity(t, p)
	c.serve()
	s := c.session()
	c.say("tin-1", "Nội dung.")
	c.level(s)
	holdings := func(s string) *receiver.Fault { return receiver.Status(200, s) }
	for name, of := range map[string]struct {
		fault  *receiver.Fault
		status int
		says   string
	}{
		"does not know manifests":    {receiver.Status(204, ""), 3, "does not compare"},
		"says ok to everything":      {receiver.Status(200, "OK"), 3, "does not compare"},
		"refuses what it knows not":  {receiver.Status(422, "unknown type"), 3, "does not compare: portal \"mo\" answered 422"},
		"fails":                      {receiver.Status(500, "lỗi"), 1, "answered 500"},
		"wants another secret":       {receiver.Status(401, ""), 1, "answered 401"},
		"answers without end":        {receiver.Endless(200), 1, "expected at most 1048576"},
		"drips":                      {receiver.Drip(200, 20_000_000), 1, "does not end"},
		"hangs":                      {receiver.Hang(), 1, "no answer within 2s"},
		"is cut off":                 {holdings(`{"type":"loa.holdings","holds":[{"guid":`), 1, "parse holdings"},
		"names one twice":            {holdings(`{"type":"loa.holdings","holds":[{"guid":"a","version":1,"status":"live"},{"guid":"a","version":1,"status":"live"}]}`), 1, "named twice"},
		"has no such status":         {holdings(`{"type":"loa.holdings","holds":[{"guid":"a","version":1,"status":"gone"}]}`), 1, `status "gone"`},
		"promises more":              {holdings(`{"type":"loa.holdings","holds":[],"up_to":"a"}`), 1, "up_to"},
		"misses without comparing":   {holdings(`{"type":"loa.holdings","holds":[],"missing":["a"]}`), 1, "only beside compared"},
		"compares, and holds it all": {holdings(`{"type":"loa.holdings","holds":[],"compared":true}`), 0, "holds 1 of 1"},
		"compares, and lacks one": {holdings(fmt.Sprintf(`{"type":"loa.holdings","holds":[],"compared":true,"missing":[%q]}`, article.NewGUID(sample.CauGo, "tin-1"))),
			1, "1 missing"},
	} {
		p.fault.Store(of.fault)
		status, out, faults := c.command("portals", "verify", "--data", c.data, "mo")
		if status != of.status || !strings.Contains(out+faults, of.says) {
			t.Errorf("%s: status %d, expected %d and %q:\n%s%s", name, status, of.status, of.says, out, faults)
		}
	}
	p.fault.Store(nil)
	c.runLines(
		line{"portals verify --data {data} mo", 0, []string{"mo holds 1 of 1 articles as it is to"}},
		line{"portals verify --data {data} khong-co", 1, []string{"khong-co", "loa portals ls"}},
	)
	p.close()
	c.runLines(line{"portals verify --data {data} mo", 1, []string{"connection refused"}})
}

func TestRepairsWaitForPausedPortalsAndDigests(t *testing.T) {
	t.Parallel()
	paused, later := &partner{name: "dung"}, &partner{name: "sau", digest: "*/2 * * * * *"}
	c := newCity(t, paused, later)
	c.serve()
	s := c.session()
	c.say("tin-1", "Nội dung.")
	c.say("tin-2", "Nội dung.")
	c.level(s)
	for _, p := range []*partner{paused, later} {
		p.receiver.Edit(article.NewGUID(sample.CauGo, "tin-1"), nil)
	}
	had := len(later.history())
	c.runLines(
		line{"portals pause --data {data} dung --why bảo-trì", 0, nil},
		line{"portals verify --data {data} dung --repair", 0, []string{"1 missing", "Sent again when the portal is resumed", "bảo-trì): 1."}},
		line{"portals verify --data {data} dung", 0, []string{"holds 1 of 2", "just being sent: 1"}},
	)
	if h, ok := paused.receiver.Get(article.NewGUID(sample.CauGo, "tin-1")); ok {
		t.Errorf("a paused portal was sent %+v", h)
	}
	c.runLines(line{"portals resume --data {data} dung", 0, nil})
	waitFor(t, "the resumed portal to hold all", func() bool { status, _, r := c.verify("dung"); return status == 0 && r.Level == 2 })

	c.runLines(line{"portals verify --data {data} sau --repair", 0, []string{"1 missing", "Sent again with its digest at"}})
	waitFor(t, "the digest to mend it", func() bool { status, _, r := c.verify("sau"); return status == 0 && r.Level == 2 })
	for _, d := range later.history()[had:] {
		if !d.among {
			t.Errorf("%s came beside the digest", d.guid)
		}
	}
}
