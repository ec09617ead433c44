package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// sequenceNotFound is JetStream's error for the deletion of a message that is not there.
const sequenceNotFound = 10043

// IsGone tells the errors for a message that is not in its stream any more.
func IsGone(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrMsgNotFound) ||
		errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeMessageNotFound || api.ErrorCode == sequenceNotFound)
}

// Remove removes a message, or finds that it is gone. The client tells the errors of a deletion by
// their text alone, which depends on where in the stream the message was, so it is looked for.
func Remove(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	err := stream.DeleteMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, there := stream.GetMsg(ctx, seq); IsGone(there) {
			return nil
		}
	}
	return err
}

// requestTimeout bounds one question to JetStream's API where the caller set no deadline. A
// cluster that elects a leader needs 4 to 7 s.
const requestTimeout = 10 * time.Second

// Leader reads a subject's last message from the stream's leader, which is never behind, through
// the stream's API: direct gets may be answered by a replica that lags. [jetstream.ErrMsgNotFound]
// if there is none.
func Leader(ctx context.Context, js jetstream.JetStream, stream, subject string) (*jetstream.RawStreamMsg, error) {
	return askLeader(ctx, js, stream, map[string]any{"last_by_subj": subject})
}

// leaderNext is Leader for the first message from a sequence on whose subject matches.
func leaderNext(ctx context.Context, js jetstream.JetStream, stream, subject string, seq uint64) (*jetstream.RawStreamMsg, error) {
	return askLeader(ctx, js, stream, map[string]any{"seq": seq, "next_by_subj": subject})
}

// LeaderAll gives the messages whose subjects match, in the stream's order, one by one from its leader.
// It ends at the first error.
func LeaderAll(ctx context.Context, js jetstream.JetStream, stream, subject string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for next := uint64(1); ; {
			m, err := leaderNext(ctx, js, stream, subject, next)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			next = m.Sequence + 1
			if !yield(m, nil) {
				return
			}
		}
	}
}

func askLeader(ctx context.Context, js jetstream.JetStream, stream string, question map[string]any) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	reply, err := js.Conn().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+stream, req)
	if err != nil {
		return nil, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return nil, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, jetstream.ErrMsgNotFound
		}
		return nil, fmt.Errorf("ask the leader of %s: %w", stream, resp.Error)
	}
	if resp.Message == nil {
		return nil, fmt.Errorf("ask the leader of %s: no message in the answer", stream)
	}
	m := resp.Message
	out := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Time: m.Time}
	if len(m.Header) > 0 {
		if out.Header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("ask the leader of %s: %w", stream, err)
		}
	}
	return out, nil
}
