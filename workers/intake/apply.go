package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

// apply makes an event, which came as m, the article's newest version, unless the article has got
// there already.
func (in *Intake) apply(ctx context.Context, key streams.Key, ev events.Event, m jetstream.Msg) (outcomeKind, error) {
	for erased := false; ; {
		cur, err := in.current(ctx, key)
		if err != nil {
			return "", err
		}
		kind, err := standing(cur.Article, ev)
		if err != nil || kind == older {
			return kind, err
		}
		if kind == duplicate {
			// A crash may have come between the log and what follows from it.
			if err := in.settle(ctx, cur); err != nil {
				return "", err
			}
			return duplicate, in.describe(ctx, cur.Article, cur, ev, m)
		}
		next, err := in.build(ctx, cur.Article, ev)
		if err != nil {
			return "", err
		}
		err = in.use(ctx, key, cur.Article, next)
		if errors.Is(err, streams.ErrErased) && !erased {
			erased = true
			continue // as a rule it lives by now, and is stored anew
		}
		if err != nil {
			return "", err
		}
		seq, err := in.log.Put(ctx, next, cur.Seq)
		if errors.Is(err, streams.ErrConflict) {
			continue // another process wrote a version: it decides anew what this one is worth
		}
		if err != nil {
			return "", err
		}
		made := streams.Entry{Article: next, Key: key, Seq: seq}
		if err := in.settle(ctx, made); err != nil {
			return "", err
		}
		return applied, in.describe(ctx, cur.Article, made, ev, m)
	}
}

// current is the article as the log has it; its Article is nil if there is none.
func (in *Intake) current(ctx context.Context, key streams.Key) (streams.Entry, error) {
	e, err := in.log.Latest(ctx, key)
	if errors.Is(err, streams.ErrNotFound) {
		return streams.Entry{Key: key}, nil
	}
	return e, err
}

// standing compares an event with the article as it is: [applied] says that it is to be.
func standing(cur *article.Article, ev events.Event) (outcomeKind, error) {
	switch {
	case cur == nil || ev.Version() > cur.Number:
		return applied, nil
	case ev.Version() < cur.Number:
		return older, nil
	case slices.Contains(cur.Digests, ev.Digest):
		return duplicate, nil
	case ev.Withdrawal != nil && (cur.Live() || cur.Expired):
		// The withdrawal names the version that it withdraws. Nobody can mean anything else by
		// it, and a notice that stays up does harm.
		return applied, nil
	case ev.Article != nil && !cur.Live() && !cur.Expired && len(cur.Digests) == 1:
		return older, nil // the version that was withdrawn before it came
	}
	return "", contradiction(ev.Version(), "")
}

func contradiction(version int64, more string) *refusal {
	return &refusal{reason: fmt.Sprintf("/data/version: got %d again with other content, expected a greater version for every change%s", version, more)}
}

// settle makes everything beside the log agree with a version of it: the copy in the object
// store, the article's expiry, the retry of missing pictures.
func (in *Intake) settle(ctx context.Context, e streams.Entry) error {
	if err := in.copyToStore(ctx, e); err != nil {
		return err
	}
	if err := in.scheduleExpiry(ctx, e); err != nil {
		return err
	}
	if err := in.release(ctx, e); err != nil {
		return err
	}
	if waiting(e.Article, false) {
		return in.schedule.Set(ctx, streams.Pictures, e.Key, time.Now().Add(in.opts.PicturePauses[0]), attemptHeader(1))
	}
	return nil
}

// copyToStore writes the article's JSON. Two processes that write two versions of one article
// may do so in the wrong order; so each looks, when it has written, whether that is still the
// log's version, and writes the newer one if not.
func (in *Intake) copyToStore(ctx context.Context, e streams.Entry) error {
	for {
		data, err := e.Encode()
		if err != nil {
			return err
		}
		_, err = in.opts.Objects.Put(ctx, e.Key.Object(), data, objects.Meta{ContentType: "application/json", CacheControl: "no-cache"})
		if err != nil {
			return fmt.Errorf("store article %s: %w", e.Key, err)
		}
		latest, err := in.log.Latest(ctx, e.Key)
		if err != nil || latest.Seq <= e.Seq {
			return err
		}
		e = latest
	}
}
