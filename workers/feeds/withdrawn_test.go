package feeds

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// tombstone is what a reader finds of one.
type tombstone struct {
	Ref     string    `xml:"ref,attr"`
	When    time.Time `xml:"when,attr"`
	Comment string    `xml:"http://purl.org/atompub/tombstones/1.0 comment"`
}

// tombstonesOf reads those of Atom, having made sure that JSON Feed has the same.
func (w *world) tombstonesOf(feed string) []tombstone {
	w.t.Helper()
	var atom struct {
		Gone []tombstone `xml:"http://purl.org/atompub/tombstones/1.0 deleted-entry"`
	}
	var feedJSON struct {
		Loa struct {
			Withdrawn []withdrawal `json:"withdrawn"`
		} `json:"_loa"`
	}
	if err := xml.Unmarshal(w.object(feed, formatAtom).Body, &atom); err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(w.object(feed, formatJSON).Body, &feedJSON); err != nil {
		w.t.Fatal(err)
	}
	if len(atom.Gone) != len(feedJSON.Loa.Withdrawn) {
		w.t.Errorf("%d tombstones in Atom, %d in JSON", len(atom.Gone), len(feedJSON.Loa.Withdrawn))
	}
	for i, g := range feedJSON.Loa.Withdrawn {
		if a := atom.Gone[i]; a.Ref != g.ID || a.Comment != g.Why {
			w.t.Errorf("tombstone %+v in Atom is %+v in JSON", a, g)
		}
	}
	return atom.Gone
}

func TestWithdrawnArticleLeavesAStubAndATombstone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 4)
	all[2].Language = "en"
	w.level(ward, all...)
	before := parse(t, w.object(ward, formatAtom).Body)
	one := withdrawn(all[1])
	one.Withdrawal.RedirectURL = "https://caugo.example/moi"
	w.level(ward, one)
	w.mustShow(ward, all[3], all[2], one, all[0])

	tombs := w.tombstonesOf(ward)
	if len(tombs) != 1 || tombs[0].Ref != one.GUID || tombs[0].Comment != "Đăng nhầm <bản nháp>." {
		t.Fatalf("tombstones %+v", tombs)
	}
	for i, format := range formats {
		doc := w.object(ward, i).Body
		stub := parse(t, doc).Items[2]
		told := one.Withdrawal.WithdrawnAt.In(zone).Format("Bài viết này đã được gỡ bỏ lúc 15:04 ngày 02/01/2006. Lý do: ")
		if stub.GUID != one.GUID || stub.Link != one.URL || !strings.Contains(stub.Content, told+"Đăng nhầm &lt;bản nháp&gt;.") ||
			!strings.Contains(stub.Content, "https://caugo.example/moi") || stub.Image != nil {
			t.Errorf("%s: stub %+v", format.name, stub)
		}
		if !stub.UpdatedParsed.After(*before.Items[2].UpdatedParsed) || !stub.UpdatedParsed.Before(tombs[0].When) {
			t.Errorf("%s: the stub is of %v, its tombstone of %v, the article was of %v", format.name, stub.UpdatedParsed, tombs[0].When, before.Items[2].UpdatedParsed)
		}
		if body := before.Items[2].Content; bytes.Contains(doc, []byte(body[len(body)/2:len(body)/2+60])) {
			t.Errorf("%s still has the body", format.name)
		}
	}

	t.Run("in another language", func(t *testing.T) {
		w.level(ward, withdrawn(all[2]))
		stub := parse(t, w.object(ward, formatRSS).Body).Items[1]
		if stub.Title != "Withdrawn: "+all[2].Title || !strings.Contains(stub.Content, "This article was withdrawn on") {
			t.Errorf("stub %q: %s", stub.Title, stub.Content)
		}
	})
	t.Run("the same in another process", func(t *testing.T) {
		was := w.object(ward, formatAtom)
		for i := range formats {
			if err := w.objects.Delete(t.Context(), Feed{ID: ward}.object(formats[i].name)); err != nil {
				t.Fatal(err)
			}
		}
		w.Feeds = w.another(w.catalog)
		if err := w.Reconcile(t.Context(), ward, []reconcile.Flag{{Key: dueKey}}); err != nil {
			t.Fatal(err)
		}
		if is := w.object(ward, formatAtom); !bytes.Equal(was.Body, is.Body) {
			t.Errorf("rendered again:\n%s\nwas\n%s", is.Body, was.Body)
		}
	})
	t.Run("published again", func(t *testing.T) {
		again := *one
		again.Number++
		again.Status, again.Withdrawal, again.Body = events.StatusLive, nil, all[1].Body
		w.level(ward, &again)
		if got := w.tombstonesOf(ward); len(got) != 1 || got[0].Ref != all[2].GUID {
			t.Errorf("tombstones %+v", got)
		}
		if got := w.shows(ward); got[2] != all[1].Title {
			t.Errorf("shows %q", got)
		}
	})
	t.Run("all of them", func(t *testing.T) {
		w.level(ward, withdrawn(all[0]), withdrawn(all[3]))
		if got := w.tombstonesOf(ward); len(got) != 3 {
			t.Errorf("tombstones %+v", got)
		}
	})
	t.Run("before it was shown", func(t *testing.T) {
		a := many(t, ward, 5)[4]
		flags := w.put(a)
		w.level(ward, append([]*article.Article{}, withdrawn(a))...)
		if err := w.Reconcile(t.Context(), ward, flags); err != nil {
			t.Fatal(err)
		}
		for i, format := range formats {
			if bytes.Contains(w.object(ward, i).Body, []byte(a.GUID)) {
				t.Errorf("%s tells of an article that it never showed", format.name)
			}
		}
	})
}

// Readers of a feed keep what has left it.
func TestWithdrawalIsToldWhereTheArticleHadBeenBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	all := many(t, ward, 3)
	category := func(a *article.Article, id string) {
		a.Categories = []events.Category{{ID: id, Label: id}}
		a.Ever.Categories = append(a.Ever.Categories, id)
	}
	for _, a := range all {
		category(a, "nham")
	}
	feed := categoryFeed(ward, "nham")
	moved := changed(all[0], "Chuyển mục")
	category(moved, "dung")
	w.level(feed, all[0], all[1])
	w.level(feed, moved)
	w.mustShow(feed, all[1])
	gone := withdrawn(moved)
	w.put(gone)
	flags := w.behind(feed) // a comparison knows of it, too
	if len(flags) != 1 {
		t.Errorf("behind are %v", flags)
	}
	if err := w.Reconcile(t.Context(), feed, flags); err != nil {
		t.Fatal(err)
	}
	w.level(feed, withdrawn(all[2])) // which it never showed
	w.mustShow(feed, all[1], gone)
	if got := w.tombstonesOf(feed); len(got) != 1 || got[0].Ref != gone.GUID {
		t.Errorf("tombstones %+v", got)
	}
}

func TestArticleWithdrawnBeforeItWasShownMakesNoFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{})
	w.level(ward, withdrawn(many(t, ward, 1)[0]))
	if _, err := w.objects.Stat(t.Context(), "feeds/"+ward+"/feed.rss"); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("feed of nothing: %v", err)
	}
}

// The scheduler says when a stub and a tombstone are over, whoever is there then.
func TestStubsAndTombstonesGoWhenTheirTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{StubFor: 1500 * time.Millisecond, WithdrawnFor: 3 * time.Second})
	all := many(t, ward, 2)
	w.level(ward, all...)
	w.level(ward, withdrawn(all[0]))
	w.mustShow(ward, all[1], withdrawn(all[0]))

	stream, err := w.js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	go w.Times(t.Context())
	next := func(what string, until func() bool) {
		t.Helper()
		loatest.Eventually(t, what, func() bool {
			if _, err := stream.GetLastMsgForSubject(t.Context(), streams.StoredFlag(streams.Normal, FlagKind, ward, dueKey)); err != nil {
				return false
			}
			if err := w.another(w.catalog).Reconcile(t.Context(), ward, []reconcile.Flag{{Key: dueKey}}); err != nil {
				t.Fatal(err)
			}
			return until()
		})
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	next("the stub is gone", func() bool { return len(w.shows(ward)) == 1 })
	if got := w.tombstonesOf(ward); len(got) != 1 {
		t.Errorf("tombstones %+v", got)
	}
	next("the tombstone is gone", func() bool { return len(w.tombstonesOf(ward)) == 0 })
	w.mustShow(ward, all[1])
	h, err := w.readIndex(t.Context(), ward)
	if err != nil || len(h.Gone) != 0 || !h.Due.IsZero() {
		t.Errorf("the index still has %+v, due %v, error %v", h.Gone, h.Due, err)
	}
}
