package bulletins_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

func TestEachPortalIsToldInTheFormatItChose(t *testing.T) {
	t.Parallel()
	s := started(t)
	var mu sync.Mutex
	types := map[string][]string{}
	ids := map[string]bool{}
	portals := map[string]*receiver.Receiver{}
	for name, p := range map[string]portal.Portal{
		"summary": {}, "full": {Content: portal.ContentFull}, "ninjs": {Format: portal.FormatNinjs}, "atom": {Format: portal.FormatAtom},
	} {
		p.Name = name
		portals[name] = s.receive(t, p, receiver.Options{Answer: func(_ int, r *http.Request) *receiver.Fault {
			mu.Lock()
			defer mu.Unlock()
			types[name] = append(types[name], r.Header.Get("Content-Type"))
			ids[r.Header.Get(events.HeaderID)] = true
			return nil
		}})
	}
	large := text("2", 1)
	large.Body = "<p>" + strings.Repeat("Phường Cầu Gỗ. ", events.MaxBulletinBytes/16) + "</p>"
	s.publish(t, text("1", 1))
	s.publish(t, large)
	s.level(t)
	for name, r := range portals {
		small, _ := r.Get(guid("1"))
		if d := small.Bulletin.Data; d.Title != text("1", 1).Title || d.Version != 1 || (d.Body != "") != (name != "summary") {
			t.Errorf("%s holds %+v", name, d)
		}
		big, _ := r.Get(guid("2"))
		if d := big.Bulletin.Data; d.Title != large.Title || d.Body != "" || d.BodyOmitted != (name != "summary") {
			t.Errorf("%s holds %d bytes of a large article, omitted: %t", name, len(d.Body), d.BodyOmitted)
		}
	}
	s.publish(t, withdrawal("1", 2))
	s.level(t)
	for name, r := range portals {
		if h, _ := r.Get(guid("1")); h.Bulletin.Type != events.BulletinWithdrawn || h.Bulletin.Data.Version != 2 || h.Bulletin.Data.Withdrawal == nil {
			t.Errorf("%s holds %+v", name, h)
		}
		want := []string{events.JSONType, events.JSONType, events.JSONType}
		if name == "atom" {
			want = []string{events.AtomEntryType, events.AtomEntryType, events.AtomDeletedType}
		}
		mu.Lock()
		if got := strings.Join(types[name], " "); got != strings.Join(want, " ") {
			t.Errorf("%s was sent %s", name, got)
		}
		mu.Unlock()
	}
	if len(ids) != 3*len(portals) {
		t.Errorf("%d webhook-ids of %d bulletins", len(ids), 3*len(portals))
	}
}

func TestFormatMayChangeBetweenVersions(t *testing.T) {
	t.Parallel()
	s := started(t)
	ps := &posts{}
	r := s.receive(t, portal.Portal{Name: "east"}, receiver.Options{Answer: ps.then(nil)})
	s.publish(t, text("1", 1))
	s.level(t)
	s.change(t, "east", func(p *portal.Portal) { p.Format = portal.FormatAtom })
	e := s.publish(t, text("1", 2))
	s.level(t)
	s.flag(t, e, "east") // what it holds is not sent in another form
	s.level(t)
	if h, _ := r.Get(guid("1")); h.Bulletin.Data.Version != 2 || len(ps.list()) != 2 {
		t.Errorf("after %d posts holds %+v", len(ps.list()), h)
	}
}
