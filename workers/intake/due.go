package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// firing is how near its time a scheduled message is no longer replaced, in which the clocks
	// may differ too. JetStream takes messages that are due, and a moment later purges the
	// subject that they waited on, together with what has come there in between.
	firing = 2 * time.Second
	// roomBeside is what a message that is kept for later, or set aside then, has beside the
	// event, in bytes.
	roomBeside = 64 << 10
)

// embargo schedules an event for the end of its embargo. Until then the article stays as it is.
// Of several embargoed versions the newest waits.
func (in *Intake) embargo(ctx context.Context, key streams.Key, ev events.Event, m jetstream.Msg) (outcomeKind, error) {
	if most := int(in.opts.JS.Conn().MaxPayload()) - roomBeside; len(m.Data()) > most {
		return "", &refusal{reason: fmt.Sprintf("the event has %d bytes, and at most %d can wait for their embargo to end: send images by address rather than inline", len(m.Data()), most)}
	}
	if _, _, err := draft(ev.Article); err != nil { // said now, not when it is too late
		return "", err
	}
	for {
		cur, err := in.current(ctx, key)
		if err != nil {
			return "", err
		}
		if kind, err := standing(cur.Article, ev); err != nil || kind != applied {
			return kind, err
		}
		waiting, err := in.schedule.Waiting(ctx, streams.Embargo, key)
		if err != nil {
			return "", err
		}
		var last uint64
		if waiting != nil {
			last = waiting.Seq
			other, err := events.Parse(waiting.Header, waiting.Data)
			switch {
			case err != nil: // the contract has changed since; it will be set aside when it is due
				return "", &refusal{reason: fmt.Sprintf("another version waits for its embargo to end, and cannot be compared: %v", err)}
			case other.Version() > ev.Version():
				return older, nil
			case other.Digest == ev.Digest:
				return duplicate, nil
			case other.Version() == ev.Version():
				return "", contradiction(ev.Version(), "; the first waits for its embargo to end")
			case waiting.Seq != 0 && waiting.At.Sub(in.opts.Now()) < firing:
				return "", &early{firing}
			}
		}
		err = in.schedule.At(ctx, streams.Embargo, key, *ev.Article.EmbargoUntil, m.Headers(), m.Data(), last)
		if !errors.Is(err, streams.ErrConflict) {
			return scheduled, err
		}
	}
}

// expiry is the header that says for which expiry a message was scheduled.
const expiry = "Loa-Expiry"

func (in *Intake) scheduleExpiry(ctx context.Context, e streams.Entry) error {
	if !e.Live() || e.ExpiresAt == nil {
		return nil
	}
	return in.schedule.Set(ctx, streams.Expiry, e.Key, *e.ExpiresAt, nats.Header{expiry: {stamp(*e.ExpiresAt)}})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// expire withdraws an article whose time is over. The article decides, not the message: its
// newest version may have another expiry, which is then scheduled if that was not done, or none.
func (in *Intake) expire(ctx context.Context, key streams.Key, header nats.Header) (outcomeKind, error) {
	return in.revise(ctx, key, func(_ context.Context, a *article.Article) (bool, error) {
		if !a.Live() || a.ExpiresAt == nil {
			return false, nil
		}
		left := a.ExpiresAt.Sub(in.opts.Now())
		switch {
		case left <= 0:
			expire(a)
			return true, nil
		case header.Get(expiry) == stamp(*a.ExpiresAt):
			// The scheduler's clock is ahead of this one. Scheduled again, it would be due at once.
			return false, &early{left}
		}
		return false, nil
	})
}

// revise writes a version of the article that Loa itself makes, if change says that there is
// one; it may be called again, if the article is written by another meanwhile.
func (in *Intake) revise(ctx context.Context, key streams.Key, change func(context.Context, *article.Article) (bool, error)) (outcomeKind, error) {
	for {
		cur, err := in.log.Latest(ctx, key)
		if errors.Is(err, streams.ErrNotFound) {
			return noChange, nil
		}
		if err != nil {
			return "", err
		}
		next := *cur.Article
		changed, err := change(ctx, &next)
		if err != nil {
			return "", err
		}
		if !changed {
			// An interrupted settling is completed here too.
			return noChange, in.settleUnchanged(ctx, cur)
		}
		next.Revision++
		next.Accepted = in.accepted(cur.Article)
		next.Ever = remember(remember(next.Ever, cur.Article), &next)
		next.Release(cur.Article)
		if err := in.use(ctx, key, cur.Article, &next); err != nil {
			return "", err
		}
		seq, err := in.log.Put(ctx, &next, cur.Seq)
		if errors.Is(err, streams.ErrConflict) {
			continue
		}
		if err != nil {
			return "", err
		}
		return applied, in.copyToStore(ctx, streams.Entry{Article: &next, Key: key, Seq: seq})
	}
}

// settleUnchanged completes what belongs to a version that needs no change now: the copy in
// the object store, and an expiry that lies ahead.
func (in *Intake) settleUnchanged(ctx context.Context, e streams.Entry) error {
	if err := in.copyToStore(ctx, e); err != nil {
		return err
	}
	return in.scheduleExpiry(ctx, e)
}

// attempt is the header that counts the attempts at an article's missing pictures.
const attempt = "Loa-Attempt"

func attemptHeader(n int) nats.Header { return nats.Header{attempt: {strconv.Itoa(n)}} }

// refusedToo is the header that says that what was refused is to be tried again too.
const refusedToo = "Loa-Refused-Too"

// pending are the pictures and attachments that may come yet, by their places; with refused also
// those of which that was not to be expected.
func pending(a *article.Article, refused bool) (images, files []int) {
	for i, img := range a.Images {
		if img.Pending || refused && !img.Stored() && img.URL != "" {
			images = append(images, i)
		}
	}
	for i, at := range a.Attachments {
		if at.Pending || refused && at.Fault != "" {
			files = append(files, i)
		}
	}
	return images, files
}

func waiting(a *article.Article, refused bool) bool {
	images, files := pending(a, refused)
	return a.Live() && len(images)+len(files) > 0
}

// retryPictures tries an article's missing pictures and attachments again. Those that come make a
// new version; for the rest another attempt is scheduled, and after the last they are set aside; a
// person who retries that gives them one attempt more. Of what is refused now a person is told.
func (in *Intake) retryPictures(ctx context.Context, key streams.Key, header nats.Header) (outcomeKind, error) {
	var left, refused []string
	var version int64
	again := header.Get(refusedToo) != ""
	kind, err := in.revise(ctx, key, func(ctx context.Context, a *article.Article) (changed bool, err error) {
		left, refused, version = nil, nil, a.Number
		if waiting(a, again) {
			changed, left, refused, err = in.fillIn(ctx, a, again)
		}
		return changed, err
	})
	if err == nil && len(refused) > 0 {
		err = in.warn(ctx, key, streams.DeadLetter{Key: string(key), Version: fmt.Sprint(version), Reason: withoutThem(refused), Faults: refused}, true)
	}
	if err != nil || len(left) == 0 {
		return kind, err
	}
	n, err := strconv.Atoi(header.Get(attempt))
	if err != nil || n < 1 {
		n = 0
	}
	if n >= len(in.opts.PicturePauses) {
		return "", &refusal{reason: fmt.Sprintf("%d pictures or attachments could not be had in %d attempts", len(left), n), faults: left}
	}
	return kind, in.schedule.Set(ctx, streams.Pictures, key, time.Now().Add(in.opts.PicturePauses[n]), attemptHeader(n+1))
}

// fillIn stores the missing pictures and attachments that can be had now, and puts the pictures
// into the body. It reports whether the article changed; left tells of those that may come yet,
// refused of those that will not.
func (in *Intake) fillIn(ctx context.Context, a *article.Article, again bool) (changed bool, left, refused []string, err error) {
	images, files := pending(a, again)
	wanted, kept := make([]events.Image, len(images)), make([]article.Attachment, len(files))
	for i, at := range images {
		wanted[i] = a.Images[at].Image
	}
	for i, at := range files {
		kept[i] = a.Attachments[at]
	}
	got, kept, err := in.storeMedia(ctx, wanted, kept)
	if err != nil {
		return false, nil, nil, err
	}
	// missing notes what did not come, and reports whether that is news to the article.
	missing := func(what string, was, is bool) (news bool) {
		if was && is {
			left = append(left, what)
		} else { // also what was refused before and might pass now: a person may try again
			refused = append(refused, what)
		}
		return was && !is
	}
	a.Images, a.Attachments = slices.Clone(a.Images), slices.Clone(a.Attachments)
	for i, at := range images {
		if got[i].Stored() || missing(name(got[i].Image)+": "+got[i].Fault, a.Images[at].Pending, got[i].Pending) {
			a.Images[at], changed = got[i], true
		}
	}
	for i, at := range files {
		if kept[i].SHA256 != "" || missing(kept[i].URL+": "+kept[i].Fault, a.Attachments[at].Pending, kept[i].Pending) {
			a.Attachments[at], changed = kept[i], true
		}
	}
	if changed {
		a.Body, err = rewrite(a.Body, a, true)
	}
	return changed, left, refused, err
}
