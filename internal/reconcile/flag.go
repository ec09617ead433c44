package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/loa-syndication/loa/internal/streams"
)

// Flag is a durable mark: the target may be behind on the key. There is at most one for each
// class, kind, target and key.
type Flag struct {
	Class  string // [streams.Express] or [streams.Normal]
	Kind   string
	Target string // one token
	Key    string // one or more tokens, as a rule a [streams.Key]
	// Seq is the log sequence of the version that raised the flag. The version to act on is
	// the current one, which is that or a later one.
	Seq uint64
	// Raised is when the target fell behind, to the millisecond.
	Raised time.Time
	// Failures is how often the target refused this version, and Until when it is tried again. A
	// flag raised anew has none: what failed before does not count for another version.
	Failures int
	Until    time.Time
	// Targets are those of a shared flag; Target stands for them ([streams.SharedTarget]). What a
	// reconciler gets, and what is told of one target, has none.
	Targets []string
}

// sharedMost is the most targets of a shared flag: 64 KiB of names at the very most.
const sharedMost = 1000

// FlagsFor are those by which targets learn of an article's version. Of kinds that share flags
// ([streams.SharesFlags]), the targets of a group have one together, without those that are to have their
// own: which are known not to take a share. own may be nil.
func FlagsFor(kind string, targets []string, own func(target string) bool, e streams.Entry) []Flag {
	class := streams.Normal
	if e.Express() {
		class = streams.Express
	}
	flag := func(target string) Flag {
		return Flag{Class: class, Kind: kind, Target: target, Key: string(e.Key), Seq: e.Seq}
	}
	var flags []Flag
	alone := targets
	if streams.SharesFlags(kind) {
		alone = nil
		groups := map[int][]string{}
		for _, t := range targets {
			if own != nil && own(t) {
				alone = append(alone, t)
				continue
			}
			group := streams.FlagGroup(kind, t)
			groups[group] = append(groups[group], t)
		}
		for group, of := range groups {
			if len(of) > 1 {
				f := flag(streams.SharedTarget(kind, group))
				f.Targets = of[:min(len(of), sharedMost)]
				flags = append(flags, f)
				of = of[len(f.Targets):]
			}
			alone = append(alone, of...)
		}
	}
	for _, t := range alone {
		flags = append(flags, flag(t))
	}
	return flags
}

// Pairs is of how many pairs of a target and a key the flag is.
func (f Flag) Pairs() int { return max(1, len(f.Targets)) }

func (f Flag) subject() string { return streams.FlagSubject(f.Class, f.Kind, f.Target, f.Key) }

// body is "<seq> <raised, ms>", and " <failures> <until, ms>" if there were failures, or
// " 0 0 <target> <target>…" if it is shared.
func (f Flag) body() []byte {
	b := strconv.AppendUint(nil, f.Seq, 10)
	b = strconv.AppendInt(append(b, ' '), f.Raised.UnixMilli(), 10)
	if f.Failures > 0 {
		b = strconv.AppendInt(append(b, ' '), int64(f.Failures), 10)
		return strconv.AppendInt(append(b, ' '), f.Until.UnixMilli(), 10)
	}
	if len(f.Targets) > 0 {
		b = append(b, " 0 0"...)
		for _, t := range f.Targets {
			b = append(append(b, ' '), t...)
		}
	}
	return b
}

// parseFlag reads a kept flag. A body that is not ours reads as a flag of sequence 0: that a
// flag is up is all that matters.
func parseFlag(subject string, data []byte) (Flag, error) {
	p, err := streams.ParseFlag(subject)
	if err != nil {
		return Flag{}, err
	}
	f := Flag{Class: p.Class, Kind: p.Kind, Target: p.Target, Key: p.Key}
	var numbers [4]int64
	for i, field := range bytes.Fields(data) {
		if i >= len(numbers) {
			f.Targets = append(f.Targets, string(field))
			continue
		}
		if numbers[i], err = strconv.ParseInt(string(field), 10, 64); err != nil {
			return f, nil
		}
	}
	if numbers[1] > 0 {
		f.Seq, f.Raised = uint64(numbers[0]), time.UnixMilli(numbers[1])
	}
	if numbers[2] > 0 {
		f.Failures, f.Until = int(numbers[2]), time.UnixMilli(numbers[3])
	}
	return f, nil
}

const (
	// maxBatch is the most messages that JetStream takes in one atomic batch, and atomicFrom from how
	// many on one is quicker than as many messages with a sync each: staging one takes 2.5 ms, a message 0.2.
	maxBatch   = 1000
	atomicFrom = 12
	// raiseFor is how long a batch is tried again while the server has no room for it or no
	// leader; an election takes 4 to 7 s.
	raiseFor = 15 * time.Second
	// tooManyBatches is JetStream's error for more than 50 batches in flight on one stream.
	tooManyBatches = 10210
)

// Raise raises flags, many of them in atomic batches, and returns once they are stored.
// After an error some may be up and others not; raising them all again is harmless. So is raising one
// late: a flag that replaces another names an earlier version, which nobody goes by, and a shared one
// takes over the targets of that which it replaces.
func Raise(ctx context.Context, js jetstream.JetStream, flags []Flag) error {
	now := time.Now()
	for part := range slices.Chunk(flags, maxBatch) {
		latest := make(map[string]int, len(part)) // by subject: one message of a batch each
		batch := make([]storedFlag, 0, len(part))
		for _, f := range part {
			if f.Raised.IsZero() {
				f.Raised = now
			}
			stored := storedFlag{f, anyPlace}
			if len(f.Targets) > 0 {
				stored.seq = 0
			}
			subject := f.subject()
			if i, ok := latest[subject]; ok {
				batch[i] = stored
				continue
			}
			latest[subject] = len(batch)
			batch = append(batch, stored)
		}
		if err := store(ctx, js, batch, takeOver); err != nil {
			return fmt.Errorf("raise %d flags: %w", len(batch), err)
		}
	}
	return nil
}

// store stores flags of one batch, each in its place. Where another is up, the flag gets that one's
// place, and meet says whether it is still to be stored, and makes of it what is.
func store(ctx context.Context, js jetstream.JetStream, batch []storedFlag, meet func(f *Flag, up Flag) bool) error {
	deadline := time.Now().Add(raiseFor)
	for len(batch) > 0 {
		err := publishBatch(ctx, js, messages(batch))
		if !streams.IsConflict(err) || time.Now().After(deadline) {
			return err
		}
		up, err := readUp(ctx, js, batch)
		if err != nil {
			return err
		}
		others := make(map[string]storedFlag, len(up))
		for _, f := range up {
			others[f.subject()] = f
		}
		var left []storedFlag
		for _, f := range batch {
			if f.seq != anyPlace {
				other, ok := others[f.subject()]
				if ok && !meet(&f.Flag, other.Flag) {
					continue
				}
				f.seq = other.seq
			}
			left = append(left, f)
		}
		batch = left
	}
	return nil
}

// takeOver makes a shared flag that of the targets, too, of the one that it replaces. All of a group's
// portals there may be in one then, which is what a message has room for.
func takeOver(f *Flag, up Flag) bool {
	f.Seq = max(f.Seq, up.Seq)
	targets := slices.Concat(f.Targets, up.Targets)
	slices.Sort(targets)
	f.Targets = slices.Compact(targets)
	return true
}

// readUp reads those of the flags that are up, in the stream's order.
func readUp(ctx context.Context, js jetstream.JetStream, flags []storedFlag) ([]storedFlag, error) {
	subjects := make([]string, len(flags))
	for i, f := range flags {
		subjects[i] = streams.StoredFlag(f.Class, f.Kind, f.Target, f.Key)
	}
	msgs, err := streams.ReadLast(ctx, js, streams.Flags, subjects)
	if err != nil {
		return nil, err
	}
	up := make([]storedFlag, len(msgs))
	for i, m := range msgs {
		f, err := parseFlag(m.Subject, m.Data)
		if err != nil {
			return nil, err
		}
		up[i] = storedFlag{f, m.Sequence}
	}
	return up, nil
}

// anyPlace is that of a flag which replaces whatever is up.
const anyPlace = math.MaxUint64

// message is stored only where the stream has the one that it is to replace, or none if the flag's
// place is 0.
func (f storedFlag) message() *nats.Msg {
	m := &nats.Msg{Subject: f.subject(), Data: f.body(), Header: nats.Header{}}
	if f.seq != anyPlace {
		m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(f.seq, 10)}
	}
	return m
}

func messages(flags []storedFlag) []*nats.Msg {
	msgs := make([]*nats.Msg, len(flags))
	for i, f := range flags {
		msgs[i] = f.message()
	}
	return msgs
}

// reraise raises flags again that are kept already, each in its place: one that has been raised by
// another meanwhile is newer, and stays as it is.
func reraise(ctx context.Context, js jetstream.JetStream, flags []storedFlag) error {
	for batch := range slices.Chunk(flags, maxBatch) {
		err := publishBatch(ctx, js, messages(batch))
		if streams.IsConflict(err) && len(batch) > 1 {
			// One spoils it for all. The messages have become those of a batch.
			for _, f := range batch {
				if err = publishBatch(ctx, js, []*nats.Msg{f.message()}); err != nil && !streams.IsConflict(err) {
					break
				}
			}
		}
		if err != nil && !streams.IsConflict(err) {
			return fmt.Errorf("raise %d flags again: %w", len(batch), err)
		}
	}
	return nil
}

func publishBatch(ctx context.Context, js jetstream.JetStream, batch []*nats.Msg) error {
	deadline := time.Now().Add(raiseFor)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := publishOnce(ctx, js, batch)
		if err == nil || !passing(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(jitter(pause)):
		}
	}
}

// publishOnce stores messages. Of a few, some may be stored and others not, and time may cure what the
// error says only of some.
func publishOnce(ctx context.Context, js jetstream.JetStream, batch []*nats.Msg) error {
	if len(batch) >= atomicFrom {
		_, err := jetstreamext.PublishMsgBatch(ctx, js, batch)
		return err
	}
	var first error
	_, errs := streams.PublishEach(ctx, js, batch)
	for _, err := range errs {
		if err != nil && (first == nil || passing(err)) {
			first = err
		}
	}
	return first
}

// passing tells the errors of JetStream that time cures.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == tooManyBatches || api.Code == 503
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// jitter spreads a pause by a fifth to both sides, so that what failed together does not come
// back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}
