package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

// late is a change that archives may have to follow.
type late struct {
	change
	// stays is set where the feed shows the article, at a place that only archives have.
	stays bool
}

// note keeps what may be in archives of the changes, which are about to be applied.
func (h *held) note(changes []change) {
	for _, c := range changes {
		l := late{change: c, stays: c.shown != nil && (!h.above(c.shown.place) || h.below(c.shown.place))}
		if l.stays || len(h.Months) > 0 && (c.shown == nil || len(c.times) > 1) {
			h.old = append(h.old, l)
		}
	}
}

// archiving is what is to be done to a feed's archives. It is planned first, and changes nothing;
// it is carried out by a worker that has claimed the index. A crash in between leaves the index as
// it was, and what is planned again is what has not been done.
type archiving struct {
	f      *Feeds
	feed   Feed
	now    time.Time
	months []month // as they will be
	// archived is the index's Archived as it will be.
	archived *place
	// latest is the highest revision of what is stored of the archives that change.
	latest uint64
	lists  map[string]*heldMonth // by the month's name
	parts  map[string]*heldPart  // by the archive's name
	// shown are the withdrawn articles that were found.
	shown []change
}

// heldMonth is the list of a month's parts, with its place in the bucket.
type heldMonth struct {
	Parts    []span `json:"parts"`
	name     string
	revision uint64
	dirty    bool
	fresh    int // the part into which what is sealed goes; 0: a new one
}

// heldPart is a part with its place in the bucket.
type heldPart struct {
	part
	month    string
	number   int
	revision uint64
	dirty    bool
	mark     mark // what is known of the rendering that is stored
}

func (p *heldPart) name() string { return archiveName(p.month, p.number) }

// archive plans how the feed's archives follow what was applied to the index, which has not been
// trimmed. Nil: there is nothing to do.
func (f *Feeds) archive(ctx context.Context, feed Feed, h *held) (*archiving, error) {
	page := f.catalog.Page(feed)
	seal := h.unsealed(page)
	if len(seal) == 0 && len(h.old) == 0 && !h.anew {
		return nil, nil
	}
	a := &archiving{f: f, feed: feed, now: h.now, months: slices.Clone(h.Months), archived: h.Archived,
		lists: map[string]*heldMonth{}, parts: map[string]*heldPart{}}
	for _, l := range h.old {
		if err := a.follow(ctx, l); err != nil {
			return nil, err
		}
	}
	for _, r := range seal {
		if err := a.seal(ctx, r); err != nil {
			return nil, err
		}
		a.archived = &r.place
	}
	if h.anew {
		if err := a.check(ctx, h.Months); err != nil {
			return nil, err
		}
	}
	if err := a.relink(ctx, h.Months); err != nil {
		return nil, err
	}
	for _, c := range a.shown {
		h.before[c.key] = true
	}
	h.bury(a.shown)
	if len(seal) == 0 && !a.dirty() {
		return nil, nil
	}
	return a, a.look(ctx)
}

// leadsTo is the archive that the feed leads to, when what was planned has been done; a may be nil.
func (a *archiving) leadsTo(months []month) string {
	if a != nil {
		months = a.months
	}
	return latest(months)
}

func (a *archiving) dirty() bool {
	for _, p := range a.parts {
		if p.dirty {
			return true
		}
	}
	return false
}

// follow has the archives follow one change: wherever the article is, or ever was.
func (a *archiving) follow(ctx context.Context, l late) error {
	var there *heldPart // that holds it where it is now
	for _, t := range l.times {
		p, err := a.find(ctx, l.key, t)
		if err != nil {
			return err
		}
		if p == nil || p == there {
			continue
		}
		seq, live, _ := p.has(l.key)
		if seq > l.seq {
			return nil
		}
		here := l.shown != nil && t.Equal(l.shown.Published)
		if here {
			there = p
		}
		switch {
		case l.gone != nil:
			a.shown = append(a.shown, l.change)
			if live {
				a.set(p, l.change)
			}
		case !here:
			p.remove(l.key)
			a.touch(p)
		case seq < l.seq || !live:
			a.set(p, l.change)
		case p.Form != a.f.catalog.form(a.feed): // in which it was rendered
			a.touch(p)
		}
	}
	if l.stays && there == nil {
		return a.insert(ctx, l.change, false)
	}
	return nil
}

// seal puts an entry of the page, or beyond it, into the archives, if it is not there.
func (a *archiving) seal(ctx context.Context, r ref) error {
	p, err := a.find(ctx, r.Key, r.Published)
	if err != nil {
		return err
	}
	c := change{key: r.Key, seq: r.Seq, shown: &r}
	if p == nil {
		return a.insert(ctx, c, true)
	}
	if seq, live, _ := p.has(r.Key); seq < r.Seq || seq == r.Seq && !live {
		a.set(p, c)
	}
	return nil
}

func (a *archiving) set(p *heldPart, c change) {
	p.set(c)
	a.touch(p)
}

// touch notes that the part changes: what is over in it goes, too.
func (a *archiving) touch(p *heldPart) {
	p.dirty = true
	p.Gone = slices.DeleteFunc(p.Gone, func(g grave) bool { return !g.At.Add(a.f.catalog.settings.WithdrawnFor).After(a.now) })
}

// find gives the part that holds the article, published at a time; nil if none does.
func (a *archiving) find(ctx context.Context, key streams.Key, t time.Time) (*heldPart, error) {
	name := monthOf(t)
	m, err := a.list(ctx, name)
	if err != nil {
		return nil, err
	}
	for i, s := range m.Parts {
		if !s.covers(t) {
			continue
		}
		p, err := a.part(ctx, name, i+1)
		if err != nil {
			return nil, err
		}
		if _, _, ok := p.has(key); ok {
			return p, nil
		}
	}
	return nil, nil
}

// insert puts an article into a part: a new one, if it is sealed, or else one that has room.
func (a *archiving) insert(ctx context.Context, c change, sealed bool) error {
	t := c.shown.Published
	m, err := a.list(ctx, monthOf(t))
	if err != nil {
		return err
	}
	number := 0
	room := func(i int) bool { return i >= 0 && m.Parts[i].Entries < maxPart }
	switch covering := slices.IndexFunc(m.Parts, func(s span) bool { return s.covers(t) && s.Entries < maxPart }); {
	case covering >= 0:
		number = covering + 1
	case sealed && m.fresh > 0 && room(m.fresh-1):
		number = m.fresh
	case !sealed && room(len(m.Parts)-1):
		number = len(m.Parts)
	default:
		m.Parts = append(m.Parts, span{})
		number = len(m.Parts)
		if sealed {
			m.fresh = number
		}
		a.grow(m)
	}
	p, err := a.part(ctx, m.name, number)
	if err != nil {
		return err
	}
	if m.Parts[number-1].Entries == 0 {
		p.part = part{} // what an interrupted attempt left
	}
	m.Parts[number-1].add(t)
	m.dirty = true
	a.set(p, c)
	return nil
}

// grow has the months know how many parts one has.
func (a *archiving) grow(m *heldMonth) {
	i, ok := slices.BinarySearchFunc(a.months, m.name, func(m month, s string) int {
		return strings.Compare(m.Name, s)
	})
	if !ok {
		a.months = slices.Insert(a.months, i, month{Name: m.name})
	}
	a.months[i].Parts = len(m.Parts)
}

// check has the archives rendered again of which another rendering is stored than was, or none.
func (a *archiving) check(ctx context.Context, months []month) error {
	for _, m := range months {
		for number := range m.Parts {
			p, err := a.part(ctx, m.Name, number+1)
			if err != nil {
				return err
			}
			is, err := a.f.stat(ctx, a.feed.archive(p.name()))
			if err != nil {
				return err
			}
			switch {
			case is.etag == "" || is.stamp != stamp{p.Revision, p.Form}:
				a.touch(p)
			case !p.dirty:
				delete(a.parts, p.name()) // there may be many
			}
		}
	}
	return nil
}

// relink has the archives rendered again that lie beside new ones.
func (a *archiving) relink(ctx context.Context, before []month) error {
	had := map[string]int{}
	for _, m := range before {
		had[m.Name] = m.Parts
	}
	again := func(name string, part int) error {
		p, err := a.part(ctx, name, part)
		if err == nil && !p.dirty {
			a.touch(p)
		}
		return err
	}
	for i, m := range a.months {
		if m.Parts == had[m.Name] {
			continue
		}
		var err error
		switch {
		case had[m.Name] > 0:
			err = again(m.Name, had[m.Name])
		case i > 0:
			err = again(a.months[i-1].Name, a.months[i-1].Parts)
		}
		if err == nil && i+1 < len(a.months) {
			err = again(a.months[i+1].Name, 1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *archiving) list(ctx context.Context, name string) (*heldMonth, error) {
	if m := a.lists[name]; m != nil {
		return m, nil
	}
	m := &heldMonth{name: name}
	err := a.read(ctx, a.feed.ID+"."+name, m, &m.revision)
	if err != nil {
		return nil, err
	}
	a.lists[name] = m
	if len(m.Parts) > 0 {
		a.grow(m) // it may be ahead of the index, after a crash
	}
	return m, nil
}

func (a *archiving) part(ctx context.Context, month string, number int) (*heldPart, error) {
	name := archiveName(month, number)
	if p := a.parts[name]; p != nil {
		return p, nil
	}
	p := &heldPart{month: month, number: number}
	if err := a.read(ctx, partKey(a.feed, month, number), &p.part, &p.revision); err != nil {
		return nil, err
	}
	a.parts[name] = p
	return p, nil
}

func partKey(f Feed, month string, number int) string {
	return f.ID + "." + month + "." + strconv.Itoa(number)
}

// read reads a key of the bucket; what is not there leaves v as it is.
func (a *archiving) read(ctx context.Context, key string, v any, revision *uint64) error {
	data, r, err := streams.LatestValue(ctx, a.f.js, streams.ArchivesBucket, key)
	if err != nil {
		return err
	}
	*revision = r
	if data == nil {
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read the archives of %s: %w", key, err)
	}
	return nil
}

// look finds out what is stored of the archives that change.
func (a *archiving) look(ctx context.Context) error {
	for _, p := range a.parts {
		if !p.dirty {
			continue
		}
		if m := a.lists[p.month]; m != nil && m.revision == 0 {
			p.mark = mark{seen: true} // see clear
			continue
		}
		var err error
		if p.mark, err = a.f.stat(ctx, a.feed.archive(p.name())); err != nil {
			return err
		}
		a.latest = max(a.latest, p.mark.revision)
	}
	return nil
}

// archive is where an archive is stored.
func (f Feed) archive(name string) string { return f.object(archiveObject(name)) }

// carryOut stores what was planned, by the worker that has claimed the index. The rendering comes
// before the entries, these before the list, and all before the index: what is written of those
// is true of what comes before.
func (a *archiving) carryOut(ctx context.Context, h *held) (stored int, err error) {
	for _, m := range a.lists {
		if m.dirty && m.revision == 0 {
			if err := a.clear(ctx, m.name); err != nil {
				return stored, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.parts)) {
		p := a.parts[name]
		if !p.dirty {
			continue
		}
		n, err := a.storePart(ctx, h, p)
		stored += n
		if err != nil {
			return stored, fmt.Errorf("archive %s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.lists)) {
		if m := a.lists[name]; m.dirty {
			if err := a.write(ctx, a.feed.ID+"."+name, m, m.revision); err != nil {
				return stored, err
			}
		}
	}
	return stored, nil
}

// clear removes the archives of a month of which nothing is known: they are from before the state
// of NATS was lost, and may show what was withdrawn since.
func (a *archiving) clear(ctx context.Context, month string) error {
	for info, err := range a.f.objects.List(ctx, a.feed.object("archive/"+month)) {
		if err == nil {
			err = a.f.objects.Delete(ctx, info.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *archiving) storePart(ctx context.Context, h *held, p *heldPart) (int, error) {
	show, err := a.fill(ctx, p)
	if err != nil {
		return 0, err
	}
	now := stamp{h.Archives, a.f.catalog.form(a.feed)}
	p.Revision, p.Form = now.revision, now.form
	body, err := a.f.catalog.renderArchive(a.feed, h.Label, a.months, p, show)
	if err != nil {
		return 0, err
	}
	a.f.metrics.renders.WithLabelValues("archive").Inc()
	n, err := a.f.put(ctx, a.feed.archive(p.name()), formats[formatAtom].contentType, body, now, &p.mark)
	if err != nil {
		return n, err
	}
	return n, a.write(ctx, partKey(a.feed, p.month, p.number), p.part, p.revision)
}

// write writes a key of the bucket over the revision that was read.
func (a *archiving) write(ctx context.Context, key string, v any, revision uint64) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = a.f.archives.Update(ctx, key, data, revision)
	}
	if streams.IsConflict(err) {
		err = errMoved
	}
	if err != nil {
		return fmt.Errorf("write the archives of %s: %w", key, err)
	}
	return nil
}

// fill gives what the part shows, rendered. What it finds changed in the log it applies to the
// part, as far as that remains in its place; the rest follows by its own flag.
func (a *archiving) fill(ctx context.Context, p *heldPart) (view, error) {
	look := a.f.catalog.look(a.feed)
	loaded := map[streams.Key]*item{}
	for {
		show, wants := a.f.known(look, loaded, p.Refs, p.Gone)
		if len(wants) == 0 {
			return show, nil
		}
		err := a.f.read(ctx, wants, func(entries []streams.Entry) error {
			for _, e := range entries {
				c := a.f.catalog.change(a.feed, e)
				if seq, live, _ := p.has(e.Key); seq != c.seq || live != (c.shown != nil) {
					if c.shown != nil && !p.shows(e.Key, c.shown.Published) {
						c.shown = nil
					}
					p.set(c)
				}
				if e.Article == nil {
					continue
				}
				it, err := a.f.catalog.item(look, e.Article, e.Seq, formatAtom)
				if err != nil {
					return err
				}
				loaded[e.Key] = it
			}
			return nil
		})
		if err != nil {
			return view{}, err
		}
	}
}
