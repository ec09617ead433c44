package intake

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// keyOf gives what a subject is about: its last two tokens, of events and of what is due alike.
func keyOf(subject string) streams.Key {
	t := strings.Split(subject, ".")
	return streams.Key(strings.Join(t[max(len(t)-2, 0):], "."))
}

// accept queues a message behind others of its article. It blocks while all slots are taken, or
// too many bytes held, and with it the reader.
func (in *Intake) accept(ctx, work context.Context, m jetstream.Msg) {
	if ctx.Err() != nil || in.bytes.Acquire(ctx, weight(m)) != nil {
		handBack(m)
		return
	}
	key := keyOf(m.Subject())
	in.mu.Lock()
	in.held[m] = struct{}{}
	if q, busy := in.queues[key]; busy {
		in.queues[key] = append(q, m)
		in.mu.Unlock()
		return
	}
	in.queues[key] = nil
	in.mu.Unlock()
	select {
	case in.slots <- struct{}{}:
	case <-ctx.Done():
		for ok := true; ok; m, ok = in.next(key, m) {
			handBack(m)
		}
		return
	}
	in.work.Go(func() {
		defer func() { <-in.slots }()
		for ok := true; ok; m, ok = in.next(key, m) {
			if ctx.Err() != nil {
				handBack(m)
			} else {
				in.handle(work, m)
			}
		}
	})
}

// handBackDelay is when a message that was handed back is given out again.
const handBackDelay = time.Second

// handBack returns a message to the server while this process ends. Without a delay it would
// come back at once, as long as this reader is known; and an embedded server, which ends as
// well, forgets what it is to give out at once, and would hold it back for [streams.AckWait].
func handBack(m jetstream.Msg) { _ = m.NakWithDelay(handBackDelay) }

// weight is what a message counts for against [inHand].
func weight(m jetstream.Msg) int64 { return min(int64(len(m.Data())), inHand) }

// next lets go of a message and takes the next one of the article, or ends its turn.
func (in *Intake) next(key streams.Key, done jetstream.Msg) (jetstream.Msg, bool) {
	in.bytes.Release(weight(done))
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.held, done)
	q := in.queues[key]
	if len(q) == 0 {
		delete(in.queues, key)
		return nil, false
	}
	in.queues[key] = q[1:]
	return q[0], true
}

func (in *Intake) renew() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for m := range in.held {
		_ = m.InProgress() // without it the message comes again, and is a duplicate
	}
}
