package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DeadLetter is work set aside for a person: the message that could not be dealt with, and why.
type DeadLetter struct {
	// Stage is where it happened: "intake", "pictures", or a kind of target; [Warnings] for what
	// was done, but should have been better.
	Stage string `json:"stage"`
	// Warning says that nothing was held back: a person is only told. It may have no message; a
	// retry only removes it then.
	Warning bool `json:"warning,omitempty"`
	// Key is what it is about, in tokens: the article, or target and article.
	Key     string    `json:"key"`
	Reason  string    `json:"reason"`
	Faults  []string  `json:"faults,omitempty"` // all that is wrong, if that is more than the reason
	Event   string    `json:"event,omitempty"`  // the event's id
	Version string    `json:"version,omitempty"`
	At      time.Time `json:"at"`
	// Subject and Header are those of the message, which Retry publishes again.
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header,omitempty"`

	// Origin is the message's sequence in the inbox. An event too large to be copied beside its
	// description is read from there.
	Origin uint64 `json:"origin,omitempty"`
	Data   []byte `json:"-"`
	// Seq identifies the dead letter, once it is stored.
	Seq uint64 `json:"-"`
}

// Warnings is the stage of dead letters that only warn.
const Warnings = "warning"

// deadHeader carries a dead letter's description; the message's data is that of the message set
// aside, untouched.
const deadHeader = "Loa-Dead-Letter"

const (
	// maxReason and maxFaults bound what a dead letter says, in bytes and entries.
	maxReason = 2 << 10
	maxFaults = 30
	// maxDeadHeader bounds the description with the message's own headers (NATS takes 64 KiB).
	maxDeadHeader = 48 << 10
	// headerOverhead is more than the other bytes that NATS puts into a message's header.
	headerOverhead = 1 << 10
	// maxWarnings is how many warnings are kept, of which the oldest go first: nobody reads more,
	// and they must not take the room of work that is set aside. Whoever writes them looks at
	// every warningsSweep-th whether there are more.
	maxWarnings   = 10_000
	warningsSweep = 100
)

// Dead is the stream of dead letters.
type Dead struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	warned atomic.Uint64 // warnings written here
}

// OpenDead opens the stream that [Setup] made.
func OpenDead(ctx context.Context, js jetstream.JetStream) (*Dead, error) {
	stream, err := js.Stream(ctx, DeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open the dead letters: %w", err)
	}
	return &Dead{js: js, stream: stream}, nil
}

// Put stores a dead letter. Only when it returned without error may the work be given up.
func (d *Dead) Put(ctx context.Context, l DeadLetter) error {
	if l.At.IsZero() {
		l.At = time.Now()
	}
	l.Reason = clip(l.Reason, maxReason)
	if len(l.Faults) > maxFaults {
		l.Faults = append(l.Faults[:maxFaults:maxFaults], fmt.Sprintf("and %d more", len(l.Faults)-maxFaults))
	}
	for i := range l.Faults {
		l.Faults[i] = clip(l.Faults[i], maxReason)
	}
	about, err := json.Marshal(l)
	if err == nil && len(about) > maxDeadHeader {
		// A sender's own headers may be huge; what the message says is more important.
		l.Header = nil
		about, err = json.Marshal(l)
	}
	if err != nil {
		return fmt.Errorf("describe dead letter of %s: %w", l.Key, err)
	}
	m := nats.NewMsg(deadPrefix + l.Stage + "." + l.Key)
	m.Header.Set(deadHeader, string(about))
	if room := int(d.js.Conn().MaxPayload()) - len(about) - headerOverhead; len(l.Data) <= room || l.Origin == 0 {
		m.Data = l.Data
	}
	if _, err := d.js.PublishMsg(ctx, m, jetstream.WithExpectStream(DeadLetters)); err != nil {
		return fmt.Errorf("set aside %s of %s: %w", l.Stage, l.Key, err)
	}
	return nil
}

// Warn stores a dead letter that only warns. Its message, if any, is what a retry publishes. When there is no room for more dead letters the
// error is [ErrNoRoom].
func (d *Dead) Warn(ctx context.Context, l DeadLetter) error {
	l.Stage, l.Warning = Warnings, true
	err := d.Put(ctx, l)
	if IsFull(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil || d.warned.Add(1)%warningsSweep != 1 {
		return err
	}
	if err := d.stream.Purge(ctx, jetstream.WithPurgeSubject(deadPrefix+Warnings+".>"), jetstream.WithPurgeKeep(maxWarnings)); err != nil {
		return fmt.Errorf("remove the oldest of more than %d warnings: %w", maxWarnings, err)
	}
	return nil
}

// ErrNoRoom says that the dead letters have reached their bound.
var ErrNoRoom = errors.New("no room for more dead letters")

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// deadPage is how many dead letters are read at once.
const deadPage = 100

// List gives the dead letters of one stage, or of all (""), oldest first; with key, those about
// that alone.
func (d *Dead) List(ctx context.Context, stage, key string) iter.Seq2[DeadLetter, error] {
	filter := deadPrefix + ">"
	if stage != "" {
		filter = deadPrefix + stage + ".>"
		if key != "" {
			filter = deadPrefix + stage + "." + key
		}
	}
	return Walk(ctx, d.js, DeadLetters, Page{Subject: filter, Count: deadPage, Bytes: MaxMessage}, deadLetter)
}

// Get reads one dead letter; [ErrNoDeadLetter] if there is none of that number.
func (d *Dead) Get(ctx context.Context, seq uint64) (DeadLetter, error) {
	m, err := d.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return DeadLetter{}, fmt.Errorf("dead letter %d: %w", seq, ErrNoDeadLetter)
	}
	if err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %d: %w", seq, err)
	}
	l, err := deadLetter(m)
	if err != nil || len(l.Data) > 0 || l.Origin == 0 {
		return l, err
	}
	inbox, err := d.js.Stream(ctx, Events)
	if err == nil {
		m, err = inbox.GetMsg(ctx, l.Origin)
	}
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %d: read event %d of the inbox, which keeps events for %d days: %w", seq, l.Origin, eventsAge/(24*time.Hour), err)
	}
	l.Data = m.Data
	return l, nil
}

// ErrNoDeadLetter says that there is no dead letter of that number (any more).
var ErrNoDeadLetter = errors.New("no such dead letter")

// Retry publishes the message again, as if it came for the first time, and removes the dead
// letter once that is stored.
func (d *Dead) Retry(ctx context.Context, seq uint64) error {
	l, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	if l.Subject == "" { // a warning of what nobody can try again
		return d.Drop(ctx, seq)
	}
	m := nats.NewMsg(l.Subject)
	for name, values := range l.Header {
		// Its id would make it a duplicate of itself.
		if !strings.HasPrefix(name, "Nats-") {
			m.Header[name] = values
		}
	}
	m.Data = l.Data
	if _, err := d.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("retry dead letter %d: %w", seq, err)
	}
	if err := d.Drop(ctx, seq); !errors.Is(err, ErrNoDeadLetter) {
		return err
	}
	return nil // somebody else removed it meanwhile
}

// Drop removes a dead letter for good; [ErrNoDeadLetter] if there is none of that number.
func (d *Dead) Drop(ctx context.Context, seq uint64) error {
	if err := d.stream.DeleteMsg(ctx, seq); err != nil {
		if _, gone := d.stream.GetMsg(ctx, seq); errors.Is(gone, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("dead letter %d: %w", seq, ErrNoDeadLetter)
		}
		return fmt.Errorf("remove dead letter %d: %w", seq, err)
	}
	return nil
}

// Count is how many dead letters there are.
func (d *Dead) Count(ctx context.Context) (uint64, error) {
	info, err := d.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return info.State.Msgs, nil
}

func deadLetter(m *jetstream.RawStreamMsg) (DeadLetter, error) {
	var l DeadLetter
	if err := json.Unmarshal([]byte(m.Header.Get(deadHeader)), &l); err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %d: %w", m.Sequence, err)
	}
	l.Data, l.Seq = m.Data, m.Sequence
	return l, nil
}
