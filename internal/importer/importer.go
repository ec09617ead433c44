// Package importer brings articles from where they are into Loa: from a feed, a WordPress site or a
// folder of files.
//
//	source ──items──▶ Importer ──events──▶ EVENTS ──▶ intake ──▶ the log
//
// A source gives items, which are articles without a version. The importer looks up what is there
// of each, in the log or in the inbox on its way there, and publishes an event only if the item says
// something else: with the next version, by the publisher that every CMS uses. So it holds no state of its own: a
// run that was killed is repeated, a repeated run sends nothing, and two runs at once do no
// harm. That the times of an item moved, and nothing else, is no change: many portals write the time of
// the request into their feeds.
//
// What cannot be imported is set aside with a word about why, and the rest goes on. An article that was
// withdrawn in Loa stays so, unless the importer itself withdrew it.
package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
)

// Item is one article as its source has it.
type Item struct {
	// Article has no version yet, and no time of publication where the source gives none. Of an
	// item that is gone, only site and id count.
	Article events.Article
	// Where the item is: an address or a file, for people.
	Where string
	// Gone is there when the source says that it took the article back.
	Gone *Gone
	// Problem says why the item cannot be imported; "" when it can.
	Problem string
	// Converted is the encoding that its text was converted from; "" for Unicode.
	Converted string
}

// Gone says that an article was taken back.
type Gone struct {
	When   time.Time // zero when it is not known
	Reason string
}

// Outcome is what became of an item.
type Outcome string

const (
	Imported  Outcome = "imported" // for the first time
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	Withdrawn Outcome = "withdrawn" // because its source took it back
	// Kept is an item that was withdrawn in Loa, and stays so.
	Kept     Outcome = "kept withdrawn"
	SetAside Outcome = "set aside"
)

// Outcomes lists them, in the order of a summary.
func Outcomes() []Outcome {
	return []Outcome{Imported, Updated, Unchanged, Withdrawn, Kept, SetAside}
}

// Result is an item's outcome.
type Result struct {
	Item    Item
	Outcome Outcome
	Version int64  // that was published, or is there
	Reason  string // why it was set aside or kept
	// Undated is set when the article has the time of its import, because its source gave none.
	Undated bool
}

const (
	// ahead is how far in the future an article may be dated: further, day and month were taken for
	// each other, or its portal's clock is wrong. It would lead every feed until then.
	ahead = 36 * time.Hour
	// goneReason is what readers are told of an article that its source took back without a word.
	goneReason = "Nguồn đã gỡ bài."
)

// Options are what an [Importer] works with. JS, Log and Source are required.
type Options struct {
	JS  jetstream.JetStream
	Log *streams.Log
	// Source names, as a URI, where the items come from: the events' "source".
	Source string
	// DryRun publishes nothing.
	DryRun bool
	// Restore brings articles back that were withdrawn in Loa.
	Restore bool
	// Dated sets items aside that name no time of publication; else they have that of their import, and
	// lead the feeds.
	Dated bool
	// Limit ends a run after as many items; 0: none.
	Limit int
	// Report is told of every item's outcome.
	Report func(Result)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Importer imports items.
type Importer struct {
	o         Options
	inbox     jetstream.Stream
	publisher *events.Publisher
	counts    map[Outcome]int
}

// New makes an importer.
func New(ctx context.Context, o Options) (*Importer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(Result) {}
	}
	inbox, err := o.JS.Stream(ctx, streams.Events)
	if err != nil {
		return nil, fmt.Errorf("open the stream of events: %w", err)
	}
	return &Importer{o: o, inbox: inbox, publisher: events.NewPublisher(o.JS), counts: map[Outcome]int{}}, nil
}

// Count is how many items had the outcome so far.
func (im *Importer) Count(o Outcome) int { return im.counts[o] }

// Run imports all items of a source. The error is the source's, or Loa's; what was imported until then is.
func (im *Importer) Run(ctx context.Context, items iter.Seq2[Item, error]) error {
	n := 0
	for item, err := range items {
		if err != nil {
			return err
		}
		if err := im.Import(ctx, item); err != nil {
			return err
		}
		if n++; n == im.o.Limit {
			return nil
		}
	}
	return ctx.Err()
}

// Import imports one item. An error is no fault of the item.
func (im *Importer) Import(ctx context.Context, item Item) error {
	r := Result{Item: item}
	var err error
	switch {
	case item.Problem != "":
		r.Outcome, r.Reason = SetAside, item.Problem
	case item.Gone != nil:
		err = im.withdraw(ctx, &r)
	default:
		err = im.publish(ctx, &r)
	}
	var refused *events.RefusedError
	if errors.As(err, &refused) {
		r.Outcome, r.Reason, err = SetAside, refused.Reason, nil
	}
	if err != nil {
		return &LoaError{Where: item.Where, Err: err}
	}
	if r.Outcome != "" {
		im.counts[r.Outcome]++
		im.o.Report(r)
	}
	return nil
}

// LoaError says that an item could not be imported, and that Loa, not its source, is at fault.
type LoaError struct {
	Where string
	Err   error
}

func (e *LoaError) Error() string { return fmt.Sprintf("import %s: %v", e.Where, e.Err) }

func (e *LoaError) Unwrap() error { return e.Err }

// known is what is there of an article.
type known struct {
	version   int64 // 0: nothing
	digests   []string
	live      bool
	source    string // of the newest event, while that is kept
	published time.Time
	updated   *time.Time
}

// known looks an article up: in the log, and in the inbox, where a newer event may wait to be taken in.
func (im *Importer) known(ctx context.Context, site, id string) (known, error) {
	var k known
	key := streams.KeyOf(site, id)
	cur, err := im.o.Log.Latest(ctx, key)
	switch {
	case err == nil:
		updated := cur.Updated
		k = known{version: cur.Number, digests: cur.Digests, live: cur.Live(), published: cur.Published, updated: &updated}
	case !errors.Is(err, streams.ErrNotFound):
		return k, err
	}
	m, err := im.inbox.GetLastMsgForSubject(ctx, events.Subject(site, id))
	if streams.IsGone(err) {
		return k, nil
	}
	if err != nil {
		return k, fmt.Errorf("read the last event about %s/%s: %w", site, id, err)
	}
	e, err := events.Parse(m.Header, m.Data)
	if err != nil || e.Version() < k.version {
		return k, nil // it never was taken in, and the log says what is there
	}
	k.source = e.Source
	if e.Version() > k.version || e.Article != nil && slices.Contains(k.digests, e.Digest) {
		k.version, k.digests, k.live = e.Version(), append(k.digests, e.Digest), e.Article != nil
		if e.Article != nil {
			k.published, k.updated = e.Article.Published, e.Article.Updated
		}
	}
	return k, nil
}

// publish publishes an item, if it is not there as it is.
func (im *Importer) publish(ctx context.Context, r *Result) error {
	a := r.Item.Article
	k, err := im.known(ctx, a.Site, a.ID)
	if err != nil {
		return err
	}
	now := im.o.Now()
	if a.Published.After(now.Add(ahead)) {
		r.Outcome, r.Reason = SetAside, fmt.Sprintf("it is dated in the future, %s: were day and month taken for each other?", a.Published.Format("02/01/2006 15:04"))
		return nil
	}
	if a.Published.IsZero() {
		if k.version == 0 && im.o.Dated {
			r.Outcome, r.Reason = SetAside, "it names no time of publication"
			return nil
		}
		if a.Published = k.published; k.version == 0 {
			a.Published = now.Truncate(time.Second)
			r.Undated = true
		}
	}
	if a.Updated != nil && (!a.Updated.After(a.Published) || a.Updated.After(now.Add(ahead))) {
		a.Updated = nil
	}
	r.Version = k.version
	if k.version > 0 && k.live && k.same(im.o.Source, a) {
		r.Outcome = Unchanged
		return nil
	}
	if k.version > 0 && !k.live && k.source != im.o.Source && !im.o.Restore {
		r.Outcome, r.Reason = Kept, "it was withdrawn in Loa"
		return nil
	}
	a.Version = k.version + 1
	if err := im.send(ctx, events.NewPublished(im.o.Source, a)); err != nil {
		return err
	}
	if r.Outcome, r.Version = Updated, a.Version; k.version == 0 {
		r.Outcome = Imported
	}
	return nil
}

// same reports whether an article is there as it is, but for its times.
func (k known) same(source string, a events.Article) bool {
	a.Version = k.version
	for _, published := range []time.Time{a.Published, k.published} {
		for _, updated := range []*time.Time{a.Updated, nil, k.updated} {
			a.Published, a.Updated = published, updated
			if slices.Contains(k.digests, events.NewPublished(source, a).Digest) {
				return true
			}
		}
	}
	return false
}

// withdraw withdraws what its source took back, if it is there.
func (im *Importer) withdraw(ctx context.Context, r *Result) error {
	site, id := r.Item.Article.Site, r.Item.Article.ID
	k, err := im.known(ctx, site, id)
	if err != nil || k.version == 0 || !k.live {
		return err // nothing to report: it never was here
	}
	w := events.Withdrawal{Site: site, ID: id, Version: k.version + 1, Reason: r.Item.Gone.Reason, Status: events.WithdrawnGone, WithdrawnAt: r.Item.Gone.When}
	if w.Reason = strings.TrimSpace(w.Reason); w.Reason == "" {
		w.Reason = goneReason
	}
	if now := im.o.Now(); w.WithdrawnAt.IsZero() || w.WithdrawnAt.After(now) {
		w.WithdrawnAt = now.Truncate(time.Second)
	}
	if err := im.send(ctx, events.NewWithdrawn(im.o.Source, w)); err != nil {
		return err
	}
	r.Outcome, r.Version = Withdrawn, w.Version
	return nil
}

// send publishes an event, or, in a dry run, finds what is wrong with it.
func (im *Importer) send(ctx context.Context, e events.Event) error {
	if !im.o.DryRun {
		_, err := im.publisher.Publish(ctx, e)
		return err
	}
	data, err := e.MarshalJSON()
	if err == nil {
		_, err = events.Parse(nil, data)
	}
	if err != nil {
		return &events.RefusedError{EventID: e.ID, Reason: err.Error(), Err: err}
	}
	return nil
}
