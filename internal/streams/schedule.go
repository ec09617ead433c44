package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What can be due for an article. At most one of each waits for any article.
const (
	Embargo  = "embargo"  // the event, to be applied now
	Expiry   = "expiry"   // look whether the article has expired
	Pictures = "pictures" // try the article's missing pictures again
)

// Erasure is what can be due for a picture, whose SHA-256 takes the place of the article's key: look
// whether any article still uses it, and erase it if none does.
const Erasure = "erasure"

// ErasureKey is the picture in the place of an article's key.
func ErasureKey(picture string) Key { return Key(picture) }

// ErasureOf gives the picture of a message of [ErasureConsumer].
func ErasureOf(subject string) string { return strings.TrimPrefix(subject, dueSubject(Erasure, "")) }

// Withdrawn is what is due for a feed, whose id stands for the article's key: what it says of a
// withdrawn article changes.
const Withdrawn = "withdrawn"

// DueFeed reads the subject of a message of [WithdrawnConsumer].
func DueFeed(subject string) (string, error) {
	id, ok := strings.CutPrefix(subject, dueSubject(Withdrawn, ""))
	if !ok || !isToken(id) {
		return "", fmt.Errorf("subject %q is not of a feed", subject)
	}
	return id, nil
}

// Digest is what is due for a portal, whose name stands for the article's key: its digest.
const Digest = "digest"

func scheduleSubject(what, key string) string { return schedulePrefix + what + "." + key }
func dueSubject(what, key string) string      { return duePrefix + what + "." + key }

// DueSubject is where a message says that something is due for an article now.
func DueSubject(what string, k Key) string { return dueSubject(what, string(k)) }

// DueParts reads the subject of a message of [DueConsumer].
func DueParts(subject string) (what string, k Key, err error) {
	rest, ok := strings.CutPrefix(subject, duePrefix)
	what, key, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return "", "", fmt.Errorf("subject %q is not of something due", subject)
	}
	k, err = ParseKey(key)
	return what, k, err
}

// DuePortal reads the subject of a message of [DigestConsumer].
func DuePortal(subject string) (string, error) {
	name, ok := strings.CutPrefix(subject, dueSubject(Digest, ""))
	if !ok || !isToken(name) {
		return "", fmt.Errorf("subject %q is not of a digest that is due", subject)
	}
	return name, nil
}

// Schedule makes JetStream deliver messages later.
type Schedule struct{ js jetstream.JetStream }

// NewSchedule uses the stream that [Setup] made.
func NewSchedule(js jetstream.JetStream) *Schedule { return &Schedule{js} }

// Waiting is a message that has been scheduled, and not been dealt with.
type Waiting struct {
	Header nats.Header
	Data   []byte
	// At is its time; zero once it is due.
	At time.Time
	// Seq is what [Schedule.At] names to replace it; 0 once it is due, when that is too late.
	Seq uint64
}

// Waiting gives what waits for the article: scheduled, or due and not acknowledged; nil if
// there is nothing.
func (s *Schedule) Waiting(ctx context.Context, what string, k Key) (*Waiting, error) {
	w, err := s.scheduled(ctx, what, k)
	if w != nil || err != nil {
		return w, err
	}
	m, err := Leader(ctx, s.js, Schedules, dueSubject(what, string(k)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up the %s of %s: %w", what, k, err)
	}
	return &Waiting{Header: m.Header, Data: m.Data}, nil
}

// atTime begins the header of a message that has one time ([jetstream.ScheduleHeader]).
const atTime = "@at "

func (s *Schedule) scheduled(ctx context.Context, what string, k Key) (*Waiting, error) {
	m, err := Leader(ctx, s.js, Schedules, scheduleSubject(what, string(k)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up the %s of %s: %w", what, k, err)
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(m.Header.Get(jetstream.ScheduleHeader), atTime))
	if err != nil {
		return nil, fmt.Errorf("look up the %s of %s: %w", what, k, err)
	}
	return &Waiting{Header: m.Header, Data: m.Data, At: at, Seq: m.Sequence}, nil
}

// At schedules a message, in place of the one of sequence last (0: of none) that waits for the
// same; it returns once this is stored. [ErrConflict] if another waits by now.
func (s *Schedule) At(ctx context.Context, what string, k Key, at time.Time, header nats.Header, data []byte, last uint64) error {
	m := nats.NewMsg(scheduleSubject(what, string(k)))
	for name, values := range header {
		// Headers that mean something to JetStream belong to the message's former life.
		if !strings.HasPrefix(name, "Nats-") {
			m.Header[name] = values
		}
	}
	// The client's own option cuts off the fraction, which would be early.
	m.Header.Set(jetstream.ScheduleHeader, atTime+at.UTC().Format(time.RFC3339Nano))
	m.Header.Set(jetstream.ScheduleTargetHeader, dueSubject(what, string(k)))
	m.Data = data
	_, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectStream(Schedules), jetstream.WithExpectLastSequencePerSubject(last))
	if IsConflict(err) {
		return fmt.Errorf("schedule the %s of %s: %w", what, k, ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("schedule the %s of %s: %w", what, k, err)
	}
	return nil
}

// Set schedules a message in place of whatever waits for the same: for messages that only say
// "look again".
func (s *Schedule) Set(ctx context.Context, what string, k Key, at time.Time, header nats.Header) error {
	for {
		waiting, err := s.scheduled(ctx, what, k)
		if err != nil {
			return err
		}
		var last uint64
		if waiting != nil {
			last = waiting.Seq
		}
		if err := s.At(ctx, what, k, at, header, nil, last); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// Cancel takes back what is scheduled; it is no error if there is nothing.
func (s *Schedule) Cancel(ctx context.Context, what string, k Key) error {
	stream, err := s.js.Stream(ctx, Schedules)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(scheduleSubject(what, string(k))))
	}
	if err != nil {
		return fmt.Errorf("cancel the %s of %s: %w", what, k, err)
	}
	return nil
}

// TakeDue gives out what is due, one after the other, until ctx ends, or until NATS ends the reading
// for good. Disturbed is told of faults that pass.
func TakeDue(ctx context.Context, c jetstream.Consumer, take func(jetstream.Msg), disturbed func(error), opts ...jetstream.PullConsumeOpt) error {
	opts = append(opts, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { disturbed(err) }))
	reader, err := c.Consume(take, opts...)
	if err != nil {
		return fmt.Errorf("read %s: %w", Schedules, err)
	}
	defer func() {
		reader.Stop()
		<-reader.Closed()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-reader.Closed():
		return fmt.Errorf("reading of %s was ended", Schedules)
	}
}
