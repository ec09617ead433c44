package bulletins_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

func TestASlowPortalIsCalledSoUntilItIsQuickAgain(t *testing.T) {
	t.Parallel()
	s := started(t)
	// Longer than what is called slow, and the few answers by which that is judged.
	late := (&receiver.Fault{Do: func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2500 * time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	}}).Kept()
	s.receive(t, portal.Portal{Name: "cham"}, receiver.Options{Answer: first(3, late)})
	s.receive(t, portal.Portal{Name: "nhanh"}, receiver.Options{})
	for i := range 3 {
		s.publish(t, text(strconv.Itoa(i), 1))
	}
	loatest.Eventually(t, "it to be called slow", func() bool { return !s.portals.State("cham").Slow.Since.IsZero() })
	if st := s.portals.State("cham"); st.Down || st.Slow.Answer < 2*time.Second {
		t.Errorf("%+v", st)
	}
	if st := s.portals.State("nhanh"); st != (portal.State{}) {
		t.Errorf("%+v", st)
	}
	for i := range 20 {
		s.publish(t, text(strconv.Itoa(i), 2))
	}
	s.level(t)
	loatest.Eventually(t, "it to be called quick again", func() bool { return s.portals.State("cham").Slow.Since.IsZero() })
}
