package portal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/streams"
)

// Janitor removes receipts that nobody needs any more. The newest of an article at a portal is not
// one of them, however old it is: by it a correction, years later, finds whoever shows the article.
// So it stays as long as the log may bring another version, which is for ever, and the portal is there.
//
// Several processes may sweep; what one has removed, the next does not find.
type Janitor struct {
	js       jetstream.JetStream
	receipts *Receipts
	portals  *Registry
	log      zerolog.Logger
	// AttemptsFor is how long former attempts are kept, which tell how the newest came about;
	// 30 days when 0.
	AttemptsFor time.Duration
	// RemovedFor is how long the receipts of a portal are kept that was removed, should it come
	// back under its name; 90 days when 0.
	RemovedFor time.Duration
}

const (
	// attemptsDefault is as long as the inbox is kept, in which one can look up what was sent.
	attemptsDefault = 30 * 24 * time.Hour
	// removedDefault is ample time to notice that a portal was removed by mistake.
	removedDefault = 90 * 24 * time.Hour
	// sweepEvery is how often receipts are swept, give or take half of it, so that not all
	// processes do it at once.
	sweepEvery = 24 * time.Hour
	// sweepPage is how many receipts are looked at together, and sweepPause the pause after them:
	// a million takes a few minutes, and nothing else notices.
	sweepPage  = receiptBatch
	sweepPause = 100 * time.Millisecond
)

// Swept is what a sweep has removed.
type Swept struct {
	Attempts int // receipts that a newer one had replaced
	Portals  int // that were removed, all of whose receipts went
}

// NewJanitor prepares to sweep.
func NewJanitor(js jetstream.JetStream, receipts *Receipts, portals *Registry, log zerolog.Logger) *Janitor {
	return &Janitor{js: js, receipts: receipts, portals: portals, log: log}
}

// Run sweeps now and then, until ctx ends.
func (j *Janitor) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery/2 + rand.N(sweepEvery)):
		}
		swept, err := j.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			j.log.Warn().Err(err).Int("attempts", swept.Attempts).Int("portals", swept.Portals).Msg("receipts not swept, will be tried again")
		case swept != Swept{}:
			j.log.Info().Int("attempts", swept.Attempts).Int("portals", swept.Portals).Msg("receipts swept")
		}
	}
}

// Sweep sweeps once.
func (j *Janitor) Sweep(ctx context.Context) (swept Swept, err error) {
	stream, err := j.js.Stream(ctx, streams.Receipts)
	if err != nil {
		return swept, fmt.Errorf("sweep receipts: %w", err)
	}
	// By the server's clock, which gave the receipts their times.
	now, end := stream.CachedInfo().TimeStamp, stream.CachedInfo().State.LastSeq
	if swept.Portals, err = j.removed(ctx, stream, now.Add(-cmp.Or(j.RemovedFor, removedDefault)), end); err != nil {
		return swept, fmt.Errorf("sweep the receipts of removed portals: %w", err)
	}
	if swept.Attempts, err = j.attempts(ctx, stream, now.Add(-cmp.Or(j.AttemptsFor, attemptsDefault))); err != nil {
		return swept, fmt.Errorf("sweep former receipts: %w", err)
	}
	return swept, nil
}

// removed purges the receipts up to a place in the stream of the portals that were removed before.
func (j *Janitor) removed(ctx context.Context, stream jetstream.Stream, before time.Time, end uint64) (n int, err error) {
	last := map[string]time.Time{}
	for rec, err := range j.portals.History(ctx, "") {
		if err != nil {
			return n, err
		}
		if rec.What == "removed" {
			last[rec.Portal] = rec.At
		}
	}
	for name, at := range last {
		if !at.Before(before) {
			continue
		}
		if _, err := j.portals.load(ctx, name); !errors.Is(err, ErrNotFound) {
			continue // it is there again, be it malformed, or this cannot be told
		}
		first, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(streams.ReceiptsOf(name)))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && first.Sequence > end {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("portal %q: %w", name, err)
		}
		// Should it come back just now, what it is sent from here on stays.
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(streams.ReceiptsOf(name)), jetstream.WithPurgeSequence(end+1)); err != nil {
			return n, fmt.Errorf("portal %q: %w", name, err)
		}
		n++
	}
	return n, nil
}

// attempts removes receipts from before a time that are not the newest of their pair.
func (j *Janitor) attempts(ctx context.Context, stream jetstream.Stream, before time.Time) (n int, err error) {
	for next := uint64(1); ; {
		page, young, err := j.page(ctx, next, before)
		if err != nil || len(page) == 0 {
			return n, err
		}
		next = page[len(page)-1].Sequence + 1
		removed, err := j.former(ctx, stream, page)
		n += removed
		if err != nil || young {
			return n, err
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(sweepPause):
		}
	}
}

// page reads receipts from a place on, as long as they are from before a time; young, if it came to
// others.
func (j *Janitor) page(ctx context.Context, from uint64, before time.Time) (page []*jetstream.RawStreamMsg, young bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	page, err = streams.ReadPage(ctx, j.js, streams.Receipts, streams.Page{From: from, Count: sweepPage})
	if i := slices.IndexFunc(page, func(m *jetstream.RawStreamMsg) bool { return !m.Time.Before(before) }); i >= 0 {
		return page[:i], true, err
	}
	return page, false, err
}

// former removes those of a page that a newer one has replaced. A replica that lags may not know of
// the newer one: then the receipt stays until the next sweep.
func (j *Janitor) former(ctx context.Context, stream jetstream.Stream, page []*jetstream.RawStreamMsg) (n int, err error) {
	var subjects []string
	found := make(map[string]*jetstream.RawStreamMsg, len(page))
	for _, m := range page {
		if _, ok := found[m.Subject]; !ok {
			found[m.Subject] = nil
			subjects = append(subjects, m.Subject)
		}
	}
	asking, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := j.receipts.readMany(asking, subjects, found); err != nil {
		return 0, err
	}
	for _, m := range page {
		newest := found[m.Subject]
		if newest == nil || newest.Sequence <= m.Sequence {
			continue
		}
		if err := streams.Remove(ctx, stream, m.Sequence); err != nil { // another may sweep too
			return n, fmt.Errorf("receipt %d: %w", m.Sequence, err)
		}
		n++
	}
	return n, nil
}
