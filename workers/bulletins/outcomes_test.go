package bulletins_test

import (
	"context"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

func TestOutcomesAreToldToOthers(t *testing.T) {
	t.Parallel()
	s := started(t)
	s.receive(t, portal.Portal{Name: "tot"}, receiver.Options{})
	s.receive(t, portal.Portal{Name: "hong"}, receiver.Options{Answer: first(1, receiver.Status(500, "lỗi"))})
	began := time.Now()
	s.publish(t, text("1", 1))
	s.level(t)

	all := func(name string, since time.Time) (got []portal.Receipt) {
		for r, err := range s.receipts.Outcomes(t.Context(), name, since, false) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		return got
	}
	if got := all("", began); len(got) != 3 {
		t.Errorf("%d outcomes, want 3: what was stored before an attempt is none: %+v", len(got), got)
	}
	got := all("hong", began)
	if len(got) != 2 || got[0].Outcome != portal.OutcomeDown || got[0].LastStatus != 500 || got[0].Tried.Number != 1 || got[0].Took <= 0 ||
		got[1].Outcome != portal.OutcomeDelivered || got[1].Attempts != 2 {
		t.Errorf("got %+v", got)
	}
	if got := all("", time.Now().Add(time.Hour)); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := all("khong-co", time.Time{}); len(got) != 0 {
		t.Errorf("got %+v", got)
	}

	// Who follows learns of the next one as it happens.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := make(chan portal.Receipt, 10)
	go func() {
		defer close(next)
		for r, err := range s.receipts.Outcomes(ctx, "tot", time.Now(), true) {
			if err != nil {
				t.Error(err)
				return
			}
			next <- r
		}
	}()
	s.publish(t, text("2", 7))
	loatest.Eventually(t, "the next one is told", func() bool { return len(next) > 0 })
	if r := <-next; r.Portal != "tot" || r.Tried.Number != 7 {
		t.Errorf("got %+v", r)
	}
	cancel()
	if _, more := <-next; more {
		t.Error("told of more than there was")
	}
}
