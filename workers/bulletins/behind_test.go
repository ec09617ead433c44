package bulletins_test

import (
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// Whoever flags portals may know of a change before a worker does, which must not take the flags
// down by what the portals were.
func TestFlagsAreNotLoweredByWhatAPortalWas(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	s, behind := stopped(t, js), stopped(t, js)
	changed := s.receive(t, portal.Portal{Name: "quan", Filter: portal.Filter{Categories: []string{"van-hoa"}}}, receiver.Options{})
	loatest.Eventually(t, "the other has heard of it", func() bool { return behind.portals.Known("quan") })
	behind.portals.Close() // it hears no more
	s.change(t, "quan", func(p *portal.Portal) { p.Filter.Categories = []string{"y-te"} })
	added := s.receive(t, portal.Portal{Name: "moi"}, receiver.Options{})

	behind.run(t, 0, quick)
	s.publish(t, text("mot", 1))
	loatest.Eventually(t, "it has looked at both", func() bool {
		said := behind.log.String()
		return strings.Contains(said, `portal \"quan\": its configuration has changed`) && strings.Contains(said, `portal \"moi\": its configuration has changed`)
	})
	behind.stop()
	s.run(t, 0, quick)
	s.level(t)
	for name, r := range map[string]*receiver.Receiver{"quan": changed, "moi": added} {
		if _, ok := r.Get(guid("mot")); !ok {
			t.Errorf("portal %s was never sent the article", name)
		}
	}
}
