package portal_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestTheNewestReceiptIsKeptForEver(t *testing.T) {
	t.Parallel()
	ctx, js := t.Context(), loatest.NATS(t)
	rs, reg := receipts(t, js), open(t, js)
	t.Cleanup(rs.Close)
	j := portal.NewJanitor(js, rs, reg, zerolog.Nop())
	for _, name := range []string{"east", "west", "back"} {
		if _, err := reg.Put(ctx, portal.Portal{Name: name, URL: "https://" + name + ".example/loa"}, "Lan"); err != nil {
			t.Fatal(err)
		}
	}
	const articles, attempts = 40, 3
	put := func(name string, key streams.Key) {
		t.Helper()
		r, _, err := rs.Latest(ctx, name, key)
		if err != nil {
			t.Fatal(err)
		}
		r.Holds.Number++
		if _, err := rs.Put(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	keys := make([]streams.Key, articles)
	for i := range keys {
		keys[i] = streams.KeyOf("ward", string(rune('a'+i%26))+string(rune('a'+i/26)))
		for range attempts {
			put("east", keys[i])
		}
	}
	for _, name := range []string{"west", "back"} {
		put(name, keys[0])
	}
	for _, name := range []string{"west", "back"} {
		if err := reg.Delete(ctx, name, "Lan"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := reg.Put(ctx, portal.Portal{Name: "back", URL: "https://back.example/loa"}, "Lan"); err != nil {
		t.Fatal(err)
	}
	sweep := func(want portal.Swept) {
		t.Helper()
		if got, err := j.Sweep(ctx); err != nil || got != want {
			t.Errorf("swept %+v, %v, expected %+v", got, err, want)
		}
	}
	held := func(name string, key streams.Key) article.Version {
		t.Helper()
		r, _, err := rs.Latest(ctx, name, key)
		if err != nil {
			t.Fatal(err)
		}
		return r.Holds
	}

	sweep(portal.Swept{}) // all are recent
	j.RemovedFor = time.Nanosecond
	sweep(portal.Swept{Portals: 1})
	if held("west", keys[0]) != (article.Version{}) || held("back", keys[0]).Number != 1 {
		t.Error("not the receipts of the portal that was removed went, and no others")
	}
	j.AttemptsFor = time.Nanosecond
	sweep(portal.Swept{Attempts: articles * (attempts - 1)})
	sweep(portal.Swept{})
	for _, key := range keys {
		if v := held("east", key); v.Number != attempts {
			t.Errorf("%s: version %s is left", key, v)
		}
		put("east", key)
	}
	sweep(portal.Swept{Attempts: articles})
	s, err := js.Stream(ctx, streams.Receipts)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != articles+1 {
		t.Errorf("%d receipts are left", n)
	}
}

func TestSeveralProcessesMaySweep(t *testing.T) {
	t.Parallel()
	ctx, js := t.Context(), loatest.NATS(t)
	rs, reg := receipts(t, js), open(t, js)
	t.Cleanup(rs.Close)
	const attempts = 3
	for i := range 60 {
		r := portal.Receipt{Portal: "east", Key: streams.KeyOf("ward", string(rune('a'+i%26))+string(rune('a'+i/26)))}
		for range attempts {
			r.Holds.Number++
			var err error
			if r, err = rs.Put(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	faults := make(chan error, 3)
	for range cap(faults) {
		go func() {
			j := portal.NewJanitor(js, rs, reg, zerolog.Nop())
			j.AttemptsFor = time.Nanosecond
			_, err := j.Sweep(ctx)
			faults <- err
		}()
	}
	for range cap(faults) {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
}
