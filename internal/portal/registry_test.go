package portal_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/streams"
)

func open(t testing.TB, js jetstream.JetStream) *portal.Registry {
	t.Helper()
	r, err := portal.Open(t.Context(), js, sites(t), nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func bucket(t testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), streams.PortalsBucket)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t testing.TB, r *portal.Registry, p portal.Portal) portal.Portal {
	t.Helper()
	if p.URL == "" {
		p.URL = "https://portal.example/loa"
	}
	p, err := r.Put(t.Context(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPutFillsInDefaultsAndMakesASecret(t *testing.T) {
	t.Parallel()
	r := open(t, loatest.NATS(t))
	p := put(t, r, portal.Portal{Name: "east", Filter: portal.Filter{Tags: []string{"le\u0302"}}})
	if p.InFlight != 4 || p.Timeout != 15*time.Second || p.Created.IsZero() || p.Changed.By != "test" || p.Filter.Tags[0] != "lê" {
		t.Errorf("got %+v", p)
	}
	if _, err := events.NewVerifier(p.Secrets[0].Reveal()); err != nil {
		t.Error(err)
	}
	if got, ok := r.Get("east"); !ok || got.Revision != p.Revision {
		t.Errorf("got %+v, %v", got, ok)
	}
}

func TestPutRefusesWhatAnotherChanged(t *testing.T) {
	t.Parallel()
	r := open(t, loatest.NATS(t))
	old := put(t, r, portal.Portal{Name: "east"})
	put(t, r, old)
	if _, err := r.Put(t.Context(), old, "test"); !errors.Is(err, portal.ErrConflict) {
		t.Errorf("over an old revision: %v", err)
	}
	old.Revision = 0
	if _, err := r.Put(t.Context(), old, "test"); !errors.Is(err, portal.ErrConflict) {
		t.Errorf("as a new one: %v", err)
	}
}

func TestChangesReachOtherProcesses(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	here, there := open(t, js), open(t, js)
	var mu sync.Mutex
	var told []string
	there.OnChange(func(name string) { mu.Lock(); told = append(told, name); mu.Unlock() })

	want := put(t, here, portal.Portal{
		Name: "east", Title: "Quận Đông", Secrets: []portal.Secret{portal.Secret(events.NewSecret()), portal.Secret(events.NewSecret())},
		Headers: map[string]portal.Secret{"X-Key": "khoa"}, Rate: 2.5,
	})
	loatest.Eventually(t, "the portal is there", func() bool { _, ok := there.Get("east"); return ok })
	got, _ := there.Get("east")
	if !slices.Equal(got.Secrets, want.Secrets) || got.Headers["X-Key"] != "khoa" || got.Interval() != 400*time.Millisecond || got.Title != want.Title {
		t.Errorf("got %+v", got)
	}
	if err := here.Pause(t.Context(), "east", "Lan", "bảo trì"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "it is paused", func() bool { p, _ := there.Get("east"); return p.Paused != nil && p.Paused.Why == "bảo trì" })
	if err := here.Resume(t.Context(), "east", "Lan"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "it is resumed", func() bool { p, _ := there.Get("east"); return p.Paused == nil })
	if err := there.Delete(t.Context(), "east", "test"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "it is gone", func() bool { return !here.Known("east") && !there.Known("east") })
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 4 {
		t.Errorf("told of %q, expected four changes", told)
	}
	if err := here.Pause(t.Context(), "east", "Lan", "bảo trì"); !errors.Is(err, portal.ErrNotFound) {
		t.Errorf("pause of a portal that is gone: %v", err)
	}
}

func TestMalformedEntryIsKeptApartUntilItIsRepaired(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	kv := bucket(t, js)
	for key, value := range map[string]string{"config.east": "{", "config.west": `{"name":"other"}`, "state.east": "?", "config.a.b": "1", "other": "x"} {
		if _, err := kv.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, js)
	if len(r.All()) != 0 || len(r.Malformed()) != 3 || !r.Known("east") {
		t.Errorf("portals %v, malformed %v", r.All(), r.Malformed())
	}
	// What is due to it must not be lost.
	names, err := r.Concerned(t.Context(), entry("ward", "1", article.Version{Number: 1}))
	if err != nil || !slices.Equal(names, []string{"east", "west"}) {
		t.Errorf("concerned: %q, %v", names, err)
	}
	if err := r.Apply(t.Context(), []portal.Portal{{Name: "east", URL: "https://portal.example/"}}, "config"); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Get("east"); !ok {
		t.Error("not repaired")
	}
}

func TestApplyKeepsWhatRunningMade(t *testing.T) {
	t.Parallel()
	r := open(t, loatest.NATS(t))
	east := portal.Portal{Name: "east", URL: "https://east.example/loa"}
	other := put(t, r, portal.Portal{Name: "other"})
	apply := func(ps ...portal.Portal) {
		t.Helper()
		if err := r.Apply(t.Context(), ps, "config"); err != nil {
			t.Fatal(err)
		}
	}
	apply(east)
	first, _ := r.Get("east")
	apply(east)
	if again, _ := r.Get("east"); again.Revision != first.Revision {
		t.Error("written again though nothing changed")
	}
	if err := r.Pause(t.Context(), "east", "Lan", "bảo trì"); err != nil {
		t.Fatal(err)
	}
	east.Rate = 5
	apply(east)
	p, _ := r.Get("east")
	if p.Paused == nil || p.Rate != 5 || !slices.Equal(p.Secrets, first.Secrets) || !p.Created.Equal(first.Created) {
		t.Errorf("got %+v", p)
	}
	east.Secrets = []portal.Secret{portal.Secret(events.NewSecret())}
	apply(east)
	if p, _ := r.Get("east"); !slices.Equal(p.Secrets, east.Secrets) {
		t.Error("secrets of the file not taken")
	}
	if p, _ := r.Get("other"); p.Revision != other.Revision {
		t.Error("a portal that the file does not list was changed")
	}
}

func TestApplyChangesNothingWhenAnyPortalIsInvalid(t *testing.T) {
	t.Parallel()
	r := open(t, loatest.NATS(t))
	good := portal.Portal{Name: "east", URL: "https://east.example/loa"}
	err := r.Apply(t.Context(), []portal.Portal{good, good, {Name: "west", URL: "nowhere"}}, "config")
	var invalid *portal.InvalidError
	if !errors.As(err, &invalid) || len(r.All()) != 0 {
		t.Errorf("got %v, %v", err, r.All())
	}
}

func TestConcernedAreThoseThatMatchMatchedOrHold(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	r := open(t, js)
	rs := receipts(t, js)
	put(t, r, portal.Portal{Name: "all"})
	put(t, r, portal.Portal{Name: "now", Filter: portal.Filter{Tags: []string{"nay"}}})
	put(t, r, portal.Portal{Name: "ever", Filter: portal.Filter{Tags: []string{"xưa"}}})
	put(t, r, portal.Portal{Name: "holder", Filter: portal.Filter{Tags: []string{"khác"}}})
	put(t, r, portal.Portal{Name: "never", Filter: portal.Filter{Tags: []string{"khác"}}})
	e := entry("ward", "1", article.Version{Number: 2})
	e.Tags, e.Ever.Tags = []string{"nay"}, []string{"xưa"}
	if _, err := rs.Put(t.Context(), portal.Receipt{Portal: "holder", Key: e.Key, MayHold: article.Version{Number: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := rs.Put(t.Context(), portal.Receipt{Portal: "never", Key: streams.KeyOf("ward", "2"), MayHold: article.Version{Number: 1}}); err != nil {
		t.Fatal(err)
	}
	names, err := r.Concerned(t.Context(), e)
	if want := []string{"all", "ever", "holder", "now"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v; expected %q", names, err, want)
	}
	e.Version = article.Version{Number: 1} // which nobody can have had otherwise
	names, err = r.Concerned(t.Context(), e)
	if want := []string{"all", "now"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("the first version: got %q, %v; expected %q", names, err, want)
	}
}

func TestStatesAreStoredTheNewestLast(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	here, there := open(t, js), open(t, js)
	for i := range 1000 {
		here.SetState("east", portal.State{Down: true, Failures: i + 1})
	}
	loatest.Eventually(t, "the newest state is there", func() bool { return there.States()["east"].Failures == 1000 })
	here.SetState("east", portal.State{})
	here.Close()
	if e, err := bucket(t, js).Get(t.Context(), "state.east"); err != nil || string(e.Value()) == "" || e.Revision() > 500 {
		t.Errorf("got %v, %v: every state was written", e, err)
	}
	loatest.Eventually(t, "the last state is written at the end", func() bool { s, ok := there.States()["east"]; return ok && !s.Down })
}

func TestSetStateDoesNotWaitForNATS(t *testing.T) {
	t.Parallel()
	srv, js := loatest.NATSAt(t, t.TempDir())
	r := open(t, js)
	srv.Shutdown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			r.SetState("east", portal.State{Down: true})
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("it waits")
	}
}

func entry(site, id string, v article.Version) streams.Entry {
	return streams.Entry{Key: streams.KeyOf(site, id), Article: &article.Article{
		GUID: article.NewGUID(site, id), Site: site, ID: id, Version: v, Status: events.StatusLive, Urgency: 5,
	}}
}

func TestPauseInAConfigurationFileIsAPause(t *testing.T) {
	t.Parallel()
	r := open(t, loatest.NATS(t))
	p := portal.Portal{Name: "east", URL: "https://east.example/loa"}
	for _, paused := range []*portal.Pause{nil, {By: "config", Why: "chưa sẵn sàng"}} {
		p.Paused = paused
		if err := r.Apply(t.Context(), []portal.Portal{p}, "config"); err != nil {
			t.Fatal(err)
		}
		if got, _ := r.Get("east"); (got.Paused != nil) != (paused != nil) {
			t.Errorf("paused %+v, expected %+v", got.Paused, paused)
		}
	}
}
