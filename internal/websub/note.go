package websub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// noteRoom bounds the records of deliveries that wait to be stored, and noteBatch those of one
	// atomic batch, which is the most that JetStream takes: it costs some 6 fsyncs, however many
	// there are in it.
	noteRoom  = 4000
	noteBatch = 1000
	// noteAtomic is from how many on an atomic batch is quicker than as many messages with an fsync
	// each.
	noteAtomic = 24
	// noteFor is how long storing is tried, over an election of a leader; noteTimeout is for one
	// attempt, and notePause comes between two.
	noteFor     = 15 * time.Second
	noteTimeout = 10 * time.Second
	notePause   = 100 * time.Millisecond
)

// note is the record of one delivery on its way to the bucket.
type note struct {
	id   ID
	data []byte
	msg  *nats.Msg
	// revision and err are there once done is closed.
	revision uint64
	err      error
	done     chan struct{}
}

// Note records how a delivery went, and returns once that is on disk. Records that come in while
// others are being stored are stored together.
func (r *Registry) Note(ctx context.Context, s Subscription, d Delivery) error {
	id := s.ID()
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	left := max(time.Until(s.Expires), 0) + leaseRest
	n := &note{id: id, data: data, done: make(chan struct{}), msg: &nats.Msg{Subject: subjectOf(deliveryPrefix + string(id)), Data: data,
		Header: nats.Header{jetstream.MsgTTLHeader: {left.Round(time.Second).String()}}}}
	select {
	case r.notes <- n:
		select {
		case <-n.done:
			err = n.err
		case <-ctx.Done():
			err = ctx.Err()
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-r.closing:
		err = errors.New("the registry is closed")
	}
	if err != nil {
		return fmt.Errorf("record the delivery to %s: %w", id, err)
	}
	return nil
}

// storeNotes stores what comes in, until the registry is closed.
func (r *Registry) storeNotes() {
	for {
		select {
		case n := <-r.notes:
			r.storeBatch(r.gather(n))
		case <-r.closing:
			return
		}
	}
}

// gather takes what waits beside a first note.
func (r *Registry) gather(first *note) []*note {
	batch := []*note{first}
	for len(batch) < noteBatch {
		select {
		case n := <-r.notes:
			batch = append(batch, n)
		default:
			return batch
		}
	}
	return batch
}

// storeBatch stores notes, and tries for a while.
func (r *Registry) storeBatch(batch []*note) {
	err := r.storeOnce(batch)
	for deadline := time.Now().Add(noteFor); err != nil && time.Now().Before(deadline); {
		select {
		case <-time.After(notePause):
		case <-r.closing:
			deadline = time.Time{} // once more
		}
		err = r.storeOnce(batch)
	}
	for _, n := range batch {
		if n.err = err; err == nil {
			n.err = r.acceptOwn(deliveryPrefix, n.id, n.data, n.revision)
		}
		close(n.done)
	}
}

// storeOnce stores all notes; after an error some may be stored.
func (r *Registry) storeOnce(batch []*note) error {
	ctx, cancel := context.WithTimeout(context.Background(), noteTimeout)
	defer cancel()
	if len(batch) < noteAtomic {
		for _, n := range batch {
			ack, err := r.js.PublishMsg(ctx, n.msg)
			if err != nil {
				return err
			}
			n.revision = ack.Sequence
		}
		return nil
	}
	msgs := make([]*nats.Msg, len(batch))
	for i, n := range batch {
		msgs[i] = n.msg
	}
	// An answer to the first message would tell early that the server is not there, at the price of a
	// round trip each time.
	ack, err := jetstreamext.PublishMsgBatch(ctx, r.js, msgs, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	for i, n := range batch { // which have consecutive revisions
		n.revision = ack.Sequence - uint64(len(batch)-1-i)
	}
	return nil
}
