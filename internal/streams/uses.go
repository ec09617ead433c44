package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Uses keeps account of which articles use which stored pictures, and of the pictures that were
// erased, in the bucket [UsesBucket]:
//
//	use.<picture>.<site>.<article>   the article uses the picture, or is about to
//	life.<picture>                   it is being erased, or was
//	whole                            every article of the log is accounted for
//
// A picture is named by its SHA-256. A use is a hint, and may be out of date in one direction
// only: it is there before a version that uses the picture is written, and is taken away after
// one that does not. What an article uses is for the log to say.
//
// Who begins to use a picture first adds the use and then looks whether the picture lives; who
// erases one first says so and then looks for uses. So one of the two sees the other.
type Uses struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// ErrErased says that a picture is being erased, or was a moment ago: it has to be stored again.
var ErrErased = errors.New("picture is being erased")

const (
	usePrefix  = "use."
	lifePrefix = "life."
	wholeKey   = "whole"
	// noted is the value of a use: all that it says is in its key.
	noted = "noted"
	// KeyMarker is how long a bucket whose keys come and go remembers that a key was deleted.
	KeyMarker = time.Hour
	// tombstoneTTL is how long it is remembered that a picture was erased: then its address answers
	// 404 rather than 410. It bounds what the bucket holds, at some 200 bytes a picture.
	tombstoneTTL = 2 * 365 * 24 * time.Hour
	// usesAtOnce is how many keys are written or read at the same time.
	usesAtOnce = 16
)

// OpenUses opens the bucket that [Setup] made.
func OpenUses(ctx context.Context, js jetstream.JetStream) (*Uses, error) {
	kv, err := js.KeyValue(ctx, UsesBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", UsesBucket, err)
	}
	return &Uses{js, kv}, nil
}

func useKey(picture string, k Key) string { return usePrefix + picture + "." + string(k) }

// Add notes that the article uses the pictures, before the version that does is written.
// [ErrErased] if one of them does not live: it may have been found a moment before its objects were
// deleted, and has to be stored again. One that was erased lives from then on.
func (u *Uses) Add(ctx context.Context, k Key, pictures []string) error {
	if err := u.Note(ctx, k, pictures); err != nil {
		return err
	}
	return each(ctx, pictures, func(ctx context.Context, picture string) error {
		life, err := u.Life(ctx, picture)
		if err != nil || life.State == Alive {
			return err
		}
		if life.State == Erased {
			if _, err := u.Turn(ctx, picture, life, Alive); err != nil && !errors.Is(err, ErrConflict) {
				return err
			}
		}
		return fmt.Errorf("use picture %s: %w", picture, ErrErased)
	})
}

// Note is Add for pictures that an article of the log uses already.
func (u *Uses) Note(ctx context.Context, k Key, pictures []string) error {
	return each(ctx, pictures, func(ctx context.Context, picture string) error {
		if _, err := u.kv.PutString(ctx, useKey(picture, k), noted); err != nil {
			return fmt.Errorf("note that %s uses picture %s: %w", k, picture, err)
		}
		return nil
	})
}

func each(ctx context.Context, pictures []string, do func(context.Context, string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(usesAtOnce)
	for _, picture := range pictures {
		g.Go(func() error { return do(ctx, picture) })
	}
	return g.Wait()
}

// Use is one article's use of a picture.
type Use struct {
	Picture string
	Article Key
	Since   time.Time
	// Revision is what [Uses.Remove] names.
	Revision uint64
}

// Of gives the uses that are noted of a picture; those of all, if picture is "*".
func (u *Uses) Of(ctx context.Context, picture string) iter.Seq2[Use, error] {
	return func(yield func(Use, error) bool) {
		for m, err := range u.scan(ctx, usePrefix+picture+".>") {
			if err != nil {
				yield(Use{}, fmt.Errorf("list the uses of picture %s: %w", picture, err))
				return
			}
			hash, key, _ := strings.Cut(strings.TrimPrefix(m.Subject, usesSubject+usePrefix), ".")
			if !yield(Use{hash, Key(key), m.Time, m.Sequence}, nil) {
				return
			}
		}
	}
}

const usesSubject = "$KV." + UsesBucket + "."

// scan gives the values of the keys that match. It asks the bucket's leader, which is never behind.
func (u *Uses) scan(ctx context.Context, keys string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for m, err := range LeaderAll(ctx, u.js, "KV_"+UsesBucket, usesSubject+keys) {
			if err == nil && deleted(m) {
				continue
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// By gives the use that is noted of a picture by an article; with revision 0 if there is none.
func (u *Uses) By(ctx context.Context, picture string, k Key) (Use, error) {
	value, revision, err := LatestValue(ctx, u.js, UsesBucket, useKey(picture, k))
	if value == nil {
		revision = 0
	}
	return Use{Picture: picture, Article: k, Revision: revision}, err
}

// Remove takes a use away, unless it was noted anew since it was read.
func (u *Uses) Remove(ctx context.Context, use Use) error {
	err := u.kv.Purge(ctx, useKey(use.Picture, use.Article), jetstream.LastRevision(use.Revision), jetstream.PurgeTTL(KeyMarker))
	if err != nil && !IsConflict(err) {
		return fmt.Errorf("note that %s no longer uses picture %s: %w", use.Article, use.Picture, err)
	}
	return nil
}

// State of a picture's life.
type State string

const (
	// Alive is every picture of which nothing else is said.
	Alive State = ""
	// Doubted is one whose uses are being looked through. Nobody may begin to use it, or store it
	// anew, until that is decided.
	Doubted State = "doubted"
	// Erasing is one whose objects are being deleted. There is no way back.
	Erasing State = "erasing"
	// Erased is one that was; it may be stored again.
	Erased State = "erased"
)

// Life is the state of a picture.
type Life struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// revision is the bucket's.
	revision uint64
}

// Same reports whether two readings found the same, with no change in between.
func (l Life) Same(other Life) bool { return l.revision == other.revision }

// Life tells whether a picture lives, as the bucket's leader has it.
func (u *Uses) Life(ctx context.Context, picture string) (Life, error) {
	value, revision, err := LatestValue(ctx, u.js, UsesBucket, lifePrefix+picture)
	if err != nil || value == nil {
		return Life{revision: revision}, err
	}
	return readLife(picture, value, revision)
}

func readLife(picture string, value []byte, revision uint64) (Life, error) {
	l := Life{revision: revision}
	if err := json.Unmarshal(value, &l); err != nil {
		return Life{}, fmt.Errorf("read the state of picture %s: %w", picture, err)
	}
	return l, nil
}

// Gone reports whether a picture was erased, or is being. A replica may answer, which is behind by
// a moment: this is for those who show pictures.
func (u *Uses) Gone(ctx context.Context, picture string) (bool, error) {
	e, err := u.kv.Get(ctx, lifePrefix+picture)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the state of picture %s: %w", picture, err)
	}
	l, err := readLife(picture, e.Value(), e.Revision())
	return l.State == Erasing || l.State == Erased, err
}

// Turn changes a picture's state from what it was when it was read; [ErrConflict] if it has
// changed since. That it was erased is remembered for tombstoneTTL.
func (u *Uses) Turn(ctx context.Context, picture string, from Life, to State) (Life, error) {
	next := Life{State: to, Since: time.Now().UTC()}
	var err error
	if to == Alive {
		err = u.kv.Purge(ctx, lifePrefix+picture, jetstream.LastRevision(from.revision), jetstream.PurgeTTL(KeyMarker))
	} else {
		var data []byte
		if data, err = json.Marshal(next); err == nil {
			next.revision, err = u.update(ctx, lifePrefix+picture, data, from.revision, to == Erased)
		}
	}
	if IsConflict(err) {
		err = ErrConflict
	}
	if err != nil {
		return Life{}, fmt.Errorf("turn picture %s from %q to %q: %w", picture, from.State, to, err)
	}
	return next, nil
}

// update is what the bucket's own Update does, with a time to live.
func (u *Uses) update(ctx context.Context, key string, value []byte, revision uint64, mortal bool) (uint64, error) {
	options := []jetstream.PublishOpt{jetstream.WithExpectStream("KV_" + UsesBucket), jetstream.WithExpectLastSequencePerSubject(revision)}
	if mortal {
		options = append(options, jetstream.WithMsgTTL(tombstoneTTL))
	}
	ack, err := u.js.Publish(ctx, usesSubject+key, value, options...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Whole makes sure that every article of the log is accounted for, by walking it if that was
// never done: before there were uses, or since the bucket was lost. Articles written meanwhile
// account for themselves.
func (u *Uses) Whole(ctx context.Context, log *Log) error {
	if value, _, err := LatestValue(ctx, u.js, UsesBucket, wholeKey); err != nil || value != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(usesAtOnce)
	for e, err := range log.Walk(gctx, "*", 0) {
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		if pictures := e.Pictures(); len(pictures) > 0 {
			g.Go(func() error { return u.Note(gctx, e.Key, pictures) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("account for the pictures of all articles: %w", err)
	}
	if _, err := u.kv.PutString(ctx, wholeKey, time.Now().UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("account for the pictures of all articles: %w", err)
	}
	return nil
}
