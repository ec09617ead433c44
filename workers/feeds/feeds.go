// Package feeds keeps every feed level with the log.
//
//	flags of a feed ──▶ its index ──▶ feeds/<feed>/feed.rss, feed.atom, feed.json
//	                       ▲     └──▶ feeds/<feed>/archive/<yyyy-mm>.atom, <yyyy-mm>-2.atom, …
//	       the log ────────┘
//
// For each site there is a feed of what it publishes, one for each of its categories, tags and
// authors, for what is urgent, for the whole subtree under it, and for the pictures in its gallery;
// and there are custom ones, of what a filter selects (see [Catalog]). A feed's index is the list of
// its newest entries, kept in the bucket "feeds". [Feeds.Reconcile] takes all of a feed's waiting flags,
// applies the articles they name, as the log holds them now, to the index, renders every
// format once, and stores the results. What did not change is not written again.
//
// The order of the writes is what makes a crash harmless. The index comes first, by
// compare-and-set, under a new revision: that claims the right to render it. The objects
// follow, each only over the one that was there (If-Match), and each carries the revision it
// shows. So
//
//   - a worker that dies in between leaves objects of an older revision than the index's, which
//     the flags, handed out again, find, although they change the index no more;
//   - a worker that was overtaken while it slept cannot claim, if it has not yet, and cannot
//     store: what it meant to replace is no longer there, and what is there has a later revision.
//
// Rendering is a function of the index, the versions that it names, and the settings: the same
// bytes at every time and in every process. Before it, entries whose article has changed
// again are brought up to date in the index too, so that what is shown is what the index says.
//
// What falls off the page of a site's, a subtree's or a category's feed stays in its archives, by
// month (RFC 5005), which the bucket "archives" describes. They are written after the claim and
// before the objects of the feed, so that at every time all is in the one or the other.
//
// A withdrawn article that was shown leaves a stub and a tombstone, which the index remembers;
// JetStream's scheduler says when their time is over (see [Feeds.Times]).
//
// An index also says by which settings it was made. Of those that the configuration has otherwise
// now, a flag of the key [Anew] is raised at the start (see [Indexes.Outdated]): they are rendered
// anew, and filled from the log where they select others.
//
// An index keeps some more entries than are shown. When withdrawals use them up although the
// log holds older articles, the log is walked, all of the feed's sites: the only step whose
// cost depends on the number of articles, taken once in a hundred and fifty withdrawals or fewer.
package feeds

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// FlagKind is the kind of the flags that this package reconciles.
	FlagKind = "feed"
	// Anew is the key of a flag that names no article: the configuration may have the feed
	// otherwise than it is, or the object store other documents than the worker left there.
	Anew = "anew"

	// batch is how many flags are taken at once, which is all that wait, as a rule.
	batch = 1000
	// defaultInterval is the shortest time between two renderings of a feed: a burst of events
	// costs one at its beginning and one a second, and no reader looks more often.
	defaultInterval = time.Second
	// readAtOnce is how many articles are held in memory for one feed at a time.
	readAtOnce = 100
	// itemCache is what rendered entries may take in memory, in bytes: a thousand or two of
	// usual size. A feed that misses them reads its page from the log, some milliseconds.
	itemCache = 24 << 20
	// markCache is for how many feeds it is remembered what is stored. The others cost three
	// questions to the object store.
	markCache = 10_000
)

// Options of [New].
type Options struct {
	JS      jetstream.JetStream
	Objects *objects.Store
	Catalog *Catalog
	// Interval is the shortest time between two renderings of one feed; 1 s when 0.
	Interval time.Duration
	// Level, if set, is told of every feed whose objects have been stored, before its flags are
	// lowered; now and then also of one that did not change: whoever announces feeds must not
	// miss one for a crash in between. An error keeps the flags up.
	Level   func(ctx context.Context, feed string) error
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Feeds is the reconciler of feeds. It may be used for many feeds at once, and for one feed in
// several processes, of which one at a time gets through.
type Feeds struct {
	js       jetstream.JetStream
	log      *streams.Log
	times    *streams.Schedule
	bucket   jetstream.KeyValue
	archives jetstream.KeyValue
	objects  *objects.Store
	catalog  *Catalog
	announce func(ctx context.Context, feed string) error
	interval time.Duration
	events   zerolog.Logger
	metrics  *metrics
	// items are rendered entries, by article and look.
	items *cache[itemKey, *item]
	marks *cache[string, marks] // by feed
	list  listing
	pages sync.Pool // of *pages
}

type itemKey struct {
	article streams.Key
	look    look
}

// New opens the log and the bucket that [streams.Setup] made.
func New(ctx context.Context, o Options) (*Feeds, error) {
	log, err := streams.OpenLog(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	bucket, err := o.JS.KeyValue(ctx, streams.FeedsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.FeedsBucket, err)
	}
	archives, err := o.JS.KeyValue(ctx, streams.ArchivesBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.ArchivesBucket, err)
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of feeds: %w", err)
	}
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	return &Feeds{
		js: o.JS, log: log, times: streams.NewSchedule(o.JS), archives: archives, bucket: bucket, objects: o.Objects, catalog: o.Catalog,
		announce: o.Level, interval: o.Interval, events: o.Log, metrics: m,
		items: newCache[itemKey](itemCache, (*item).size),
		marks: newCache[string](markCache, func(marks) int { return 1 }),
		pages: sync.Pool{New: func() any { return new(pages) }},
	}, nil
}

// Limits has all waiting flags of a feed taken together, one run at a time.
func (f *Feeds) Limits(target string) reconcile.Limits {
	return reconcile.Limits{InFlight: 1, Batch: batch, Queue: batch, Interval: f.interval}
}

// Reconcile implements [reconcile.Reconciler]. Every error is of our own kind (NATS or S3 away,
// another worker ahead), which passes; the flags wait.
func (f *Feeds) Reconcile(ctx context.Context, target string, flags []reconcile.Flag) error {
	feed, ok := f.catalog.Parse(target)
	if !ok {
		return f.drop(ctx, target)
	}
	began := time.Now()
	anew := slices.ContainsFunc(flags, func(flag reconcile.Flag) bool { return flag.Key == Anew })
	if anew {
		f.marks.put(feed.ID, marks{told: f.marks.get(feed.ID).told})
	}
	m, err := f.look(ctx, feed) // before the index, which is written first: see level
	if err != nil {
		return err
	}
	h, err := f.readIndex(ctx, feed.ID)
	if err != nil {
		return err
	}
	h.anew = anew
	stored, err := f.level(ctx, feed, h, m, f.wants(target, flags))
	switch took := time.Since(began); {
	case err != nil:
		return fmt.Errorf("level feed %s: %w", feed.ID, err)
	case stored == 0:
		f.metrics.unchanged.Inc()
		f.events.Debug().Str("target", feed.ID).Int("flags", len(flags)).Dur("took", took).Msg("feed unchanged")
	default:
		f.metrics.seconds.Observe(took.Seconds())
		f.events.Info().Str("target", feed.ID).Uint64("revision", h.Revision).Int("flags", len(flags)).
			Int("entries", len(h.page(f.catalog.Page(feed)))).Int("bytes", stored).Dur("took", took).Msg("feed rendered")
	}
	return nil
}

// level brings the index level with the log, and the objects with the index. It returns how
// many bytes were stored. m is what is known of the objects.
func (f *Feeds) level(ctx context.Context, feed Feed, h *held, m *marks, wants []want) (stored int, err error) {
	lost := h.stored == nil && m.latest() > 0 // the index: there is none, and has been one
	if lost {
		h.before = keys{} // nothing says any more what was shown: it may have been all
		for _, w := range wants {
			h.before[w.key] = true
		}
		if feed.archived() { // nor what is to be taken out of these
			if err := f.dropArchives(ctx, feed); err != nil {
				return 0, err
			}
		}
	}
	page := f.catalog.Page(feed)
	before := h.face(page) + latest(h.Months)
	if err := f.reselect(ctx, feed, h); err != nil {
		return 0, err
	}
	if err := f.take(ctx, feed, h, wants); err != nil {
		return 0, err
	}
	var archives *archiving
	if feed.archived() {
		if archives, err = f.archive(ctx, feed, h); err != nil {
			return 0, err
		}
	}
	f.trim(feed, h)
	if h.stored == nil && len(h.Refs) == 0 && feed.Kind != OfCustom && !lost {
		return 0, nil // withdrawn before it was ever shown: there need be no feed
	}
	h.Form = f.catalog.form(feed)
	var show view
	face := func() string { return h.face(page) + archives.leadsTo(h.Months) }
	fresh := face() == before && !h.short(page) && m.show(stamp{h.Revision, h.Form})
	if !fresh {
		if show, err = f.load(ctx, feed, h); err != nil {
			return 0, err
		}
	}
	if err := f.schedule(ctx, feed, h); err != nil {
		return 0, err
	}
	changed := face() != before
	if changed && h.accepted.After(h.Updated) {
		h.Updated = h.accepted
	}
	if changed || h.stored == nil || m.latest() > h.Revision {
		// The objects are ahead when the bucket was lost, or restored from a backup. If they are
		// because this worker was overtaken, it cannot write the index.
		h.Revision = max(h.Revision, m.latest()) + 1
	}
	if archives != nil {
		h.Archives = max(h.Archives, archives.latest) + 1
	} else {
		h.Selection = f.catalog.selection(feed)
	}
	if err := f.writeIndex(ctx, feed, h); err != nil { // what is kept in reserve may have changed, too
		return 0, err
	}
	if archives != nil {
		n, err := archives.carryOut(ctx, h)
		if n > 0 {
			defer f.changed(feed, h.Revision)
		}
		if err != nil {
			return 0, err
		}
		h.Months, h.Archived, h.Selection = archives.months, archives.archived, f.catalog.selection(feed)
		if err := f.writeIndex(ctx, feed, h); err != nil {
			return 0, err
		}
	}
	if fresh {
		return 0, f.tell(ctx, feed)
	}
	if stored, err = f.store(ctx, feed, &h.index, show, m); err != nil {
		return 0, err
	}
	return stored, f.tell(ctx, feed)
}

// wants are the articles that flags name, each at least at the version that raised its flag.
func (f *Feeds) wants(target string, flags []reconcile.Flag) []want {
	var all []want
	for _, flag := range flags {
		if flag.Key == dueKey || flag.Key == Anew {
			continue
		}
		key, err := streams.ParseKey(flag.Key)
		if err != nil {
			f.events.Warn().Err(err).Str("target", target).Msg("flag of no article dropped")
			continue
		}
		all = append(all, want{key, flag.Seq})
	}
	return all
}
