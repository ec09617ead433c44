package streams_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// A leader that dies acknowledges nothing, however long one waits.
func TestWhatIsNotAcknowledgedIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	taken, err := js.Conn().SubscribeSync("silent") // and never answered
	if err != nil {
		t.Fatal(err)
	}
	subject := streams.ReceiptSubject("cong", "site.bai")
	seqs, errs := streams.PublishEach(context.Background(), js, []*nats.Msg{{Subject: subject}, {Subject: "silent"}, {Subject: "nobody"}})
	if errs[0] != nil || seqs[0] == 0 {
		t.Errorf("stored as %d, %v", seqs[0], errs[0])
	}
	if !errors.Is(errs[1], context.DeadlineExceeded) {
		t.Errorf("without an acknowledgement: %v", errs[1])
	}
	if errs[2] == nil {
		t.Error("what no stream takes is said to be stored")
	}
	if n, _, err := taken.Pending(); n != 1 {
		t.Errorf("%d messages were sent, %v", n, err)
	}
}
