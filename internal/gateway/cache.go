package gateway

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/loa-syndication/loa/internal/objects"
)

const (
	// cacheBytes bounds what the cache of feeds holds, all variants counted: some 1,500 feeds of 50
	// summaries, or 200 with full bodies.
	cacheBytes = 64 << 20
	// entryBytes is what an entry costs beside its bodies; what does not exist costs as much.
	entryBytes = 1 << 10
	// maxFeed is the largest object, in bytes, that is taken for a feed: 50 entries of 512 KiB,
	// and what quoting adds.
	maxFeed = 64 << 20
	// freshFor is how long a feed is served without asking whether it is still right: a
	// reader learns of a change within it.
	freshFor = time.Second
	// staleFor is how long an entry is served while the store cannot be asked. The store's being
	// away keeps new versions from being stored too, so it is hardly ever behind.
	staleFor = time.Hour
	// staleWait is how long readers wait for a slow store when there is something to serve
	// without it; pause is then the time to the next attempt.
	staleWait = 2 * time.Second
	pause     = 3 * time.Second
	// loadTimeout bounds loading an object that is not in the cache.
	loadTimeout = 20 * time.Second
)

// errAbsent says that there is no such object.
var errAbsent = errors.New("no such object")

// cacheOptions are what tells one cache from another.
type cacheOptions struct {
	// what is held, for the log: "feeds".
	what string
	// make makes what is served of an object; old is what was served before, if that is still known.
	make func(o objects.Object, old *version) *version
	// limit is on the bytes of all, most on those of one object: larger ones are not loaded, and
	// give [objects.ErrTooLarge].
	limit, most int64
	// fresh is how long an entry is served without asking whether it is still right. That there is
	// no such object is asked again after freshFor.
	fresh time.Duration
}

// cache holds the objects that were asked for last, each right within a time.
type cache struct {
	cacheOptions
	objects Objects
	metrics cacheMetrics
	log     zerolog.Logger

	// flights has one question under way for an object, whoever waits for its answer.
	flights singleflight.Group

	mu      sync.Mutex // guards all below, entries included
	entries map[string]*list.Element
	order   list.List // of *entry, the one asked for last in front
	bytes   int64
	away    bool // the store could not be asked the last time
}

// entry is what is known of one object.
type entry struct {
	key string
	v   *version // nil: there was no such object
	// confirmed is when the question was sent that the store last answered with v.
	confirmed time.Time
	// until is when the store is asked again.
	until time.Time
	// told is when it was last said that the object had changed.
	told time.Time
	// asked is when a reader last asked for it.
	asked time.Time
	// size is what it counts for in the cache, in bytes.
	size int64
}

func newCache(o Objects, m cacheMetrics, log zerolog.Logger, options cacheOptions) *cache {
	return &cache{cacheOptions: options, objects: o, metrics: m, log: log, entries: make(map[string]*list.Element)}
}

// hit gives what is held of the object, if the store need not be asked; nil if it is not there.
func (c *cache) hit(key string, now time.Time) (v *version, stale time.Duration) {
	e, ok := c.lookup(key, now)
	if !ok || e.v == nil || !now.Before(e.until) {
		return nil, 0
	}
	v, stale, _ = c.answer(e, outcomeHit, now)
	return v, stale
}

// get gives the object, and how long ago it was known to be right if that is longer than it
// should be. The error is [errAbsent] or the store's.
func (c *cache) get(ctx context.Context, key string) (v *version, stale time.Duration, err error) {
	now := time.Now()
	if e, ok := c.lookup(key, now); ok && now.Before(e.until) {
		return c.answer(e, outcomeHit, now)
	}
	// Under no reader's own context: others may be waiting too.
	done := c.flights.DoChan(key, func() (any, error) { return c.refresh(key) })
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return nil, 0, result.Err
		}
		r := result.Val.(refreshed)
		return c.answer(r.entry, r.outcome, time.Now())
	}
}

func (c *cache) answer(e entry, outcome string, now time.Time) (*version, time.Duration, error) {
	stale := now.Sub(e.confirmed)
	switch {
	case e.v == nil:
		c.metrics.outcomes.WithLabelValues("missing").Inc()
		return nil, 0, errAbsent
	case outcome == "stale" || stale > c.fresh+staleWait:
		c.metrics.outcomes.WithLabelValues("stale").Inc()
		return e.v, stale, nil
	case outcome == outcomeHit:
		c.metrics.hit.Inc()
	default:
		c.metrics.outcomes.WithLabelValues(outcome).Inc()
	}
	return e.v, 0, nil
}

// outcomeHit is the usual outcome of looking for an object.
const outcomeHit = "hit"

// lookup gives the entry, which a reader asks for at the time.
func (c *cache) lookup(key string, asked time.Time) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[key]
	if !ok {
		return entry{}, false
	}
	c.order.MoveToFront(el)
	e := el.Value.(*entry)
	e.asked = asked
	return *e, true
}

// peek gives the entry to who is no reader.
func (c *cache) peek(key string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[key]; ok {
		return *el.Value.(*entry), true
	}
	return entry{}, false
}

// wantedFor is for how long an object that readers asked for is thought to be wanted by more.
const wantedFor = 5 * time.Second

// changed takes note that an object is another one now: whoever asks for it from now on gets that.
// It reports whether somebody is about to.
func (c *cache) changed(key string) (wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[key]
	if !ok {
		return false
	}
	e, now := el.Value.(*entry), time.Now()
	e.told, e.until = now, time.Time{}
	c.flights.Forget(key) // its question may have been sent before
	return now.Sub(e.asked) < wantedFor
}

// renew asks the store about an object that was changed, before a reader has to wait for it.
func (c *cache) renew(key string) {
	c.flights.Do(key, func() (any, error) { return c.refresh(key) }) // what went wrong, the next reader learns
}

type refreshed struct {
	entry   entry
	outcome string
}

// refresh asks the store about the object, and loads it if it is another one than is held.
func (c *cache) refresh(key string) (refreshed, error) {
	now := time.Now()
	old, have := c.peek(key)
	if have && now.Before(old.until) { // somebody was faster
		return refreshed{old, outcomeHit}, nil
	}
	have = have && old.v != nil && now.Sub(old.confirmed) < staleFor
	timeout := loadTimeout
	if have {
		timeout = staleWait
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	next := entry{key: key, confirmed: now, until: now.Add(c.fresh), told: old.told, asked: now}
	var err error
	outcome := "loaded"
	if have && !old.told.After(old.confirmed) { // else it is another one, and need not be asked about
		var info objects.Info
		if info, err = c.objects.Stat(ctx, key); err == nil && info.ETag == old.v.stored {
			next.v, outcome = old.v, "confirmed"
		}
	}
	if err == nil && next.v == nil {
		next.v, err = c.load(ctx, key, old.v)
	}
	switch {
	case err == nil, errors.Is(err, objects.ErrNotFound):
		c.back()
		if next.v == nil {
			next.until = now.Add(freshFor)
		}
		c.put(next)
		return refreshed{next, outcome}, nil
	case errors.Is(err, objects.ErrTooLarge):
		return refreshed{}, err
	case have:
		c.lost(err)
		old.until = time.Now().Add(pause)
		c.put(old)
		return refreshed{old, "stale"}, nil
	}
	c.metrics.outcomes.WithLabelValues("failed").Inc()
	return refreshed{}, err
}

// load reads the object. One of the same content as before keeps the time at which that was
// first seen: Last-Modified moves with the content alone.
func (c *cache) load(ctx context.Context, key string, old *version) (*version, error) {
	o, err := c.objects.Get(ctx, key, c.most)
	if err != nil {
		return nil, err
	}
	if old != nil && old.stored == o.ETag {
		return old, nil
	}
	v := c.make(o, old)
	if old != nil && old.plain.tag == v.plain.tag {
		v.setModified(old.modified)
	}
	return v, nil
}

// put makes the entry the one that was asked for last, and drops others until all fit. An answer to
// a question that was sent before another's, which is known already, counts no more; one to a
// question sent before the object changed counts for those alone who asked it.
func (c *cache) put(e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[e.key]; ok {
		held := el.Value.(*entry)
		if held.confirmed.After(e.confirmed) {
			return
		}
		if held.told.After(e.confirmed) && e.told != held.told {
			e.told, e.until = held.told, time.Time{}
		}
		e.asked = held.asked
		c.remove(el)
	}
	e.size = entryBytes
	if e.v != nil {
		e.size += e.v.size()
	}
	c.entries[e.key] = c.order.PushFront(&e)
	c.bytes += e.size
	for c.bytes > c.limit {
		c.remove(c.order.Back())
	}
	c.metrics.bytes.Set(float64(c.bytes))
}

// remove is called with mu held.
func (c *cache) remove(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.size
}

// lost and back log the store's going and coming once, not for every request.
func (c *cache) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.away {
		c.log.Warn().Err(err).Dur("at_most", staleFor).Msg("object store away: " + c.what + " are served as they were")
	}
	c.away = true
}

func (c *cache) back() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		c.log.Info().Str("for", c.what).Msg("object store back")
	}
	c.away = false
}
