package intake_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

// former gives the numbers of the former versions that can be read.
func (b *bench) former(id string) (numbers []int64) {
	b.Helper()
	e, err := b.log.Latest(b.Context(), streams.KeyOf(siteID, id))
	if err != nil {
		b.Fatal(err)
	}
	all, err := intake.Former(b.Context(), b.js, e)
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range all {
		numbers = append(numbers, a.Number)
	}
	return numbers
}

// large is a body of which few have room in memory.
var large = "<p>" + strings.Repeat("x", 500<<10) + "</p>"

func TestWhatWasWithdrawnIsNoFormerVersionHoweverManyEventsThereAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		versions int64
		body     string
	}{
		"few":              {3, ""},
		"more than a page": {205, ""},
		"large ones":       {10, large},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			for v := range c.versions {
				b.publish(snapshot("tin-1", v+1, func(a *events.Article) {
					if c.body != "" {
						a.Body = c.body
					}
				}))
			}
			b.settled()
			n := c.versions
			if got := b.former("tin-1"); len(got) == 0 || got[0] != n-1 {
				t.Errorf("before the withdrawal: %v, want the newest ones from %d down", got, n-1)
			}
			b.take(withdrawal("tin-1", n+1), snapshot("tin-1", n+2), snapshot("tin-1", n+3))
			if got := b.former("tin-1"); !slices.Equal(got, []int64{n + 2}) {
				t.Errorf("published again: %v, want %d alone", got, n+2)
			}
		})
	}
}

func TestAnArticleWithTooManyEventsHasNoFormerVersions(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 100))
	for v := range int64(70) { // at 0.5 MB each
		b.publish(snapshot("tin-1", v+1, func(a *events.Article) { a.Body = large }))
	}
	if got := b.former("tin-1"); got != nil {
		t.Errorf("%v, though not all events were looked at", got)
	}
}
