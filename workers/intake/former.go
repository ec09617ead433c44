package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// formerPage is how many events of one article are read at once, and formerBytes how many bytes
	// of them. The newest of them, no more than that, are given.
	formerPage  = 200
	formerBytes = 4 << 20
	// formerPages is how many such pages are read: a request must not cost more.
	formerPages = 8
)

// Former gives the versions of a live article before its current one, the newest first, as far as
// the inbox still has their events: without pictures and files, which may be erased. None is among them that
// was withdrawn, even if the article was published again, nor any that is under embargo. Of an article
// with more events than are looked through, there are none: what was not read may withdraw them.
func Former(ctx context.Context, js jetstream.JetStream, current streams.Entry) ([]*article.Article, error) {
	var all []*article.Article
	withdrawn, next := int64(0), uint64(1)
	for range formerPages {
		page, last, err := formerOf(ctx, js, current, next)
		if err != nil {
			return nil, fmt.Errorf("read the former versions of article %s: %w", current.Key, err)
		}
		if last == 0 {
			return slices.DeleteFunc(all, func(a *article.Article) bool { return a.Number <= withdrawn }), nil
		}
		next = last + 1
		withdrawn = max(withdrawn, page.withdrawn)
		all = newest(append(all, page.versions...))
	}
	return nil, nil
}

// formerEvents is what one page of events says of an article's former versions.
type formerEvents struct {
	versions  []*article.Article
	withdrawn int64 // the newest version that was withdrawn; 0: none
}

// formerOf reads a page of events; last is the sequence of its last one, or 0 if it is empty.
func formerOf(ctx context.Context, js jetstream.JetStream, current streams.Entry, from uint64) (page formerEvents, last uint64, err error) {
	msgs, err := jetstreamext.GetBatch(ctx, js, streams.Events, formerPage, jetstreamext.GetBatchSeq(from),
		jetstreamext.GetBatchSubject(events.SubjectPrefix+string(current.Key)), jetstreamext.GetBatchMaxBytes(formerBytes))
	if err != nil {
		return page, 0, err
	}
	now := time.Now()
	for m, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return page, 0, err
		}
		last = m.Sequence
		ev, err := events.Parse(m.Header, m.Data)
		if err != nil {
			continue // it became no version: it is a dead letter
		}
		if ev.Withdrawal != nil {
			page.withdrawn = max(page.withdrawn, ev.Version())
			continue
		}
		s := ev.Article
		if s.Version >= current.Number || s.EmbargoUntil != nil && s.EmbargoUntil.After(now) ||
			s.ExpiresAt != nil && !s.ExpiresAt.After(now) {
			continue
		}
		a, _, err := draft(s)
		if err != nil {
			continue // likewise
		}
		a.Attachments = nil
		a.GUID, a.Number, a.Accepted = current.GUID, s.Version, m.Time.UTC().Truncate(time.Millisecond)
		if a.Summary == "" {
			a.Summary = article.Summary(a.Body, article.SummaryLength)
		}
		page.versions = append(page.versions, a)
	}
	return page, last, nil
}

// newest keeps of versions in the order of their events the newest ones that a page has room for,
// in the order of their numbers; of several with one number the first, which is the one that was taken in.
func newest(all []*article.Article) []*article.Article {
	slices.SortStableFunc(all, func(a, b *article.Article) int { return b.Version.Compare(a.Version) })
	all = slices.CompactFunc(all, func(a, b *article.Article) bool { return a.Number == b.Number })
	size := 0
	for i, a := range all {
		if size += len(a.Body); i == formerPage || size > formerBytes {
			return slices.Delete(all, i, len(all))
		}
	}
	return all
}
