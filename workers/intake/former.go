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
	// maxFormer is how many events of one article are looked through, and formerBytes how many
	// bytes of them: a request must not cost more.
	maxFormer   = 200
	formerBytes = 4 << 20
)

// Former gives the versions of a live article before its current one, the newest first, as far as
// the inbox still has their events: without pictures and files, which may be erased. None is among them that
// was withdrawn, even if the article was published again, nor any that is under embargo.
func Former(ctx context.Context, js jetstream.JetStream, current streams.Entry) ([]*article.Article, error) {
	msgs, err := jetstreamext.GetBatch(ctx, js, streams.Events, maxFormer, jetstreamext.GetBatchSeq(1),
		jetstreamext.GetBatchSubject(events.SubjectPrefix+string(current.Key)), jetstreamext.GetBatchMaxBytes(formerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the former versions of article %s: %w", current.Key, err)
	}
	byNumber := map[int64]*article.Article{}
	withdrawn := int64(0)
	now := time.Now()
	for m, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the former versions of article %s: %w", current.Key, err)
		}
		ev, err := events.Parse(m.Header, m.Data)
		if err != nil {
			continue // it became no version: it is a dead letter
		}
		if ev.Withdrawal != nil {
			withdrawn = max(withdrawn, ev.Version())
			continue
		}
		s := ev.Article
		if s.Version >= current.Number || byNumber[s.Version] != nil || s.EmbargoUntil != nil && s.EmbargoUntil.After(now) ||
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
		byNumber[s.Version] = a
	}
	var all []*article.Article
	for number, a := range byNumber {
		if number > withdrawn {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *article.Article) int { return b.Version.Compare(a.Version) })
	return all, nil
}
