package portal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/streams"
)

var version1 = article.Version{Number: 1}

// intend begins an attempt, as a worker does: over the receipt that there is.
func intend(t *testing.T, rs *portal.Receipts, name, id string) (portal.Receipt, *portal.Intent) {
	t.Helper()
	r, _, err := rs.Get(t.Context(), name, streams.KeyOf("ward", id))
	if err != nil {
		t.Fatal(err)
	}
	return intendOver(t, rs, r)
}

// intendOver is intend where r was read before.
func intendOver(t *testing.T, rs *portal.Receipts, r portal.Receipt) (portal.Receipt, *portal.Intent) {
	t.Helper()
	r.WebhookID = "msg_" + r.Portal
	r.Attempts++
	r.LastAttempt = time.Now().UTC()
	i, err := rs.Intend(t.Context(), r, version1)
	if err != nil {
		t.Fatal(err)
	}
	return r, i
}

// refusedConnection is the receipt of an attempt that did not reach the portal.
func refusedConnection(t *testing.T, rs *portal.Receipts, r portal.Receipt) {
	t.Helper()
	r.Outcome, r.LastError, r.Tried = portal.OutcomeDown, "connection refused", version1
	if _, err := rs.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// mayHold is what a portal may hold of an article, as its receipt says to whoever opens them anew.
func mayHold(t *testing.T, js jetstream.JetStream, name, id string) article.Version {
	t.Helper()
	rs := receipts(t, js)
	defer rs.Close()
	r, _, err := rs.Get(t.Context(), name, streams.KeyOf("ward", id))
	if err != nil {
		t.Fatal(err)
	}
	return r.MayHold
}

// heard is told of recovered attempts.
type heard struct {
	err  error // the answer
	mu   sync.Mutex
	keys []streams.Key
}

func (h *heard) tell(_ context.Context, r portal.Receipt) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys = append(h.keys, r.Key)
	return h.err
}

func unheard(context.Context, portal.Receipt) error { return nil }

func journaled(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), streams.Intents)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestAttemptsThatDidNotEndAreRecoveredByWhoeverTakesTheirPortalsOver(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	killed := receipts(t, js) // never closed
	intend(t, killed, "quan", "treo")
	r, _ := intend(t, killed, "quan", "tat")
	refusedConnection(t, killed, r)
	refused, _ := intend(t, killed, "quan", "tat-roi-treo")
	refusedConnection(t, killed, refused)
	intend(t, killed, "quan", "tat-roi-treo")
	held, _ := intend(t, killed, "quan", "co")
	held.Holds = version1
	if _, err := killed.Put(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	intend(t, killed, "huyen", "treo")

	for _, c := range []struct {
		takes     string
		recovered int
		left      bool // pages that are still open
	}{{"xa", 0, true}, {"quan", 2, true}, {"quan", 0, true}, {"huyen", 1, false}} {
		taker := receipts(t, js)
		defer taker.Close()
		got, err := taker.Recover(t.Context(), func(name string) bool { return name == c.takes }, unheard)
		if err != nil || got.Attempts != c.recovered || len(got.Unreadable) != 0 {
			t.Errorf("whoever takes %s recovers %+v, %v; expected %d", c.takes, got, err, c.recovered)
		}
		if left := journaled(t, js); left > 0 != c.left {
			t.Errorf("%d pages are left when %s is taken over", left, c.takes)
		}
		if v := mayHold(t, js, "huyen", "treo"); v != (article.Version{}) && c.takes != "huyen" {
			t.Errorf("huyen may hold %v when %s is taken over", v, c.takes)
		}
	}
	for id, want := range map[string]article.Version{"treo": version1, "tat-roi-treo": version1, "tat": {}, "co": {}} {
		if v := mayHold(t, js, "quan", id); v != want {
			t.Errorf("quan may hold %v of %s, expected %v", v, id, want)
		}
	}
	if v := mayHold(t, js, "huyen", "treo"); v != version1 {
		t.Errorf("huyen may hold %v", v)
	}
}

func TestNothingIsLeftOfAttemptsThatEnded(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	defer rs.Close()
	_, doubtful := intend(t, rs, "quan", "treo")
	_, unsent := intend(t, rs, "quan", "thoi")
	unsent.End(true)
	doubtful.End(false)
	doubtful.End(true) // is too late

	// Nobody has to wait until that is tidied up.
	if r, _, err := rs.Get(t.Context(), "quan", streams.KeyOf("ward", "treo")); err != nil || r.MayHold != version1 {
		t.Errorf("%+v, %v", r, err)
	}
	loatest.Eventually(t, "the journal is empty", func() bool { return journaled(t, js) == 0 })
	if v := mayHold(t, js, "quan", "thoi"); v != (article.Version{}) {
		t.Errorf("what was not sent may be held as %v", v)
	}
}

func TestWhatIsInDoubtIsStoredBeforeTheReceiptsAreClosed(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	_, i := intend(t, rs, "quan", "treo")
	i.End(false)
	rs.Close()
	if v := mayHold(t, js, "quan", "treo"); v != version1 || journaled(t, js) != 0 {
		t.Errorf("may hold %v, %d pages are left", v, journaled(t, js))
	}
}

// An attempt's receipt that somebody else's went before, such as a repair, is no reason to forget it.
func TestAnAttemptIsNotKnownByWhatElseWasStoredMeanwhile(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	killed := receipts(t, js)
	intend(t, killed, "quan", "treo")
	other := receipts(t, js)
	defer other.Close()
	r, _, err := other.Get(t.Context(), "quan", streams.KeyOf("ward", "treo"))
	if err == nil {
		err = other.Refute(t.Context(), r, article.Version{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Recover(t.Context(), func(string) bool { return true }, unheard); err != nil {
		t.Fatal(err)
	}
	if r, _, err := other.Get(t.Context(), "quan", streams.KeyOf("ward", "treo")); err != nil || r.MayHold != version1 || r.Again != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAPageThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	for _, bad := range []string{`[{"portal":`, `[{}]`} {
		if _, err := js.Publish(t.Context(), streams.IntentSubject("hong"), []byte(bad)); err != nil {
			t.Fatal(err)
		}
	}
	intend(t, receipts(t, js), "quan", "treo")
	taker := receipts(t, js)
	defer taker.Close()
	got, err := taker.Recover(t.Context(), func(string) bool { return true }, unheard)
	if err != nil || got.Attempts != 1 || len(got.Unreadable) != 2 || journaled(t, js) != 2 {
		t.Errorf("%+v, %v, %d pages are left", got, err, journaled(t, js))
	}
}

// A replica that lags does not know yet that an earlier attempt was refused a connection: that is not
// what became of the later one.
func TestAnAttemptIsNotKnownByTheReceiptOfAnEarlierOne(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	killed := receipts(t, js)
	before, _, err := killed.Get(t.Context(), "quan", streams.KeyOf("ward", "treo"))
	if err != nil {
		t.Fatal(err)
	}
	r, i := intendOver(t, killed, before)
	refusedConnection(t, killed, r)
	i.End(true)
	intendOver(t, killed, before)
	taker := receipts(t, js)
	defer taker.Close()
	if _, err := taker.Recover(t.Context(), func(string) bool { return true }, unheard); err != nil {
		t.Fatal(err)
	}
	if v := mayHold(t, js, "quan", "treo"); v != version1 {
		t.Errorf("may hold %v", v)
	}
}

func TestAnAttemptThatTakesLongKeepsNoOtherInTheJournal(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	_, long := intend(t, rs, "quan", "treo")
	n := 0
	loatest.Eventually(t, "its page is gone", func() bool {
		_, i := intend(t, rs, "quan", fmt.Sprint("tin-", n))
		i.End(true)
		n++
		s, err := js.Stream(t.Context(), streams.Intents)
		return err == nil && s.CachedInfo().State.FirstSeq > 1
	})
	taker := receipts(t, js)
	defer taker.Close()
	var told heard
	_, err := taker.Recover(t.Context(), func(string) bool { return true }, told.tell)
	if err != nil || !slices.Contains(told.keys, streams.KeyOf("ward", "treo")) {
		t.Errorf("%v, %v", told.keys, err)
	}
	long.End(true)
	rs.Close()
	if left := journaled(t, js); left > 0 {
		t.Errorf("%d pages are left", left)
	}
}

func TestWhoGivesUpBeforeTheIntentIsStoredLeavesNone(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	rs := receipts(t, js)
	ctx, cancel := context.WithCancel(t.Context())
	for n := range 50 {
		if n == 25 {
			cancel()
		}
		i, err := rs.Intend(ctx, portal.Receipt{Portal: "quan", Key: streams.KeyOf("ward", fmt.Sprint("tin-", n))}, version1)
		if n < 25 && err != nil {
			t.Fatal(err)
		}
		i.End(true)
	}
	cancel()
	loatest.Eventually(t, "the journal is empty", func() bool { return journaled(t, js) == 0 })
	rs.Close()
}

func TestAnAttemptOfWhichNobodyCouldBeToldIsFoundAgain(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	intend(t, receipts(t, js), "quan", "treo")
	taker := receipts(t, js)
	defer taker.Close()
	all := func(string) bool { return true }
	deaf := heard{err: errors.New("không nghe")}
	if _, err := taker.Recover(t.Context(), all, deaf.tell); !errors.Is(err, deaf.err) {
		t.Errorf("got %v", err)
	}
	var told heard
	got, err := taker.Recover(t.Context(), all, told.tell)
	if err != nil || got.Attempts != 1 || len(told.keys) != 1 || mayHold(t, js, "quan", "treo") != version1 {
		t.Errorf("%+v, told of %v, %v", got, told.keys, err)
	}
}
