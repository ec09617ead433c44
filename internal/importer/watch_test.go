package importer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/internal/importer"
)

func TestAWatchedFeedIsAskedWithConditions(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	file := filepath.Join(t.TempDir(), "x", "state.json")
	var content atomic.Value
	var conditional atomic.Int32
	serve := func(items ...string) { content.Store(rss(`<ttl>30</ttl><atom:link rel="next" href="/2"/>`, items...)) }
	p.handle("/f", func(w http.ResponseWriter, r *http.Request) {
		text := content.Load().(string)
		etag := fmt.Sprintf("%q", fmt.Sprint(len(text)))
		w.Header().Set("Etag", etag)
		if r.Header.Get("If-None-Match") == etag {
			conditional.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, text)
	})
	p.serve("/2", "application/rss+xml", rss("", entry(6, "Sáu"), entry(2, "Hai"), entry(1, "Một")))
	var out outcome
	var warnings []string
	poll := func(want string, all bool) {
		t.Helper()
		im := b.importer(p.URL+"/f", &out) // as after a restart: what is known comes from the file
		w := &importer.Watch{Feed: p.feed("/f"), Importer: im, Every: time.Minute, State: file, WithdrawMissing: true, OnWarning: func(s string) { warnings = append(warnings, s) }}
		unchanged, err := w.Poll(t.Context(), all)
		if err != nil || unchanged != (want == "not modified") || !unchanged && counts(im) != want {
			t.Fatalf("%s, %v; want %s", counts(im), err, want)
		}
		if pause := w.Pause(nil); pause < 30*time.Minute || pause > 34*time.Minute {
			if !unchanged {
				t.Errorf("next after %s, the feed asks for 30 m", pause)
			}
		}
	}
	serve(entry(9, "Chín"), entry(8, "Tám"), entry(7, "Bảy"), entry(6, "Sáu"))
	poll("6 imported", false)
	poll("not modified", false)
	if conditional.Load() != 1 {
		t.Errorf("%d conditional requests were answered 304", conditional.Load())
	}
	before := len(p.asked)
	serve(entry(10, "Mười"), entry(9, "Chín, sửa"), entry(8, "Tám"), entry(7, "Bảy"))
	poll("1 imported, 1 updated, 2 unchanged", false) // 6 went out of the window, and is no withdrawal
	if got := p.asked[before:]; len(got) != 1 {
		t.Errorf("older documents were followed though all is known: %v", got)
	}
	serve(entry(10, "Mười"), entry(9, "Chín, sửa"), entry(7, "Bảy"))
	poll("3 unchanged", false) // what is not there may have been on its way from one page to another
	poll("6 unchanged, 1 withdrawn", false)
	if w := b.last("tin-8").Withdrawal; w == nil {
		t.Error("what vanished between others was not withdrawn")
	}
	poll("not modified", false)
	serve(entry(10, "Mười"), entry(9, "Chín, sửa"), entry(8, "Tám"), entry(7, "Bảy"))
	poll("1 updated, 3 unchanged", false)
	// An old item that was held at the top goes.
	serve(entry(3, "Ba, ghim"), entry(10, "Mười"), entry(9, "Chín, sửa"), entry(8, "Tám"), entry(7, "Bảy"))
	poll("1 imported, 4 unchanged", false)
	serve(entry(10, "Mười"), entry(9, "Chín, sửa"), entry(8, "Tám"), entry(7, "Bảy"))
	poll("4 unchanged", false)
	poll("not modified", false)

	serve(entry(20, "Một mình")) // nothing of it is known, so that older documents are followed
	poll("1 imported, 3 unchanged", false)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "items vanished") {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestABrokenFeedWithdrawsNothing(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	var entries []string
	for n := 1; n <= 20; n++ {
		entries = append(entries, entry(n, fmt.Sprint("Tin ", n)))
	}
	var out outcome
	var warning string
	w := &importer.Watch{Feed: p.feed("/f"), Every: time.Minute, State: filepath.Join(t.TempDir(), "state.json"), WithdrawMissing: true, OnWarning: func(s string) { warning = s }}
	poll := func(want string, complete string, entries ...string) {
		t.Helper()
		p.serve("/f", "application/rss+xml", rss(complete, entries...))
		w.Importer = b.importer(p.URL, &out)
		if _, err := w.Poll(t.Context(), false); err != nil || counts(w.Importer) != want {
			t.Fatalf("%s, %v; want %s", counts(w.Importer), err, want)
		}
	}
	const complete = "<fh:complete/>"
	poll("20 imported", complete, entries...)
	poll("", complete)
	if !strings.Contains(warning, "20 of 20 items vanished") {
		t.Errorf("warning: %s", warning)
	}
	poll("18 unchanged", complete, entries[2:]...)
	poll("18 unchanged, 2 withdrawn", complete, entries[2:]...)
	w.WithdrawMissing = false
	poll("17 unchanged", complete, entries[3:]...)
}

func TestPausesBetweenPolls(t *testing.T) {
	t.Parallel()
	w := &importer.Watch{Feed: &importer.Feed{}, Every: 5 * time.Minute}
	near := func(got, want time.Duration) {
		t.Helper()
		if got < want || got > want+want/10+1 {
			t.Errorf("pause of %s, want %s and at most a tenth more", got, want)
		}
	}
	near(w.Pause(nil), 5*time.Minute)
	near(w.Pause(errors.New("x")), 10*time.Minute)
	near(w.Pause(errors.New("x")), 20*time.Minute)
	for range 100 {
		w.Pause(errors.New("x"))
	}
	near(w.Pause(errors.New("x")), 6*time.Hour)
	near(w.Pause(&importer.StatusError{Status: 429, RetryAfter: 8 * time.Hour}), 8*time.Hour)
	near(w.Pause(&importer.StatusError{Status: 429, RetryAfter: 800 * time.Hour}), 24*time.Hour)
	near(w.Pause(&importer.LoaError{Err: errors.New("NATS is away")}), 5*time.Minute)
	near(w.Pause(nil), 5*time.Minute)
	for value, want := range map[string]time.Duration{"max-age=600": 10 * time.Minute, "public, max-age=\"60\"": time.Minute, "no-cache, max-age=600": 0, "max-age=-1": 0, "": 0} {
		if got := importer.Freshness(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
	if got := importer.Freshness(http.Header{"Expires": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}); got < 59*time.Minute || got > time.Hour {
		t.Errorf("Expires: %s", got)
	}
}

func TestWatchingEndsWhenTheFeedIsGone(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	var polls atomic.Int32
	p.handle("/f", func(w http.ResponseWriter, _ *http.Request) {
		if polls.Add(1) > 2 {
			w.WriteHeader(http.StatusGone)
			return
		}
		fmt.Fprint(w, rss("", entry(1, "Một")))
	})
	var out outcome
	w := &importer.Watch{Feed: p.feed("/f"), Importer: b.importer(p.URL, &out), Every: time.Millisecond}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "gone for good") || counts(w.Importer) != "1 imported, 1 unchanged" {
		t.Errorf("%v, %s", err, counts(w.Importer))
	}

	ctx, cancel := context.WithCancel(t.Context())
	w = &importer.Watch{Feed: p.feed("/khong-co"), Importer: b.importer(p.URL, &out), Every: time.Hour, OnPoll: func(_ bool, _ time.Duration, err error) {
		if err == nil {
			t.Error("404 is no fault")
		}
		cancel()
	}}
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestWatchingEndsWhenLoaIsLost(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	p.serve("/f", "application/rss+xml", rss("", entry(1, "Một")))
	var out outcome
	w := &importer.Watch{Feed: p.feed("/f"), Importer: b.importer(p.URL, &out), Every: time.Hour}
	b.js.Conn().Close()
	if err := w.Run(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Error(err)
	}
}

func TestTheStateOfAnotherFeedIsNotTaken(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	file := filepath.Join(t.TempDir(), "state.json")
	var out outcome
	w := &importer.Watch{Feed: p.feed("/f"), Importer: b.importer(p.URL, &out), Every: time.Hour, State: file}
	for content, want := range map[string]string{`{"feed":"https://khac.example/","site":"phuong"}`: "--state", `{`: "is read anew"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Poll(t.Context(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
