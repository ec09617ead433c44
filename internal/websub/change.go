package websub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// requestFor is how long a request may wait to be verified. Only when no process of the role
	// runs does it take more than a moment; then its subscriber has asked again.
	requestFor = time.Hour
	// leaseRest is how much longer than its lease a subscription stays in the bucket, which removes
	// it by itself: nobody who still looks at it shall find it gone.
	leaseRest = time.Hour
	// renewals bounds the attempts to keep the record of a delivery that is being written.
	renewals = 5
)

// put writes a value that the bucket forgets after a time; over nothing else than a revision, if
// one is given.
func (r *Registry) put(ctx context.Context, key string, v any, ttl time.Duration, over ...uint64) (uint64, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	options := []jetstream.PublishOpt{jetstream.WithExpectStream("KV_" + streams.SubscriptionsBucket)}
	if ttl > 0 {
		options = append(options, jetstream.WithMsgTTL(ttl.Round(time.Second)))
	}
	for _, revision := range over {
		options = append(options, jetstream.WithExpectLastSequencePerSubject(revision))
	}
	ack, err := r.js.Publish(ctx, subjectOf(key), data, options...)
	if err != nil {
		return 0, fmt.Errorf("store %s: %w", key, err)
	}
	return ack.Sequence, nil
}

func subjectOf(key string) string { return "$KV." + streams.SubscriptionsBucket + "." + key }

// remove takes a key away; if a revision is given, only that one, and it is no error if it is
// another by now.
func (r *Registry) remove(ctx context.Context, key string, revision uint64) error {
	options := []jetstream.KVDeleteOpt{jetstream.PurgeTTL(streams.KeyMarker)}
	if revision > 0 {
		options = append(options, jetstream.LastRevision(revision))
	}
	if err := r.kv.Purge(ctx, key, options...); err != nil && !streams.IsConflict(err) {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// Ask stores a request, in the place of an earlier one about the same, and has it verified. The
// secret is sealed.
func (r *Registry) Ask(ctx context.Context, q Request, s secret.Secret) error {
	id := q.ID()
	q.Secret = seal(r.keys, s, id)
	revision, err := r.put(ctx, requestPrefix+string(id), q, requestFor)
	if err != nil {
		return err
	}
	if data, err := json.Marshal(q); err == nil { // counted at once: whoever asks next comes soon
		_ = r.acceptOwn(requestPrefix, id, data, revision)
	}
	return reconcile.Raise(ctx, r.js, []reconcile.Flag{VerifyFlag(q.Callback, id)})
}

// Asked gives the request about an id, as the bucket's leader has it; false if there is none.
func (r *Registry) Asked(ctx context.Context, id ID) (Request, bool, error) {
	data, revision, err := streams.LatestValue(ctx, r.js, streams.SubscriptionsBucket, requestPrefix+string(id))
	if err != nil || data == nil {
		return Request{}, false, err
	}
	q, err := decode[Request]("request "+string(id), data)
	q.revision = revision
	return q, err == nil, err
}

// Settle removes a request, unless another took its place.
func (r *Registry) Settle(ctx context.Context, q Request) error {
	return r.remove(ctx, requestPrefix+string(q.ID()), q.revision)
}

// Activate makes a subscription of a request that its callback, at an address, has confirmed, and
// has it looked at: the topic may have changed since it was asked for. An earlier subscription is
// replaced, its secret included; what was delivered by it counts.
func (r *Registry) Activate(ctx context.Context, q Request, address string, now time.Time) (Subscription, error) {
	id := q.ID()
	s := Subscription{Callback: q.Callback, Topic: q.Topic, Secret: q.Secret, Method: q.Method, Address: address, Since: now, Expires: now.Add(q.Lease)}
	data, _, err := streams.LatestValue(ctx, r.js, streams.SubscriptionsBucket, subscriptionPrefix+string(id))
	if err != nil {
		return s, err
	}
	renewed := false
	if data != nil {
		if former, err := decode[Subscription]("subscription "+string(id), data); err == nil && former.Live(now) {
			s.Since, s.Renewed, renewed = former.Since, now, true
		}
	}
	if err := r.keepDelivery(ctx, id, Delivery{ETag: q.Seen}, renewed, q.Lease+leaseRest); err != nil {
		return s, err
	}
	revision, err := r.put(ctx, subscriptionPrefix+string(id), s, q.Lease+leaseRest)
	if err != nil {
		return s, err
	}
	if data, err := json.Marshal(s); err == nil { // counted at once: the next one is about to be
		_ = r.acceptOwn(subscriptionPrefix, id, data, revision)
	}
	return s, reconcile.Raise(ctx, r.js, []reconcile.Flag{DeliverFlag(s.Callback, id, revision)})
}

// keepDelivery makes the record of what was delivered last as long as the lease; or begins one.
func (r *Registry) keepDelivery(ctx context.Context, id ID, first Delivery, renewed bool, ttl time.Duration) error {
	for range renewals {
		data, revision, err := streams.LatestValue(ctx, r.js, streams.SubscriptionsBucket, deliveryPrefix+string(id))
		if err != nil {
			return err
		}
		d := first
		if renewed && data != nil {
			if d, err = decode[Delivery]("delivery "+string(id), data); err != nil {
				return err
			}
		}
		_, err = r.put(ctx, deliveryPrefix+string(id), d, ttl, revision)
		if !streams.IsConflict(err) {
			return err
		}
	}
	return fmt.Errorf("keep the record of deliveries to %s: %w", id, ErrConflict)
}

// Remove ends a subscription, at once and in silence.
func (r *Registry) Remove(ctx context.Context, id ID) error {
	return errors.Join(r.remove(ctx, subscriptionPrefix+string(id), 0), r.remove(ctx, deliveryPrefix+string(id), 0))
}

// Gone ends a subscription whose callback is no more, unless it was renewed meanwhile.
func (r *Registry) Gone(ctx context.Context, s Subscription) error {
	return r.remove(ctx, subscriptionPrefix+string(s.ID()), s.revision)
}

// Deny ends a subscription, if there is one, and has its callback told why (§5.2).
func (r *Registry) Deny(ctx context.Context, callback string, t Topic, reason string) error {
	if err := r.Remove(ctx, NewID(callback, t)); err != nil {
		return err
	}
	return r.Ask(ctx, Request{Mode: ModeDenied, Callback: callback, Topic: t, Reason: reason, At: time.Now().UTC()}, "")
}

// Open opens the secret of a subscription; empty for none.
func (r *Registry) Open(s Subscription) (secret.Secret, error) { return open(r.keys, s.Secret, s.ID()) }

// NoteTopic records the state of a topic that its subscribers are about to be flagged for, and
// gives the revision at which it was stored: whoever has read the document before that may have
// read an earlier one.
func (r *Registry) NoteTopic(ctx context.Context, t Topic, etag string) (uint64, error) {
	key := topicPrefix + t.String()
	data, revision, err := streams.LatestValue(ctx, r.js, streams.SubscriptionsBucket, key)
	if err != nil {
		return 0, err
	}
	if data != nil {
		if last, err := decode[topicState](key, data); err == nil && last.ETag == etag {
			return revision, nil
		}
	}
	return r.put(ctx, key, topicState{etag}, 0)
}
