package bulletins_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// shortChecks is how many stories are tried when -rapid.checks does not say how many.
const shortChecks = 8

// modelPortal is a portal, and what the model knows of it.
type modelPortal struct {
	*receiver.Receiver
	name   string
	filter []string // categories; none: all
	ever   []string // every category that it ever chose; all if it ever had no filter
	all    bool
	well   atomic.Bool
	paused bool
	got    posts
}

func (p *modelPortal) choose(categories []string) {
	p.filter = categories
	p.all = p.all || len(categories) == 0
	p.ever = append(p.ever, categories...)
}

func (p *modelPortal) wants(category string) bool {
	return len(p.filter) == 0 || slices.Contains(p.filter, category)
}

// modelArticle is an article as the CMS knows it.
type modelArticle struct {
	id         string
	version    int64
	live       bool
	category   string
	categories []string        // that it ever had
	wanted     map[string]bool // the portals that have wanted its newest version ever since it was published
}

// TestPortalsHoldWhatTheModelSays tells random stories of edits, corrections, withdrawals, changed
// filters, outages, pauses and restarts. Whatever happened, in the end each portal holds of each
// article the newest version or nothing, and nothing only where that is right. With -rapid.checks=N
// it tells N stories, and the worker is a process of its own, ended by SIGKILL.
func TestPortalsHoldWhatTheModelSays(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	var js jetstream.JetStream
	start := func(s *stack) func() { s.run(t, 0, quick); return s.stop }
	if given {
		var srv *embedded.NATS
		srv, js = loatest.ServedNATS(t)
		start = func(*stack) func() { return startWorker(t, srv) }
	} else {
		js = loatest.NATS(t)
		if err := flag.Set("rapid.checks", fmt.Sprint(shortChecks)); err != nil {
			t.Fatal(err)
		}
	}
	s := stopped(t, js)
	end := start(s)
	story := 0
	rapid.Check(t, func(rt *rapid.T) {
		story++
		interrupted := false
		var portals []*modelPortal
		for i, name := range loatest.Together("portal", fmt.Sprintf("c%d-p", story), 3) {
			p := &modelPortal{name: name}
			p.well.Store(true)
			p.choose([][]string{nil, {"y-te"}, {"van-hoa", "the-thao"}}[i])
			p.Receiver = s.receive(t, portal.Portal{Name: p.name, Filter: portal.Filter{Categories: p.filter}},
				receiver.Options{Answer: p.got.then(while(&p.well, receiver.Status(503, "")))})
			portals = append(portals, p)
		}
		var articles []*modelArticle
		for i := range 4 {
			articles = append(articles, &modelArticle{id: fmt.Sprintf("c%d-a%d", story, i), wanted: map[string]bool{}})
		}
		anArticle, aPortal := rapid.SampledFrom(articles), rapid.SampledFrom(portals)
		aCategory := rapid.SampledFrom([]string{"y-te", "van-hoa", "the-thao", "kinh-te"})
		say := func(a *modelArticle, how func(*article.Article)) {
			a.version++
			v := text(a.id, a.version)
			if !a.live {
				v = withdrawal(a.id, a.version)
			}
			if !slices.Contains(a.categories, a.category) {
				a.categories = append(a.categories, a.category)
				slices.Sort(a.categories)
			}
			v.Categories = []events.Category{{ID: a.category, Label: a.category}}
			v.Ever = article.Selections{Categories: slices.Clone(a.categories), Languages: []string{"vi"}, Urgency: 5}
			how(v)
			s.publish(t, v)
			a.wanted = map[string]bool{}
			for _, p := range portals {
				a.wanted[p.name] = a.live && p.wants(a.category)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"edit": func(rt *rapid.T) {
				a := anArticle.Draw(rt, "article")
				a.live, a.category = true, aCategory.Draw(rt, "category")
				say(a, func(*article.Article) {})
			},
			"correct": func(rt *rapid.T) {
				a := anArticle.Draw(rt, "article")
				if !a.live {
					rt.Skip("there is nothing to correct")
				}
				say(a, func(v *article.Article) { v.Correction = "Bản trước ghi sai giờ." })
			},
			"withdraw": func(rt *rapid.T) {
				a := anArticle.Draw(rt, "article")
				if !a.live {
					rt.Skip("there is nothing to withdraw")
				}
				a.live = false
				say(a, func(*article.Article) {})
			},
			"outage": func(rt *rapid.T) {
				p := aPortal.Draw(rt, "portal")
				p.well.Store(!p.well.Load())
			},
			"pause": func(rt *rapid.T) {
				p := aPortal.Draw(rt, "portal")
				if p.paused = !p.paused; p.paused {
					s.pause(t, p.name)
				} else {
					s.resume(t, p.name)
				}
			},
			"choose": func(rt *rapid.T) {
				p := aPortal.Draw(rt, "portal")
				p.choose(rapid.SliceOfNDistinct(aCategory, 0, 2, rapid.ID[string]).Draw(rt, "categories"))
				s.change(t, p.name, func(stored *portal.Portal) { stored.Filter.Categories = p.filter })
				// What waits for it may be looked at just now, and is then not sent, though it choose
				// the category again.
				for _, a := range articles {
					a.wanted[p.name] = a.wanted[p.name] && p.wants(a.category)
				}
			},
			"restart": func(*rapid.T) {
				end()
				end = start(s)
				interrupted = true
			},
			"catch up": func(rt *rapid.T) {
				if slices.ContainsFunc(portals, func(p *modelPortal) bool { return p.paused || !p.well.Load() }) {
					rt.Skip("somebody cannot")
				}
				s.level(t)
			},
		})
		for _, p := range portals {
			p.well.Store(true)
			if p.paused {
				s.resume(t, p.name)
			}
		}
		s.level(t)
		for _, p := range portals {
			for _, a := range articles {
				p.agrees(rt, a, interrupted)
			}
			if n := p.Counts().Regressions; n > 0 {
				rt.Errorf("portal %s was sent %d bulletins older than what it held", p.name, n)
			}
			if err := s.portals.Delete(t.Context(), p.name, "test"); err != nil {
				rt.Fatal(err)
			}
		}
		if letters := s.dead(t); len(letters) > 0 {
			rt.Fatalf("dead letters %+v", letters)
		}
	})
}

// agrees checks what the portal has been sent of an article, and holds of it in the end. A worker
// that was interrupted between the intent to send and the sending does not know that nothing
// arrived: a withdrawal is sent to be sure.
func (p *modelPortal) agrees(rt *rapid.T, a *modelArticle, interrupted bool) {
	var sent []events.BulletinArticle
	bodies := map[string]string{}
	for _, post := range p.got.list() {
		var b events.Bulletin
		if err := json.Unmarshal(post.body, &b); err != nil {
			rt.Fatal(err)
		}
		if b.Data.GUID != guid(a.id) {
			continue
		}
		sent = append(sent, b.Data)
		id := post.header.Get(events.HeaderID)
		if had, ok := bodies[id]; ok && had != string(post.body) {
			rt.Errorf("portal %s got two different bulletins with the id %s", p.name, id)
		}
		bodies[id] = string(post.body)
	}
	held, holds := p.Get(guid(a.id))
	switch may := p.all || slices.ContainsFunc(a.categories, func(c string) bool { return slices.Contains(p.ever, c) }); {
	case len(sent) == 0 && a.wanted[p.name]:
		rt.Errorf("portal %s was never sent %s", p.name, a.id)
	case len(sent) > 0 && !may:
		rt.Errorf("portal %s was sent %s, which it never wanted", p.name, a.id)
	case len(sent) > 0 && sent[0].Status == events.StatusWithdrawn && !interrupted:
		rt.Errorf("portal %s was sent the withdrawal of %s, and nothing before", p.name, a.id)
	case len(sent) > 0 && !holds:
		rt.Errorf("portal %s was sent %s, and holds nothing of it", p.name, a.id)
	case holds && (held.Bulletin.Data.Version != a.version || (held.Bulletin.Data.Status == events.StatusLive) != a.live):
		rt.Errorf("portal %s holds %s in version %d, %s; want version %d, live: %v", p.name, a.id,
			held.Bulletin.Data.Version, held.Bulletin.Data.Status, a.version, a.live)
	}
	for i := 1; i < len(sent); i++ {
		if sent[i].Version < sent[i-1].Version {
			rt.Errorf("portal %s was sent version %d of %s after %d", p.name, sent[i].Version, a.id, sent[i-1].Version)
		}
	}
}
