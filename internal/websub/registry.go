package websub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	requestPrefix      = "request."
	subscriptionPrefix = "subscription."
	deliveryPrefix     = "delivery."
	topicPrefix        = "topic."
)

// Registry holds what the bucket says, and follows it, whoever writes there.
type Registry struct {
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	keys    *secret.Keyring
	whole   bool
	log     zerolog.Logger
	watcher jetstream.KeyWatcher
	notes   chan *note
	closing chan struct{}
	work    sync.WaitGroup

	mu      sync.RWMutex
	all     map[ID]*known
	byTopic map[Topic]map[ID]bool // subscriptions, those whose lease has just ended included
	// hosts and addresses count the subscriptions, held is all of them; askedOf and asked count the
	// requests that are not settled, which anybody can make in the name of any host.
	hosts, addresses, askedOf map[string]int
	held, asked               int
	seen                      uint64        // the revision that the watch has come to
	news                      chan struct{} // closed when seen grows
}

// known is what is known of one callback and topic.
type known struct {
	subscription *Subscription
	request      *Request
	delivery     Delivery
	// revisions of the latest values; a deletion has one too.
	subscriptionAt, requestAt, deliveryAt uint64
}

// Open reads the bucket that [streams.Setup] made and follows it until [Registry.Close]. Secrets
// are sealed with the keys; with nil they are in clear. Only a whole registry knows how deliveries
// went; the others are for those who take requests.
func Open(ctx context.Context, js jetstream.JetStream, keys *secret.Keyring, whole bool, log zerolog.Logger) (*Registry, error) {
	kv, err := js.KeyValue(ctx, streams.SubscriptionsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.SubscriptionsBucket, err)
	}
	r := &Registry{
		js: js, kv: kv, keys: keys, whole: whole, log: log, notes: make(chan *note, noteRoom), closing: make(chan struct{}),
		all: map[ID]*known{}, byTopic: map[Topic]map[ID]bool{}, hosts: map[string]int{}, addresses: map[string]int{}, askedOf: map[string]int{}, news: make(chan struct{}),
	}
	before, err := r.latest(ctx) // all up to here comes before the watch says that it has given all
	if err != nil {
		return nil, err
	}
	wanted := []string{requestPrefix + ">", subscriptionPrefix + ">"}
	if whole {
		wanted = []string{">"}
	}
	// The watcher must outlive the start, which is what ctx is for.
	if r.watcher, err = kv.WatchFiltered(context.WithoutCancel(ctx), wanted); err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", streams.SubscriptionsBucket, err)
	}
	for {
		select {
		case e, ok := <-r.watcher.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: connection lost", streams.SubscriptionsBucket)
			}
			if e == nil { // all that was there
				r.mu.Lock()
				r.seen = max(r.seen, before)
				r.mu.Unlock()
				r.work.Go(r.watch)
				r.work.Go(r.storeNotes)
				return r, nil
			}
			r.accept(e)
		case <-ctx.Done():
			_ = r.watcher.Stop()
			return nil, fmt.Errorf("read bucket %s: %w", streams.SubscriptionsBucket, ctx.Err())
		}
	}
}

// Close ends the watch.
func (r *Registry) Close() {
	close(r.closing)
	_ = r.watcher.Stop() // fails only when the connection is gone
	r.work.Wait()
}

func (r *Registry) watch() {
	for {
		select {
		case e, ok := <-r.watcher.Updates():
			if !ok {
				return
			}
			if e != nil {
				r.accept(e)
			}
		case <-r.closing:
			return
		}
	}
}

// accept takes an entry of the bucket in.
func (r *Registry) accept(e jetstream.KeyValueEntry) {
	prefix, id, _ := strings.Cut(e.Key(), ".")
	var data []byte // nil: it is gone
	if e.Operation() == jetstream.KeyValuePut {
		data = e.Value()
	}
	r.mu.Lock()
	err := r.set(prefix+".", ID(id), data, e.Revision())
	r.saw(e.Revision())
	r.mu.Unlock()
	if err != nil {
		r.log.Error().Err(err).Str("key", e.Key()).Msg("entry of the hub's bucket is passed over")
	}
}

// acceptOwn takes in what this process has just stored, unless the watch was quicker.
func (r *Registry) acceptOwn(prefix string, id ID, data []byte, revision uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision <= r.seen {
		return nil
	}
	return r.set(prefix, id, data, revision)
}

// set makes a value the latest one, unless a later one is known.
func (r *Registry) set(prefix string, id ID, data []byte, revision uint64) error {
	if prefix == topicPrefix {
		return nil // looked up where it is needed
	}
	k := r.all[id]
	if k == nil {
		k = &known{}
	}
	r.count(id, k, -1)
	err := k.set(prefix, data, revision)
	r.count(id, k, +1)
	if k.subscription == nil && k.request == nil && k.delivery == (Delivery{}) {
		delete(r.all, id)
	} else {
		r.all[id] = k
	}
	return err
}

func (k *known) set(prefix string, data []byte, revision uint64) (err error) {
	switch prefix {
	case requestPrefix:
		if revision <= k.requestAt {
			return nil
		}
		k.request, k.requestAt = nil, revision
		if data != nil {
			var q Request
			if q, err = decode[Request]("request", data); err == nil {
				q.revision = revision
				k.request = &q
			}
		}
	case subscriptionPrefix:
		if revision <= k.subscriptionAt {
			return nil
		}
		k.subscription, k.subscriptionAt = nil, revision
		if data != nil {
			var s Subscription
			if s, err = decode[Subscription]("subscription", data); err == nil {
				s.revision = revision
				k.subscription = &s
			}
		}
	case deliveryPrefix:
		if revision <= k.deliveryAt {
			return nil
		}
		k.delivery, k.deliveryAt = Delivery{}, revision
		if data != nil {
			k.delivery, err = decode[Delivery]("delivery", data)
		}
	}
	return err
}

// count adds n to what k counts for.
func (r *Registry) count(id ID, k *known, n int) {
	if q := k.request; q != nil {
		r.asked += n
		add(r.askedOf, Host(q.Callback), n)
	}
	if s := k.subscription; s != nil {
		r.held += n
		add(r.hosts, Host(s.Callback), n)
		if s.Address != "" {
			add(r.addresses, s.Address, n)
		}
		of := r.byTopic[s.Topic]
		switch {
		case n < 0:
			delete(of, id)
			if len(of) == 0 {
				delete(r.byTopic, s.Topic)
			}
		case of == nil:
			r.byTopic[s.Topic] = map[ID]bool{id: true}
		default:
			of[id] = true
		}
	}
}

func add(counts map[string]int, key string, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// saw notes that the watch has come to a revision.
func (r *Registry) saw(revision uint64) {
	if revision > r.seen {
		r.seen = revision
		close(r.news)
		r.news = make(chan struct{})
	}
}

// Get gives the live subscription of an id.
func (r *Registry) Get(id ID) (Subscription, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k := r.all[id]
	if k == nil || k.subscription == nil || !k.subscription.Live(time.Now()) {
		return Subscription{}, false
	}
	return *k.subscription, true
}

// Delivery tells how the last delivery went.
func (r *Registry) Delivery(id ID) Delivery {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if k := r.all[id]; k != nil {
		return k.delivery
	}
	return Delivery{}
}

// Behind gives the callbacks of the live subscriptions to a topic that have another state of it
// than etag.
func (r *Registry) Behind(t Topic, etag string) map[ID]string {
	now := time.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	behind := map[ID]string{}
	for id := range r.byTopic[t] {
		if k := r.all[id]; k.subscription.Live(now) && k.delivery.ETag != etag {
			behind[id] = k.subscription.Callback
		}
	}
	return behind
}

// Has reports whether a topic has subscribers.
func (r *Registry) Has(t Topic) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byTopic[t]) > 0
}

// All gives what is known of every subscription, and of every request for one.
func (r *Registry) All() iter.Seq2[ID, Standing] {
	r.mu.RLock()
	all := make(map[ID]Standing, len(r.all))
	for id, k := range r.all {
		all[id] = Standing{k.subscription, k.request, k.delivery}
	}
	r.mu.RUnlock()
	return maps.All(all)
}

// Standing is how one callback stands with a topic.
type Standing struct {
	Subscription *Subscription // nil: there is none
	Request      *Request      // nil: nothing is asked
	Delivery     Delivery
}

// Counts are how many subscriptions there are, and requests that wait.
func (r *Registry) Counts() (subscriptions, requests int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.held, r.asked
}

// latest is the bucket's last revision.
func (r *Registry) latest(ctx context.Context) (uint64, error) {
	stream, err := r.js.Stream(ctx, "KV_"+streams.SubscriptionsBucket) // asks anew
	if err != nil {
		return 0, fmt.Errorf("look up bucket %s: %w", streams.SubscriptionsBucket, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// awaitFor is how long the watch may lag behind before a flag is left for later; it is a matter of
// milliseconds.
const awaitFor = 2 * time.Second

// Await returns once everything up to a revision is known here, or everything that there is: the
// bucket may have been lost since.
func (r *Registry) Await(ctx context.Context, revision uint64) error {
	late := time.NewTimer(awaitFor)
	defer late.Stop()
	for {
		r.mu.RLock()
		seen, news := r.seen, r.news
		r.mu.RUnlock()
		if seen >= revision {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			last, err := r.latest(ctx)
			if err == nil && seen < last {
				err = fmt.Errorf("bucket %s is known up to revision %d, and has %d", streams.SubscriptionsBucket, seen, last)
			}
			return err
		}
	}
}

// CatchUp returns once everything is known here that was stored before.
func (r *Registry) CatchUp(ctx context.Context) error {
	last, err := r.latest(ctx)
	if err != nil {
		return err
	}
	return r.Await(ctx, last)
}

// ErrConflict says that there is a later request by now.
var ErrConflict = errors.New("asked anew in the meantime")
