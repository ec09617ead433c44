package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// TestFlagsOfNamedTargetsAreCountedWithoutAList: as they are where there are too many to list them,
// with gaps where others were lowered.
func TestFlagsOfNamedTargetsAreCountedWithoutAList(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	first := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	var flags []Flag
	for n := range 6 {
		for i := range 10 * n {
			class := streams.Normal
			if i%10 == 0 {
				class = streams.Express
			}
			flags = append(flags, Flag{Class: class, Kind: "portal", Target: fmt.Sprint("p", n), Key: fmt.Sprint("s.", i),
				Raised: first.Add(time.Duration(i) * time.Second)})
		}
	}
	if err := Raise(t.Context(), js, flags); err != nil {
		t.Fatal(err)
	}
	held, err := Held(t.Context(), js, "portal", "p5", 0, 9) // the flags 1 to 9
	if err != nil {
		t.Fatal(err)
	}
	if err := Lower(t.Context(), js, "portal", "p5", held[8].Place); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Remove(t.Context(), stream, 1); err != nil { // p1's first
		t.Fatal(err)
	}
	waiting, err := countOf(t.Context(), js, "portal", []string{"p0", "p1", "p3", "p5", "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Waiting{"p1": {9, first.Add(time.Second)}, "p3": {30, first}, "p5": {41, first}}
	if len(waiting) != len(want) {
		t.Errorf("counted %v", waiting)
	}
	for target, w := range want {
		if got := waiting[target]; got.Flags != w.Flags || !got.Oldest.Equal(w.Oldest) {
			t.Errorf("%s: %d flags, the oldest of %s; want %d, %s", target, got.Flags, got.Oldest, w.Flags, w.Oldest)
		}
	}
}
