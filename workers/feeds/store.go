package feeds

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// cacheControl lets caches serve a feed for a minute, and for five more while they ask for
	// a newer one.
	cacheControl = "public, max-age=60, stale-while-revalidate=300"
	// putAttempts bounds how often an object is looked at again because somebody else wrote it:
	// workers do not contend for a feed, but one may take over from another.
	putAttempts = 4

	// Names of the objects' metadata.
	metaRevision = "loa-revision"
	metaForm     = "loa-form"
)

// errOvertaken says that what is stored was rendered from a later state of the index.
var errOvertaken = errors.New("a later rendering is stored already")

// stamp says what an object was rendered from: which state of the index, in which form.
type stamp struct {
	revision uint64
	form     string
}

// mark is what is known of one stored object.
type mark struct {
	stamp
	etag string // empty: there is no object
	seen bool   // false: nothing is known
}

// marks are what is known of a feed.
type marks struct {
	objects [formatCount]mark
	// told is set once [Options.Level] has been told of what is stored. A worker that knows
	// nothing tells again: the one before it may have died just then.
	told bool
}

// show reports whether all objects have the stamp.
func (m *marks) show(s stamp) bool {
	for _, one := range m.objects {
		if !one.seen || one.etag == "" || one.stamp != s {
			return false
		}
	}
	return true
}

// latest is the highest revision that an object has.
func (m *marks) latest() (revision uint64) {
	for _, one := range m.objects {
		revision = max(revision, one.revision)
	}
	return revision
}

// look gives the marks of a feed's objects: from memory, or else from the object store.
func (f *Feeds) look(ctx context.Context, feed Feed) (*marks, error) {
	m := f.marks.get(feed.ID)
	for i, format := range formats {
		if m.objects[i].seen {
			continue
		}
		var err error
		if m.objects[i], err = f.stat(ctx, feed.object(format.name)); err != nil {
			return nil, err
		}
	}
	f.marks.put(feed.ID, m)
	return &m, nil
}

func (f *Feeds) stat(ctx context.Context, key string) (mark, error) {
	info, err := f.objects.Stat(ctx, key)
	if errors.Is(err, objects.ErrNotFound) {
		return mark{seen: true}, nil
	}
	if err != nil {
		return mark{}, err
	}
	// An object that is not ours reads as revision 0, and is replaced.
	revision, _ := strconv.ParseUint(info.User[metaRevision], 10, 64)
	return mark{stamp{revision, info.User[metaForm]}, info.ETag, true}, nil
}

// store renders the index, which this worker has claimed, and stores every format. It returns
// how many bytes it stored. m is what is known of the objects; what is learned is remembered.
func (f *Feeds) store(ctx context.Context, feed Feed, ix *index, show view, m *marks) (int, error) {
	into := f.pages.Get().(*pages)
	docs, err := f.catalog.renderInto(into, feed, ix, show.items, show.gone)
	if err != nil {
		return 0, err
	}
	now := stamp{ix.Revision, ix.Form}
	m.told = false
	var stored atomic.Int64
	var g errgroup.Group // one that fails leaves the others to end: a write cut short may have happened
	for i := range formats {
		g.Go(func() error {
			f.metrics.renders.WithLabelValues(formats[i].label).Inc()
			f.metrics.bytes.WithLabelValues(formats[i].label).Observe(float64(len(docs[i])))
			n, err := f.put(ctx, feed.object(formats[i].name), formats[i].contentType, docs[i], now, &m.objects[i])
			stored.Add(int64(n))
			return err
		})
	}
	if err = g.Wait(); err == nil { // else a request that was given up may still read them
		f.pages.Put(into)
	}
	f.marks.put(feed.ID, *m)
	if stored.Load() > 0 {
		f.changed(feed, ix.Revision)
	}
	return int(stored.Load()), err
}

// changed tells those who hold copies of the feed's objects. Whoever is not reached asks for newer
// ones all the same, only later.
func (f *Feeds) changed(feed Feed, revision uint64) {
	err := f.js.Conn().Publish(streams.ChangedFeed(feed.ID), strconv.AppendUint(nil, revision, 10))
	if err != nil {
		f.events.Warn().Err(err).Str("target", feed.ID).Msg("change of a feed not told")
	}
}

// tell says that the feed's objects changed, if that has not been said.
func (f *Feeds) tell(ctx context.Context, feed Feed) error {
	m := f.marks.get(feed.ID)
	if m.told || f.announce == nil {
		return nil
	}
	if err := f.announce(ctx, feed.ID); err != nil {
		return fmt.Errorf("tell that it changed: %w", err)
	}
	m.told = true
	f.marks.put(feed.ID, m)
	return nil
}

// put stores one document over what m says is there, or over anything of an earlier revision
// that it finds instead.
func (f *Feeds) put(ctx context.Context, key, contentType string, body []byte, now stamp, m *mark) (int, error) {
	meta := objects.Meta{
		ContentType: contentType, CacheControl: cacheControl,
		User: map[string]string{metaRevision: strconv.FormatUint(now.revision, 10), metaForm: now.form},
	}
	for range putAttempts {
		if !m.seen {
			var err error
			if *m, err = f.stat(ctx, key); err != nil {
				return 0, err
			}
		}
		cond := objects.IfMatch(m.etag)
		switch {
		case m.etag == "":
			cond = objects.IfAbsent()
		case m.stamp == now:
			return 0, nil // the same bytes
		case m.revision > now.revision:
			return 0, fmt.Errorf("store %s of revision %d over %d: %w", key, now.revision, m.revision, errOvertaken)
		}
		*m = mark{} // until it is known what became of this
		etag, err := f.objects.PutIf(ctx, key, body, meta, cond)
		if err == nil {
			*m = mark{now, etag, true}
			return len(body), nil
		}
		if !errors.Is(err, objects.ErrPrecondition) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("store %s: it was changed %d times meanwhile: %w", key, putAttempts, errOvertaken)
}
