package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// settlingDefault is how old the note of a use has to be before it counts for nothing that the
	// article does not show the picture: until then, a version that does may be about to be written.
	settlingDefault = time.Hour
	// eraseTimeout bounds the work on one picture: looking through its uses, deleting some ten objects.
	eraseTimeout = 2 * time.Minute
	// erasePause is that after a fault of NATS or S3.
	erasePause = 10 * time.Second
)

// Erasable is where pictures are deleted.
type Erasable interface {
	List(ctx context.Context, prefix string) iter.Seq2[objects.Info, error]
	Delete(ctx context.Context, key string) error
}

// EraserOptions are what an [Eraser] works with. JS and Objects are required.
type EraserOptions struct {
	JS      jetstream.JetStream
	Objects Erasable
	// Settling is how old the note of a use has to be before it is not believed; 1 h if 0.
	Settling   time.Duration
	Registerer prometheus.Registerer // nil: none
	Log        zerolog.Logger
}

// Eraser deletes pictures that no article uses any more. That one is not used is for the log to
// say, not for whoever asks; see [streams.Uses] for how it keeps out of the way of those who begin
// to use a picture at that moment.
type Eraser struct {
	o        EraserOptions
	uses     *streams.Uses
	log      *streams.Log
	schedule *streams.Schedule
	index    index
	erased   prometheus.Counter
}

// NewEraser makes an eraser.
func NewEraser(ctx context.Context, o EraserOptions) (*Eraser, error) {
	o.Settling = cmp.Or(o.Settling, settlingDefault)
	e := &Eraser{o: o, schedule: streams.NewSchedule(o.JS), erased: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "loa_media_erased_total", Help: "Pictures deleted because no article used them any more."})}
	var err error
	if e.uses, err = streams.OpenUses(ctx, o.JS); err != nil {
		return nil, err
	}
	if e.log, err = streams.OpenLog(ctx, o.JS); err != nil {
		return nil, err
	}
	if e.index.kv, err = o.JS.KeyValue(ctx, streams.MediaBucket); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.MediaBucket, err)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(e.erased); err != nil {
			return nil, fmt.Errorf("register the eraser's metrics: %w", err)
		}
	}
	return e, nil
}

// Run erases pictures whose time of grace is over until the context ends, or until NATS ends the
// reading for good.
func (e *Eraser) Run(ctx context.Context) error {
	for {
		err := e.uses.Whole(ctx, e.log)
		if err == nil {
			break
		}
		e.o.Log.Warn().Err(err).Msg("no picture is erased until all uses are known, will be tried again")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(erasePause):
		}
	}
	due, err := streams.ErasureConsumer(ctx, e.o.JS)
	if err != nil {
		return err
	}
	return streams.TakeDue(ctx, due, func(m jetstream.Msg) { e.take(ctx, m) }, func(err error) {
		e.o.Log.Warn().Err(err).Str("stream", streams.Schedules).Msg("reading disturbed")
	}, jetstream.PullMaxMessages(1))
}

// take deals with one picture that is due. An answer that gets lost has it taken again.
func (e *Eraser) take(ctx context.Context, m jetstream.Msg) {
	if ctx.Err() != nil {
		_ = m.Nak()
		return
	}
	// What was begun is finished: it takes moments.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eraseTimeout)
	defer cancel()
	working := time.NewTicker(streams.AckWait / 3)
	defer working.Stop()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-working.C:
				_ = m.InProgress()
			case <-done:
				return
			}
		}
	}()
	picture := streams.ErasureOf(m.Subject())
	wait, err := e.Erase(ctx, picture)
	switch {
	case err != nil:
		e.o.Log.Warn().Err(err).Str("sha256", picture).Msg("picture not erased, will be tried again")
		_ = m.NakWithDelay(erasePause)
	case wait > 0:
		_ = m.NakWithDelay(wait)
	default:
		_ = m.Ack()
	}
}

// Erase deletes the picture's objects, unless an article uses it. With wait, that can be told only
// later. It may be called again after any error or crash, and goes on where it was.
func (e *Eraser) Erase(ctx context.Context, picture string) (wait time.Duration, err error) {
	life, err := e.uses.Life(ctx, picture)
	if err != nil {
		return 0, err
	}
	if life.State == streams.Erased {
		// Whoever stored it anew may have been killed before the article was written.
		if keys, err := e.keys(ctx, picture); err != nil || len(keys) == 0 {
			return 0, err
		}
	}
	if life.State == streams.Alive || life.State == streams.Erased {
		if life, err = e.uses.Turn(ctx, picture, life, streams.Doubted); err != nil {
			return 0, err
		}
	}
	if life.State == streams.Doubted {
		used, wait, err := e.used(ctx, picture)
		if err != nil {
			return 0, err
		}
		if used || wait > 0 {
			_, err = e.uses.Turn(ctx, picture, life, streams.Alive)
			return wait, err
		}
		if life, err = e.uses.Turn(ctx, picture, life, streams.Erasing); err != nil {
			return 0, err
		}
	}
	if err := e.remove(ctx, picture, life); err != nil {
		return 0, err
	}
	if _, err = e.uses.Turn(ctx, picture, life, streams.Erased); err != nil {
		return 0, err
	}
	e.erased.Inc()
	e.o.Log.Info().Str("sha256", picture).Msg("picture erased")
	return 0, nil
}

// used asks the log about every use that is noted of the picture, and takes away those that have
// ended. With wait, one of them is too young to say.
func (e *Eraser) used(ctx context.Context, picture string) (used bool, wait time.Duration, err error) {
	for use, err := range e.uses.Of(ctx, picture) {
		if err != nil {
			return false, 0, err
		}
		a, err := e.log.Latest(ctx, use.Article)
		if err != nil && !errors.Is(err, streams.ErrNotFound) {
			return false, 0, err
		}
		if err == nil && slices.Contains(a.Pictures(), picture) {
			return true, 0, nil
		}
		if young := e.o.Settling - time.Since(use.Since); young > 0 {
			wait = max(wait, young)
			continue
		}
		if err := e.uses.Remove(ctx, use); err != nil {
			return false, 0, err
		}
	}
	return false, wait, nil
}

func folder(picture string) string { return mediaFolder + picture + "/" }

const mediaFolder = "media/"

// pictureKey is the key of a picture's object, or of an attachment. Nothing else is counted as one, or deleted.
var pictureKey = regexp.MustCompile(`^media/([0-9a-f]{64})/(?:(?:original|w[1-9][0-9x-]*)\.(?:jpg|png|gif|webp)|file\.[a-z0-9]+)$`)

// remove deletes the picture's objects. Before each it looks whether that is still to be done: another
// process may have finished it meanwhile, and the picture been stored anew.
func (e *Eraser) remove(ctx context.Context, picture string, life streams.Life) error {
	keys, err := e.keys(ctx, picture)
	if err != nil {
		return err
	}
	for _, kind := range []string{"sha.", "file."} {
		if err := e.index.kv.Delete(ctx, kind+picture); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("delete picture %s from the index: %w", picture, err)
		}
	}
	for _, key := range keys {
		now, err := e.uses.Life(ctx, picture)
		if err != nil {
			return err
		}
		if !now.Same(life) {
			return fmt.Errorf("erase picture %s: %w", picture, streams.ErrConflict)
		}
		if err := e.o.Objects.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// keys are those of the picture's objects.
func (e *Eraser) keys(ctx context.Context, picture string) (keys []string, err error) {
	for o, err := range e.o.Objects.List(ctx, folder(picture)) {
		if err != nil {
			return nil, err
		}
		if pictureKey.MatchString(o.Key) {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// Orphan is a stored picture that no article uses.
type Orphan struct {
	SHA256 string    `json:"sha256"`
	Files  int       `json:"files"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"` // the latest of its files
}

// Survey is what [Eraser.Survey] saw.
type Survey struct {
	Articles int   `json:"articles"`
	Pictures int   `json:"pictures"`
	Bytes    int64 `json:"bytes"`
	// Young are not used, but were stored too recently to tell. Waiting are in their time of grace.
	Young   int `json:"young"`
	Waiting int `json:"waiting"`
	// Orphans are all others that are not used, and OrphanBytes their size.
	Orphans     int   `json:"orphans"`
	OrphanBytes int64 `json:"orphan_bytes"`
}

// Survey compares the stored pictures with the log, and calls orphan for each that no article uses
// and whose files are all older than age: intake stores pictures before it writes the article.
// Now and then it calls progress.
func (e *Eraser) Survey(ctx context.Context, age time.Duration, progress func(Survey), orphan func(Orphan) error) (Survey, error) {
	var s Survey
	if err := e.uses.Whole(ctx, e.log); err != nil {
		return s, err
	}
	before := time.Now().Add(-age)
	used := map[string]bool{}
	for a, err := range e.log.Walk(ctx, "*", 0) {
		if err != nil {
			return s, err
		}
		for _, picture := range a.Pictures() {
			used[picture] = true
		}
		s.Articles++
		progress(s)
	}
	judge := func(o Orphan) error {
		if o.SHA256 == "" {
			return nil
		}
		s.Pictures++
		s.Bytes += o.Bytes
		progress(s)
		if used[o.SHA256] {
			return nil
		}
		if o.Stored.After(before) {
			s.Young++
			return nil
		}
		waiting, err := e.schedule.Waiting(ctx, streams.Erasure, streams.ErasureKey(o.SHA256))
		if err != nil {
			return err
		}
		if waiting != nil {
			s.Waiting++
			return nil
		}
		s.Orphans++
		s.OrphanBytes += o.Bytes
		return orphan(o)
	}
	var cur Orphan
	for o, err := range e.o.Objects.List(ctx, mediaFolder) {
		if err != nil {
			return s, err
		}
		match := pictureKey.FindStringSubmatch(o.Key)
		if match == nil {
			continue
		}
		picture := match[1]
		if picture != cur.SHA256 {
			if err := judge(cur); err != nil {
				return s, err
			}
			cur = Orphan{SHA256: picture}
		}
		cur.Files++
		cur.Bytes += o.Size
		if o.Modified.After(cur.Stored) {
			cur.Stored = o.Modified
		}
	}
	return s, judge(cur)
}
