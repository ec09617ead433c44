package portal

import (
	"cmp"
	"context"
	"errors"
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
	configPrefix = "config."
	statePrefix  = "state."
)

var (
	// ErrNotFound says that there is no portal of that name.
	ErrNotFound = errors.New("no such portal")
	// ErrConflict says that somebody else changed the entry in the meantime: read it again.
	ErrConflict = errors.New("changed by another in the meantime")
)

// Registry holds the portals' configurations and states, and keeps them as they are in the
// bucket, whoever writes there.
//
// A configuration that cannot be read is reported and kept apart ([Registry.Malformed]). Its
// portal is not called, but its flags are raised and wait: what is due to it must not be lost
// for a slip in an entry.
type Registry struct {
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	receipts jetstream.Stream
	tree     *site.Tree
	codec    codec
	log      zerolog.Logger

	watcher    jetstream.KeyWatcher
	closing    chan struct{}
	saveCtx    context.Context // ends a while after Close: what writes states stops then
	stopSaving func()
	work       sync.WaitGroup // the goroutines that watch and that write states

	mu        sync.RWMutex
	portals   map[string]Portal
	malformed map[string]error
	states    map[string]State
	seen      map[string]uint64 // the latest revision known of each key
	unsaved   map[string]State  // states not written yet; newer than states from the bucket
	saving    bool              // a goroutine writes unsaved
	stale     map[string]bool   // portals whose secrets have to be sealed anew
	listeners []func(name string)
	closed    bool
}

// Open reads the registry and watches it until [Registry.Close]. The tree is that of the sites
// which filters name.
//
// Secrets are kept sealed with the keys; with nil they are in clear, and those that are sealed
// cannot be used.
func Open(ctx context.Context, js jetstream.JetStream, tree *site.Tree, keys *secret.Keyring, log zerolog.Logger) (*Registry, error) {
	kv, err := js.KeyValue(ctx, streams.PortalsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.PortalsBucket, err)
	}
	receipts, err := js.Stream(ctx, streams.Receipts)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", streams.Receipts, err)
	}
	r := &Registry{
		js: js, kv: kv, receipts: receipts, tree: tree, codec: codec{keys}, log: log, closing: make(chan struct{}),
		portals: map[string]Portal{}, malformed: map[string]error{}, states: map[string]State{},
		seen: map[string]uint64{}, unsaved: map[string]State{}, stale: map[string]bool{},
	}
	r.saveCtx, r.stopSaving = context.WithCancel(context.Background())
	// The watcher must outlive the start, which is what ctx is for.
	if r.watcher, err = kv.WatchAll(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", streams.PortalsBucket, err)
	}
	for {
		select {
		case e, ok := <-r.watcher.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: connection lost", streams.PortalsBucket)
			}
			if e == nil { // all that was there
				r.work.Go(r.watch)
				return r, nil
			}
			r.accept(e)
		case <-ctx.Done():
			_ = r.watcher.Stop()
			return nil, fmt.Errorf("read bucket %s: %w", streams.PortalsBucket, ctx.Err())
		}
	}
}

// Close ends the watch, and tries to write the last states.
func (r *Registry) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	r.mu.Unlock()
	close(r.closing)
	last := time.AfterFunc(stateLast, r.stopSaving)
	_ = r.watcher.Stop() // fails only when the connection is gone
	r.work.Wait()
	last.Stop()
	r.stopSaving()
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

// accept takes an entry of the bucket in, unless it is older than what is known.
func (r *Registry) accept(e jetstream.KeyValueEntry) {
	gone := e.Operation() != jetstream.KeyValuePut
	if name, ok := strings.CutPrefix(e.Key(), configPrefix); ok {
		var p Portal
		var err error
		stale := false
		if !gone {
			p, stale, err = r.codec.decode(name, e.Value())
			p.Revision = e.Revision()
		}
		r.markStale(name, stale)
		r.set(name, p, e.Revision(), gone, err)
	}
	if name, ok := strings.CutPrefix(e.Key(), statePrefix); ok {
		r.acceptState(name, e.Value(), e.Revision(), gone)
	}
}

// set makes p the configuration of name as of a revision, and tells the listeners.
func (r *Registry) set(name string, p Portal, revision uint64, gone bool, fault error) {
	r.mu.Lock()
	if revision <= r.seen[configPrefix+name] {
		r.mu.Unlock()
		return
	}
	r.seen[configPrefix+name] = revision
	delete(r.portals, name)
	delete(r.malformed, name)
	switch {
	case fault != nil:
		r.malformed[name] = fault
	case !gone:
		r.portals[name] = p
	}
	listeners := r.listeners
	r.mu.Unlock()
	if fault != nil {
		r.log.Error().Err(fault).Str("portal", name).Msg("portal's configuration cannot be used, its bulletins wait")
	}
	for _, f := range listeners {
		f(name)
	}
}

// OnChange has f called with the name of every portal whose configuration changes from now on.
// f must not block, and must not call OnChange.
func (r *Registry) OnChange(f func(name string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(slices.Clip(r.listeners), f)
}

// Get gives a portal as it is now. The caller must not change what its slices and maps hold.
func (r *Registry) Get(name string) (Portal, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.portals[name]
	return p, ok
}

// All gives the portals by name.
func (r *Registry) All() []Portal {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.portals), func(a, b Portal) int { return cmp.Compare(a.Name, b.Name) })
}

// Malformed gives the faults of the entries that cannot be used, by the portal's name.
func (r *Registry) Malformed() map[string]error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.malformed)
}

// Names gives the names of all entries, malformed ones too.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := slices.AppendSeq(make([]string, 0, len(r.portals)+len(r.malformed)), maps.Keys(r.portals))
	return slices.AppendSeq(names, maps.Keys(r.malformed))
}

// Known reports whether there is an entry of that name, be it malformed.
func (r *Registry) Known(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.portals[name]
	return ok || r.malformed[name] != nil
}

// Waits reports whether bulletins wait for the portal rather than go to it one by one: it has a digest,
// or is paused or down.
func (r *Registry) Waits(name string) bool {
	p, ok := r.Get(name)
	return ok && (p.Digest != nil || p.Paused != nil || r.State(name).Down)
}

// Newest reports whether the portal's entry is of this revision, 0 for none. [Registry.Get] may
// give an older one for a moment, after another process has stored it anew.
func (r *Registry) Newest(ctx context.Context, name string, revision uint64) (bool, error) {
	data, stored, err := streams.LatestValue(ctx, r.js, streams.PortalsBucket, configPrefix+name)
	if err != nil {
		return false, err
	}
	if data == nil { // there never was one, or it is gone
		stored = 0
	}
	return stored == revision, nil
}

// Put stores a portal over the revision that p carries (0: there is none yet), and returns it
// as it is stored: with defaults filled in, and with a secret, if it had none. It fails with an
// [*InvalidError], or with [ErrConflict] when the entry is another by now.
func (r *Registry) Put(ctx context.Context, p Portal, by string) (Portal, error) {
	p.Filter = p.Filter.Canonical()
	if err := p.Validate(r.tree); err != nil {
		return Portal{}, err
	}
	p = p.withDefaults()
	if len(p.Secrets) == 0 {
		p.Secrets = []Secret{newSecret()}
	}
	p = p.changed(by)
	if p.Created.IsZero() {
		p.Created = p.Changed.At
	}
	data, err := r.codec.encode(p)
	if err != nil {
		return Portal{}, fmt.Errorf("store portal %q: %w", p.Name, err)
	}
	if err := r.store(ctx, &p, data, by); err != nil {
		return Portal{}, err
	}
	r.set(p.Name, p, p.Revision, false, nil)
	return p, nil
}

// store writes a portal, encoded, over the revision that it carries, and gives it its new one.
func (r *Registry) store(ctx context.Context, p *Portal, data []byte, by string) error {
	return r.recorded(ctx, p.Name, p.Revision, *p, by, func() (err error) {
		over := p.Revision
		if over == 0 {
			over, err = r.kv.Create(ctx, configPrefix+p.Name, data)
		} else {
			over, err = r.kv.Update(ctx, configPrefix+p.Name, data, over)
		}
		if err != nil {
			return fmt.Errorf("store portal %q: %w", p.Name, conflict(err))
		}
		p.Revision = over
		return nil
	})
}

// conflict makes an ErrConflict of what JetStream says when the expected revision is not there.
func conflict(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, jetstream.ErrKeyExists) || streams.IsConflict(err) {
		return ErrConflict
	}
	return err
}
