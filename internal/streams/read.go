package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Page is a part of a stream that is read at once.
type Page struct {
	From    uint64 `json:"seq"` // the first sequence that is looked at
	Subject string `json:"next_by_subj,omitempty"`
	Count   int    `json:"batch"`
	Bytes   int    `json:"max_bytes,omitempty"` // 0: the server's limit
}

// ReadPage reads a page of a stream, in the stream's order. With none, there are no more. Any replica
// may answer, and lag.
func ReadPage(ctx context.Context, js jetstream.JetStream, stream string, p Page) ([]*jetstream.RawStreamMsg, error) {
	p.From = max(p.From, 1)
	return readBatch(ctx, js, stream, p)
}

// pendingHeader says, with each message of an answer, how many that match come after it.
const pendingHeader = "Nats-Num-Pending"

// Count counts the messages whose subjects match, and gives the first; nil if there is none. The server
// looks up each subject, which takes it a fraction of the time that it takes to list them, and holds
// nobody up. Any replica may answer, and lag.
func Count(ctx context.Context, js jetstream.JetStream, stream, subject string) (int, *jetstream.RawStreamMsg, error) {
	first, err := ReadPage(ctx, js, stream, Page{Subject: subject, Count: 1})
	if err != nil || len(first) == 0 {
		return 0, nil, err
	}
	after, err := strconv.Atoi(first[0].Header.Get(pendingHeader))
	if err != nil {
		return 0, nil, fmt.Errorf("read from %s: the server answered without a count: %w", stream, err)
	}
	return 1 + after, first[0], nil
}

// Walk gives what a stream holds, page by page, as read makes it of each message. It ends at the first
// error.
func Walk[T any](ctx context.Context, js jetstream.JetStream, stream string, p Page, read func(*jetstream.RawStreamMsg) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		fail := func(err error) {
			var none T
			yield(none, fmt.Errorf("walk %s from %d: %w", stream, p.From, err))
		}
		for {
			msgs, err := ReadPage(ctx, js, stream, p)
			if err != nil {
				fail(err)
				return
			}
			if len(msgs) == 0 {
				return
			}
			for _, m := range msgs {
				one, err := read(m)
				if err != nil {
					fail(err)
					return
				}
				if !yield(one, nil) {
					return
				}
				p.From = m.Sequence + 1
			}
		}
	}
}

// ReadLast reads the last message of each of the subjects, of which there are at most
// [maxBatchSubjects]; those that have none are missing. Any replica may answer, and lag.
func ReadLast(ctx context.Context, js jetstream.JetStream, stream string, subjects []string) ([]*jetstream.RawStreamMsg, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	return readBatch(ctx, js, stream, map[string][]string{"multi_last": subjects})
}

// readStall bounds the wait for the next message of an answer.
const readStall = 10 * time.Second

// readBatch puts a question that is answered by several messages (NATS ADR-31). It is what
// jetstreamext.GetBatch and GetLastMsgsFor do, but for the buffer of 512 KiB that the synchronous
// subscription there takes for every question.
func readBatch(ctx context.Context, js jetstream.JetStream, stream string, question any) ([]*jetstream.RawStreamMsg, error) {
	req, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	var (
		found []*jetstream.RawStreamMsg // the subscription's, until it says that this is the end
		count atomic.Int64              // of those found
		end   = make(chan error, 1)
	)
	nc := js.Conn()
	inbox := nc.NewInbox()
	sub, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		one, err := batched(m)
		if one != nil {
			found = append(found, one)
			count.Add(1)
			return
		}
		select {
		case end <- err:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", stream, err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(jetstream.DefaultAPIPrefix+"DIRECT.GET."+stream, inbox, req); err != nil {
		return nil, fmt.Errorf("read from %s: %w", stream, err)
	}
	timer := time.NewTimer(readStall)
	defer timer.Stop()
	for before := int64(0); ; {
		select {
		case err := <-end:
			if err != nil {
				return nil, fmt.Errorf("read from %s: %w", stream, err)
			}
			return found, nil
		case <-timer.C:
			now := count.Load()
			if now == before {
				return nil, fmt.Errorf("read from %s: no more of the answer after %s: %w", stream, readStall, nats.ErrTimeout)
			}
			before = now
			timer.Reset(readStall)
		case <-ctx.Done():
			return nil, fmt.Errorf("read from %s: %w", stream, ctx.Err())
		}
	}
}

// batched reads one message of an answer; with neither a message nor an error it is the end.
func batched(m *nats.Msg) (*jetstream.RawStreamMsg, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404": // the end; none at all
		return nil, nil
	case "503":
		return nil, nats.ErrNoResponders
	default:
		return nil, fmt.Errorf("the server answered %s %s", status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the server answered without a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, fmt.Errorf("the server answered without a time: %w", err)
	}
	return &jetstream.RawStreamMsg{Subject: m.Header.Get(jetstream.SubjectHeader), Sequence: seq, Header: m.Header, Data: m.Data, Time: at}, nil
}
