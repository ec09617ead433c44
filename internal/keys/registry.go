package keys

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	keyPrefix  = "key."
	usedPrefix = "used."

	// lookEvery is how often the registry looks whether the connection was lost, and the bucket has
	// to be read again.
	lookEvery = 200 * time.Millisecond
	// useEvery is how exactly it is recorded when a key was used last: one write a minute, whatever
	// its requests. Uses are written in rounds.
	useEvery = time.Minute
	useRound = 5 * time.Second
	// loadTimeout bounds the reading of the bucket: 50,000 keys take a second.
	loadTimeout = 15 * time.Second
	// lastUses bounds the writing of what was used, at the end.
	lastUses = 2 * time.Second
)

// Registry knows the keys as they are in the bucket, whoever writes there.
type Registry struct {
	kv  jetstream.KeyValue
	js  jetstream.JetStream
	log zerolog.Logger

	watcher jetstream.KeyWatcher // the goroutine's alone, once it runs
	stop    context.CancelFunc
	done    chan struct{}

	mu   sync.RWMutex
	keys map[string]stored
	used map[string]use
	// reconnects is the connection's count as of which the bucket was read.
	reconnects uint64
}

// use is when a key was used last, and what of it is in the bucket.
type use struct{ at, written time.Time }

// Open reads the keys and follows them until [Registry.Close].
func Open(ctx context.Context, js jetstream.JetStream, log zerolog.Logger) (*Registry, error) {
	kv, err := js.KeyValue(ctx, streams.KeysBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.KeysBucket, err)
	}
	r := &Registry{kv: kv, js: js, log: log, done: make(chan struct{}), used: map[string]use{}}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	// Following outlives the start, which is what ctx is for.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.follow(following)
	return r, nil
}

// Close ends the following, and records what was used since the last round.
func (r *Registry) Close() {
	r.stop()
	<-r.done
}

// load reads the whole bucket through a new watcher, and goes on with it.
func (r *Registry) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	reconnects := r.js.Conn().Stats().Reconnects // before it is read: what changes later is seen
	watcher, err := r.kv.WatchAll(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.KeysBucket, err)
	}
	var all []jetstream.KeyValueEntry
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return fmt.Errorf("read bucket %s: connection lost", streams.KeysBucket)
			}
			if e != nil {
				all = append(all, e)
				continue
			}
		case <-ctx.Done():
			_ = watcher.Stop() // fails only when the connection is gone
			return fmt.Errorf("read bucket %s: %w", streams.KeysBucket, ctx.Err())
		}
		break
	}
	if r.watcher != nil {
		_ = r.watcher.Stop()
	}
	r.watcher = watcher
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.reconnects = map[string]stored{}, reconnects
	for _, e := range all {
		r.accept(e)
	}
	return nil
}

// follow keeps the registry as the bucket is.
func (r *Registry) follow(ctx context.Context) {
	defer close(r.done)
	look, round := time.NewTicker(lookEvery), time.NewTicker(useRound)
	defer look.Stop()
	defer round.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = r.watcher.Stop()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUses)
			defer cancel()
			r.writeUses(last, 0)
			return
		case e, ok := <-r.watcher.Updates():
			switch {
			case !ok: // the watcher ended with its connection: nothing is known until it is read again
				r.mu.Lock()
				r.reconnects = lost
				r.mu.Unlock()
				select {
				case <-look.C:
				case <-ctx.Done():
				}
				r.reload(ctx)
			case e != nil:
				r.mu.Lock()
				r.accept(e)
				r.mu.Unlock()
			}
		case <-look.C:
			if r.js.Conn().IsConnected() && !r.current() {
				r.reload(ctx)
			}
		case <-round.C:
			r.writeUses(ctx, useEvery)
		}
	}
}

// lost is no connection's count.
const lost = ^uint64(0)

func (r *Registry) reload(ctx context.Context) {
	if err := r.load(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn().Err(err).Msg("keys not read again yet")
	}
}

// current reports whether what is known is what NATS says, or would have said.
func (r *Registry) current() bool {
	nc := r.js.Conn()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return nc.IsConnected() && nc.Stats().Reconnects == r.reconnects
}

// accept takes in an entry of the bucket; the caller holds r.mu.
func (r *Registry) accept(e jetstream.KeyValueEntry) {
	gone := e.Operation() != jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), usedPrefix); ok && !gone {
		if at, err := time.Parse(time.RFC3339, string(e.Value())); err == nil {
			u := r.used[id]
			u.written = latest(u.written, at)
			u.at = latest(u.at, at)
			r.used[id] = u
		}
	}
	id, ok := strings.CutPrefix(e.Key(), keyPrefix)
	if !ok {
		return
	}
	delete(r.keys, id)
	if gone {
		return
	}
	s, err := decode(id, e.Value())
	if err != nil {
		r.log.Error().Err(err).Msg("key opens nothing, its entry cannot be used")
		return
	}
	r.keys[id] = s
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Verify gives the key of the kind whose text is given, and notes that it was used. The error is
// [ErrUnknown] for whatever is not one, and [ErrUnavailable] while that cannot be told.
func (r *Registry) Verify(text, kind string) (Key, error) {
	if !r.current() {
		return Key{}, ErrUnavailable
	}
	id, formed := idOf(text)
	r.mu.RLock()
	s := r.keys[id] // of an id that is none, the zero one, which nothing opens
	r.mu.RUnlock()
	if len(text) > maxText {
		text = ""
	}
	// What is compared does not depend on what was found, so that the time tells nothing either.
	opened := s.opens(text)
	if !formed || !opened || s.Revoked != nil || s.Kind != kind {
		return Key{}, ErrUnknown
	}
	now := time.Now().UTC()
	r.mu.Lock()
	u := r.used[id]
	u.at = now
	r.used[id] = u
	r.mu.Unlock()
	return s.Key, nil
}

// Valid reports whether the key with that id opens what it did: for those who serve one request
// for long.
func (r *Registry) Valid(id string) bool {
	if !r.current() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.keys[id]
	return ok && s.Revoked == nil
}

// writeUses records when keys were used that were last recorded longer ago than that.
func (r *Registry) writeUses(ctx context.Context, than time.Duration) {
	due := map[string]time.Time{}
	r.mu.RLock()
	for id, u := range r.used {
		if u.at.Truncate(time.Second).After(u.written) && u.at.Sub(u.written) >= than {
			due[id] = u.at.Truncate(time.Second)
		}
	}
	r.mu.RUnlock()
	for id, at := range due {
		if _, err := r.kv.PutString(ctx, usedPrefix+id, at.Format(time.RFC3339)); err != nil {
			if ctx.Err() == nil {
				r.log.Warn().Err(err).Str("key", id).Msg("last use of a key not recorded yet")
			}
			return
		}
		r.mu.Lock()
		u := r.used[id]
		u.written = latest(u.written, at)
		r.used[id] = u
		r.mu.Unlock()
	}
}

// All gives the keys, the oldest first.
func (r *Registry) All() []Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Key, 0, len(r.keys))
	for s := range maps.Values(r.keys) {
		all = append(all, s.Key)
	}
	slices.SortFunc(all, func(a, b Key) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Get gives the key with that id, or [ErrNotFound].
func (r *Registry) Get(id string) (Key, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.keys[id]
	if !ok {
		return Key{}, fmt.Errorf("key %q: %w", id, ErrNotFound)
	}
	return s.Key, nil
}

// LastUse is when the key was used last, as far as is recorded; the zero time, if it never was.
func (r *Registry) LastUse(id string) time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.used[id].at
}

// Add makes a key that allows what k says, and gives it with its text, which is not stored. The
// tree is that of the sites which it names; nil where it is not known.
func (r *Registry) Add(ctx context.Context, k Key, tree *site.Tree, by string) (Key, secret.Secret, error) {
	k = k.canonical()
	if err := k.validate(tree); err != nil {
		return Key{}, "", err
	}
	r.mu.RLock()
	n := len(r.keys)
	r.mu.RUnlock()
	if n >= maxKeys {
		return Key{}, "", fmt.Errorf("add a key: there are %d, which is as many as there may be", n)
	}
	var text secret.Secret
	k.ID, text = random()
	k.Created, k.By, k.Revoked = time.Now().UTC().Truncate(time.Second), by, nil
	hash := sha256.Sum256([]byte(text.Reveal()))
	data, err := json.Marshal(stored{Key: k, Hash: hex.EncodeToString(hash[:])})
	if err == nil {
		_, err = r.kv.Create(ctx, keyPrefix+k.ID, data)
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("store key %s: %w", k.ID, err)
	}
	return k, text, nil
}

// Revoke ends a key for good. One that was revoked before stays as it is.
func (r *Registry) Revoke(ctx context.Context, id, by string) (Key, error) {
	if !idForm.MatchString(id) {
		return Key{}, fmt.Errorf("key %q: %w", id, ErrNotFound)
	}
	data, revision, err := streams.LatestValue(ctx, r.js, streams.KeysBucket, keyPrefix+id)
	if err != nil {
		return Key{}, err
	}
	if data == nil {
		return Key{}, fmt.Errorf("key %q: %w", id, ErrNotFound)
	}
	s, err := decode(id, data)
	if err != nil || s.Revoked != nil {
		return s.Key, err
	}
	s.Revoked = &Revocation{At: time.Now().UTC().Truncate(time.Second), By: by}
	if data, err = json.Marshal(s); err == nil {
		_, err = r.kv.Update(ctx, keyPrefix+id, data, revision)
	}
	if streams.IsConflict(err) {
		return Key{}, fmt.Errorf("revoke key %s: changed by another in the meantime, try again", id)
	}
	if err != nil {
		return Key{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	return s.Key, nil
}
