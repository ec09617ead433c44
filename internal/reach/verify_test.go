package reach_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/streams"
)

// mirror answers manifests with what it holds, a part of it at a time.
type mirror struct {
	held  map[string]events.ManifestEntry
	pages []events.ManifestPage
	most  int
	// before is called with each page before it is answered.
	before func(events.ManifestPage)
}

func (m *mirror) send(_ context.Context, msg events.Manifest) (events.Holdings, error) {
	m.pages = append(m.pages, msg.Data)
	if m.before != nil {
		m.before(msg.Data)
	}
	h := events.Holdings{Type: events.TypeHoldings}
	for guid, e := range m.held {
		if msg.Data.Includes(guid) {
			h.Holds = append(h.Holds, e)
		}
	}
	slices.SortFunc(h.Holds, func(a, b events.ManifestEntry) int { return cmp.Compare(a.GUID, b.GUID) })
	if len(h.Holds) > m.most {
		h.Holds = h.Holds[:m.most]
		h.UpTo = h.Holds[m.most-1].GUID
	}
	return h, nil
}

// route does as the router does that has raised its flags.
func (w *world) route() {
	w.t.Helper()
	c, err := streams.RouterConsumer(w.t.Context(), w.JS)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		msgs, err := c.FetchNoWait(1000)
		if err != nil {
			w.t.Fatal(err)
		}
		n := 0
		for m := range msgs.Messages() {
			if err := m.DoubleAck(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
			n++
		}
		if n == 0 {
			return
		}
	}
}

func (w *world) verify(name string, m *mirror, change func(*reach.VerifyOptions)) (reach.VerifyResult, map[string]reach.Difference) {
	w.t.Helper()
	p, _ := w.Portals.Get(name)
	by := map[string]reach.Difference{}
	o := reach.VerifyOptions{Portal: p, MediaBase: "https://loa.example/", Send: m.send,
		Each: func(d reach.Difference) error { by[d.ID] = d; return nil }}
	if change != nil {
		change(&o)
	}
	r, err := w.Verify(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, by
}

// Whatever the sizes of pages, answers and of what is kept in mind, each article is compared once.
func TestAManifestIsAboutEveryArticleOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.portal("mo", nil)
	const articles = 950
	m := &mirror{held: map[string]events.ManifestEntry{}, most: events.MaxHoldings}
	for i := range articles {
		e := w.article(fmt.Sprint("tin-", i), 1, events.StatusLive)
		w.holds("mo", e, 1, nil)
		m.held[e.GUID] = events.ManifestEntry{GUID: e.GUID, Site: e.Site, ID: e.ID, Version: 1, Status: events.StatusLive}
	}
	const extra = 700 // in one place
	for i := range extra {
		id := fmt.Sprint("la-", i)
		guid := fmt.Sprintf("urn:uuid:80%034d", i)
		m.held[guid] = events.ManifestEntry{GUID: guid, Site: "ward", ID: id, Version: 1, Status: events.StatusLive}
	}
	for _, atOnce := range []int{0, 50, 333} {
		m.pages = nil
		r, by := w.verify("mo", m, func(o *reach.VerifyOptions) { reach.SetAtOnce(o, atOnce) })
		if r.Compared != articles || r.Level != articles || len(by) != extra || r.Drifts[reach.Unknown] != extra || r.Pages != len(m.pages) {
			t.Errorf("%d at once: %+v, %d differences", atOnce, r, len(by))
		}
		last := ""
		for i, p := range m.pages {
			if p.Page != i+1 || p.After < last || len(p.Entries) > events.MaxManifestEntries || i == 0 && p.After != "" {
				t.Errorf("page %d: %d, after %q, up to %q, %d entries", i, p.Page, p.After, p.UpTo, len(p.Entries))
			}
			last = p.After
			if !slices.IsSortedFunc(p.Entries, func(a, b events.ManifestEntry) int { return cmp.Compare(a.GUID, b.GUID) }) {
				t.Errorf("page %d is not in order", i)
			}
		}
	}
}

func TestAPortalThatHoldsNothingIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.portal("mo", nil)
	m := &mirror{most: events.MaxHoldings, held: map[string]events.ManifestEntry{"x": {GUID: "x", Version: 1, Status: events.StatusLive}}}
	r, _ := w.verify("mo", m, nil)
	if len(m.pages) != 1 || m.pages[0].After != "" || m.pages[0].UpTo != "" || r.Drifts[reach.Unknown] != 1 {
		t.Errorf("%+v, %+v", m.pages, r)
	}
}

// What is on its way, set aside, or was never meant to be there is no drift.
func TestOnlyWhatWasAcknowledgedCanHaveBeenLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.portal("mo", func(p *portal.Portal) { p.Filter.Sites = []string{"ward"} })
	m := &mirror{most: events.MaxHoldings}
	w.article("cu", 1, events.StatusLive) // from before the portal was added
	waits, unflagged, gone := w.article("cho", 1, events.StatusLive), w.article("sot", 2, events.StatusLive), w.article("rut", 1, events.StatusWithdrawn)
	w.flag("mo", waits)
	w.holds("mo", unflagged, 1, nil)
	w.holds("mo", gone, 1, func(r *portal.Receipt) { r.Status = events.StatusWithdrawn })
	racing := w.article("dua", 1, events.StatusLive)
	w.holds("mo", racing, 1, nil)
	w.route()
	notYet := w.article("moi", 2, events.StatusLive) // not routed
	w.holds("mo", notYet, 1, nil)
	m.before = func(events.ManifestPage) { // it is delivered while the portal answers
		w.holds("mo", racing, 1, nil)
	}
	r, by := w.verify("mo", m, nil)
	if r.Waiting != 3 || r.Unsent != 1 || r.Level != 1 || len(by) != 1 || by["sot"].Drift != reach.Lost || r.Compared != 6 {
		t.Errorf("%+v, %+v", r, by)
	}
	// Of an article whose flag was lost, the repair raises it.
	m.before = nil
	if r, _ := w.verify("mo", m, func(o *reach.VerifyOptions) { o.Repair = true }); r.Again != 2 {
		t.Errorf("repaired: %+v", r)
	}
	got, _, err := w.Receipts.Latest(t.Context(), "mo", unflagged.Key)
	if err != nil || got.Holds != (article.Version{}) || got.MayHold != (article.Version{Number: 1}) || got.Again != 1 {
		t.Errorf("receipt %+v, %v", got, err)
	}
	if n := w.flags(); n != 3 {
		t.Errorf("%d flags", n)
	}
	if r, by := w.verify("mo", m, nil); r.Waiting != 4 || len(by) != 0 {
		t.Errorf("then: %+v, %+v", r, by)
	}
}

// BenchmarkVerify is for the time and memory of a manifest of many articles.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	w.portal("mo", nil)
	const articles = 5000
	m := &mirror{most: events.MaxHoldings, held: map[string]events.ManifestEntry{}}
	for i := range articles {
		e := w.article(fmt.Sprint("tin-", i), 1, events.StatusLive)
		w.holds("mo", e, 1, nil)
		m.held[e.GUID] = events.ManifestEntry{GUID: e.GUID, Site: e.Site, ID: e.ID, Version: 1, Status: events.StatusLive}
	}
	for b.Loop() {
		began := time.Now()
		r, _ := w.verify("mo", m, nil)
		if r.Level != articles {
			b.Fatalf("%+v", r)
		}
		b.ReportMetric(float64(articles)/time.Since(began).Seconds(), "articles/s")
	}
}

// What a portal holds beside the entries counts only if it should not be so.
func TestWhatIsHeldBesideTheEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.portal("mo", func(p *portal.Portal) { p.Filter.Categories = []string{"khac"} })
	live, gone := w.article("con", 1, events.StatusLive), w.article("rut", 2, events.StatusWithdrawn)
	w.route()
	state := func(guid, id string, version int64, status string) events.ManifestEntry {
		return events.ManifestEntry{GUID: guid, Site: "ward", ID: id, Version: version, Status: status}
	}
	for name, c := range map[string]struct {
		held events.ManifestEntry
		want reach.Drift // "": none
	}{
		"not selected, as it is":        {state(live.GUID, "con", 1, events.StatusLive), reach.Unnoted},
		"not selected, newer":           {state(live.GUID, "con", 2, events.StatusLive), reach.Newer},
		"withdrawn, and shown":          {state(gone.GUID, "rut", 1, events.StatusLive), reach.Shown},
		"withdrawn on both sides":       {state(gone.GUID, "rut", 2, events.StatusWithdrawn), ""},
		"withdrawn before":              {state(gone.GUID, "rut", 1, events.StatusWithdrawn), ""},
		"unknown":                       {state("urn:x", "x", 1, events.StatusLive), reach.Unknown},
		"unknown, and withdrawn":        {state("urn:x", "x", 1, events.StatusWithdrawn), ""},
		"unknown, under another's name": {state("urn:x", "con", 1, events.StatusLive), reach.Unknown},
		"of which it tells no name":     {events.ManifestEntry{GUID: live.GUID, Version: 1, Status: events.StatusLive}, reach.Unknown},
	} {
		m := &mirror{most: events.MaxHoldings, held: map[string]events.ManifestEntry{c.held.GUID: c.held}}
		r, by := w.verify("mo", m, nil)
		got := reach.Drift("")
		for _, d := range by {
			got = d.Drift
		}
		if got != c.want || len(by) > 1 || r.Compared != 0 || r.Level != 0 {
			t.Errorf("%s: %q, expected %q: %+v", name, got, c.want, r)
		}
	}
}
