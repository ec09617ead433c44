package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// RetryFor is how long [Publisher.Publish] repeats itself over passing faults. A NATS
	// cluster that lost a stream's leader takes 4 to 7 seconds to choose another; a rolling
	// update of it takes up to about 15.
	RetryFor = 20 * time.Second

	// attemptTimeout ends one attempt: long enough for 8 MiB over 15 Mbit/s.
	attemptTimeout = 5 * time.Second
	// The pause between attempts doubles from the first to the longest, give or take a half.
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// ErrUnavailable says that an event could not be stored in time: NATS was not to be reached, had
// no leader, no space or no stream yet. The event may have been stored nevertheless; publishing
// the same event again later is right in any case.
var ErrUnavailable = errors.New("event store is unavailable")

// errCodeInProcess is what a cluster answers to an event of which an earlier attempt is on its way
// to the replicas still, as after the loss of a leader. Trying again settles what became of it.
const errCodeInProcess = 10158

// RefusedError says that an event will never be stored as it is. Err is an *[InvalidError] when
// it breaks the contract; else it is what NATS said.
type RefusedError struct {
	// EventID is the event's id.
	EventID string
	// Reason says why in words that fit a CMS's log.
	Reason string
	Err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("event %q refused: %s", e.EventID, e.Reason)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Ack says where an event is stored.
type Ack struct {
	Stream   string
	Sequence uint64
	// Duplicate is set when the event had been stored before; Sequence is then where.
	Duplicate bool
}

// Publisher publishes events for a CMS. It is safe for concurrent use, and holds nothing but
// the connection that it was given.
type Publisher struct {
	js       jetstream.JetStream
	retryFor time.Duration
	attempt  time.Duration
	onRetry  func(err error, pause time.Duration)
	msgID    func(Event) string
}

// PublisherOption changes a [Publisher]'s ways.
type PublisherOption func(*Publisher)

// WithRetryFor replaces [RetryFor]. Less than 15 seconds will not outlast the loss of a NATS node.
func WithRetryFor(d time.Duration) PublisherOption {
	return func(p *Publisher) { p.retryFor = d }
}

// WithOnRetry has f called before every pause between attempts, for the CMS's log.
func WithOnRetry(f func(err error, pause time.Duration)) PublisherOption {
	return func(p *Publisher) { p.onRetry = f }
}

// WithMessageID has f name the message ("Nats-Msg-Id") in the place of the event's id, for those who
// publish what several CMSs say: an id is unique to its source alone.
func WithMessageID(f func(Event) string) PublisherOption {
	return func(p *Publisher) { p.msgID = f }
}

// NewPublisher makes a publisher of a JetStream context. Its NATS user needs no more than to
// publish on "loa.event.<site>.>" and to subscribe to its inbox.
func NewPublisher(js jetstream.JetStream, options ...PublisherOption) *Publisher {
	p := &Publisher{js: js, retryFor: RetryFor, attempt: attemptTimeout, onRetry: func(error, time.Duration) {},
		msgID: func(e Event) string { return e.ID }}
	for _, option := range options {
		option(p)
	}
	return p
}

// Publish checks the event against the contract and returns when JetStream has stored it.
// Passing faults are tried again for [RetryFor], or until ctx ends, with the same event id, so
// that the event is stored once.
//
// The error is a *[RefusedError] when trying again cannot help, or wraps [ErrUnavailable] when
// it may; in the latter case keep the event and publish it again later.
func (p *Publisher) Publish(ctx context.Context, e Event) (Ack, error) {
	msg, err := message(e)
	if err != nil {
		return Ack{}, err
	}
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = firstPause, longestPause, 2
	var last error
	ack, err := backoff.Retry(ctx, func() (ack *jetstream.PubAck, err error) {
		ack, err = p.try(ctx, e.ID, p.msgID(e), msg)
		last = err
		return ack, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(p.retryFor), backoff.WithNotify(p.onRetry))

	var refused *RefusedError
	switch {
	case err == nil:
		return Ack{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
	case errors.As(err, &refused):
		return Ack{}, refused
	case ctx.Err() != nil:
		return Ack{}, fmt.Errorf("publish event %q: %w: %w; last: %w", e.ID, ErrUnavailable, context.Cause(ctx), last)
	default:
		return Ack{}, fmt.Errorf("publish event %q: %w: %w", e.ID, ErrUnavailable, err)
	}
}

// message is the event in structured mode, checked by the same rules that Loa will apply.
func message(e Event) (*nats.Msg, error) {
	data, err := e.MarshalJSON()
	if err == nil {
		_, err = Parse(nil, data)
	}
	var bad *InvalidError
	switch {
	case errors.As(err, &bad):
		return nil, &RefusedError{EventID: e.ID, Reason: bad.Error(), Err: bad}
	case err != nil:
		return nil, &RefusedError{EventID: e.ID, Reason: "encode event: " + err.Error(), Err: err}
	}
	msg := nats.NewMsg(Subject(e.Site(), e.ArticleID()))
	msg.Header.Set("Content-Type", "application/cloudevents+json")
	msg.Data = data
	return msg, nil
}

// try is one attempt. Its error stops the retries if it is permanent.
func (p *Publisher) try(ctx context.Context, id, msgID string, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, p.attempt)
	defer cancel()
	nc := p.js.Conn()
	before := nc.LastError()
	ack, err := p.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(msgID), jetstream.WithExpectStream(Stream), jetstream.WithRetryAttempts(0))
	if err == nil {
		return ack, nil
	}
	refuse := func(reason string) error {
		return backoff.Permanent(&RefusedError{EventID: id, Reason: reason, Err: err})
	}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, refuse(fmt.Sprintf("it has %d bytes with its headers, and the NATS server takes at most %d (max_payload): send images by address rather than inline",
			len(msg.Data)+headerSize(msg.Header), nc.MaxPayload()))
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return nil, refuse(fmt.Sprintf("it has %d bytes, and the stream %s takes fewer (its max_msg_size)", len(msg.Data), Stream))
	case errors.As(err, &api) && api.ErrorCode == errCodeInProcess:
		return nil, err
	case errors.As(err, &api) && api.Code < 500 && api.Code != 429:
		return nil, refuse(fmt.Sprintf("the stream that holds %s said: %s (%d)", msg.Subject, api.Description, api.ErrorCode))
	case errors.Is(err, nats.ErrConnectionClosed):
		return nil, backoff.Permanent(err) // it does not come back; the CMS has to connect anew
	}
	// NATS tells the connection, not the publisher, that a subject is not allowed.
	if denied := nc.LastError(); denied != before && errors.Is(denied, nats.ErrPermissionViolation) && concerns(denied, msg.Subject) {
		err = denied
		return nil, refuse(denied.Error())
	}
	return nil, err
}

// concerns reports whether a permission that was denied is one that publishing on subject
// needs: the subject itself, or the inbox for the answer.
func concerns(denied error, subject string) bool {
	text := denied.Error()
	return strings.Contains(text, `"`+subject+`"`) || strings.Contains(text, `"`+nats.InboxPrefix)
}

// headerSize is the length of a header on the wire (NATS protocol, HPUB).
func headerSize(h nats.Header) int {
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return size
}
