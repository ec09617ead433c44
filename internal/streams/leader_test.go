package streams_test

import (
	"fmt"
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestRemoveOfAMessageThatIsGoneIsNoFailure(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	stream, err := js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for i := range 5 {
		ack, err := js.Publish(t.Context(), streams.FlagSubject(streams.Normal, "portal", "quan", fmt.Sprint("ward.", i)), nil)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, ack.Sequence)
	}
	for _, i := range []int{2, 2, 0, 0, 4, 4, 1, 3, 3, 2} { // within, first, last, all
		if err := streams.Remove(t.Context(), stream, seqs[i]); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if err := js.DeleteStream(t.Context(), streams.Flags); err != nil {
		t.Fatal(err)
	}
	if err := streams.Remove(t.Context(), stream, seqs[0]); err == nil {
		t.Error("removing from a stream that is not there is no failure")
	}
}
