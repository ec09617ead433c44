// Package intake takes in what the CMSs say: it turns events into articles, and writes them to
// the log.
//
//	EVENTS ──▶ parse, validate ──▶ clean, store pictures ──▶ ARTICLES ──▶ articles/*.json in S3
//	             │ what cannot be valid ──▶ DEAD
//	             └ embargoed ──▶ SCHEDULE ──at its time──▶ (same way again)
//
// A message is acknowledged when all that follows from it is durable, so every step must bear
// being done twice. Versions see to that: an event older than the article is dropped, the same
// again is a duplicate, and a duplicate completes what a crash interrupted.
//
// One article's messages are dealt with in turn, different articles' at the same time. Across
// processes the log's optimistic concurrency decides.
package intake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Pictures stores an article's pictures.
type Pictures interface {
	// Store fetches (or takes) the picture and stores it with its renditions. It returns soon
	// after ctx ends; a picture with Data, which has no deadline, within a bound of its own. An
	// error that is [objects.ErrUnavailable] is the store's; any other is the picture's, and
	// permanent if Permanent says so.
	Store(ctx context.Context, img events.Image) (article.Image, error)
	// StoreFile does the same with an attachment. With an error that is permanent the attachment
	// is returned too, as it is to be shown.
	StoreFile(ctx context.Context, at events.Attachment) (article.Attachment, error)
	Permanent(err error) bool
}

// Objects is where the articles' canonical JSON is kept.
type Objects interface {
	Put(ctx context.Context, key string, body []byte, m objects.Meta) (etag string, err error)
}

// Options of an intake.
type Options struct {
	JS       jetstream.JetStream
	Sites    *site.Tree
	Pictures Pictures
	Objects  Objects
	// PicturesDeadline is how long an article waits for pictures to be fetched; 20 s if 0.
	PicturesDeadline time.Duration
	// PicturePauses are those between later attempts at pictures that did not come; after the
	// last they become a dead letter. None: 1 min to 24 h.
	PicturePauses []time.Duration
	// EraseAfter is how long a picture stays that no article uses any more, because it was replaced
	// or its article withdrawn for good; 24 h if 0.
	EraseAfter time.Duration
	// Retry is the first pause after a fault of NATS or S3; it doubles, up to 64 times as much,
	// with every further one. 1 s if 0.
	Retry time.Duration
	// Grace is how long what was begun may go on after Run's context has ended; 10 s if 0.
	Grace time.Duration
	// Now is the clock; time.Now if nil.
	Now     func() time.Time
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

const (
	defaultPicturesDeadline = 20 * time.Second
	defaultEraseAfter       = 24 * time.Hour
	defaultRetry            = time.Second
	defaultGrace            = 10 * time.Second
	// retryMost bounds the pause after a fault, in first pauses: about a minute.
	retryMost = 64
	// atOnce is how many articles are dealt with at the same time. Most of them wait: for the
	// disk, or for a picture.
	atOnce = 128
	// inHand bounds the messages that are being dealt with or wait for their turn, in bytes. An
	// event takes about six times its size while it is read, and may have 8 MiB.
	inHand = 64 << 20
	// pullMessages and pullBytes bound what each of the two readers has asked for. It is not
	// renewed before it is accepted, so there is little of it.
	pullMessages = 64
	pullBytes    = 4 * streams.MaxMessage
	// heartbeat is how often the server is told that the messages held are still worked on.
	heartbeat = streams.AckWait / 3
)

// defaultPicturePauses give a CMS's image server a day and a half to come back: they grow up to a
// day.
var defaultPicturePauses = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour}

// Intake turns events into articles.
type Intake struct {
	opts     Options
	log      *streams.Log
	uses     *streams.Uses
	schedule *streams.Schedule
	dead     *streams.Dead
	metrics  *metrics

	slots chan struct{}       // one for each article being dealt with
	bytes *semaphore.Weighted // of the messages held
	work  sync.WaitGroup

	mu     sync.Mutex
	queues map[streams.Key][]jetstream.Msg // waiting behind the article's current message
	held   map[jetstream.Msg]struct{}      // those being dealt with or queued, to be renewed
}

// New prepares an intake; [Intake.Run] runs it.
func New(ctx context.Context, o Options) (*Intake, error) {
	if o.PicturesDeadline <= 0 {
		o.PicturesDeadline = defaultPicturesDeadline
	}
	if len(o.PicturePauses) == 0 {
		o.PicturePauses = defaultPicturePauses
	}
	if o.EraseAfter <= 0 {
		o.EraseAfter = defaultEraseAfter
	}
	if o.Retry <= 0 {
		o.Retry = defaultRetry
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	log, err := streams.OpenLog(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	uses, err := streams.OpenUses(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	dead, err := streams.OpenDead(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the intake's metrics: %w", err)
	}
	return &Intake{
		opts: o, log: log, uses: uses, dead: dead, schedule: streams.NewSchedule(o.JS), metrics: m,
		slots: make(chan struct{}, atOnce), bytes: semaphore.NewWeighted(inHand),
		queues: map[streams.Key][]jetstream.Msg{}, held: map[jetstream.Msg]struct{}{},
	}, nil
}

// Run takes events in until ctx ends, or until NATS ends the reading for good. What it has begun
// then, it finishes within the grace period. The rest is handed back.
func (in *Intake) Run(ctx context.Context) error {
	inbox, err := streams.IntakeConsumer(ctx, in.opts.JS)
	if err != nil {
		return err
	}
	due, err := streams.DueConsumer(ctx, in.opts.JS)
	if err != nil {
		return err
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() {
		late := time.AfterFunc(in.opts.Grace, stopWork)
		context.AfterFunc(work, func() { late.Stop() })
	})
	said, err := in.read(ctx, work, inbox)
	if err != nil {
		cancel()
		return err
	}
	defer in.end(cancel, said)
	timed, err := in.read(ctx, work, due)
	if err != nil {
		return err
	}
	defer in.end(cancel, timed)

	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			in.renew()
			if err := streams.TrimEvents(ctx, in.opts.JS); err != nil && ctx.Err() == nil {
				in.opts.Log.Warn().Err(err).Msg("inbox not trimmed, will be tried again")
			}
		case <-said.Closed():
			return fmt.Errorf("reading of %s was ended", streams.Events)
		case <-timed.Closed():
			return fmt.Errorf("reading of %s was ended", streams.Schedules)
		case <-ctx.Done():
			return nil
		}
	}
}

func (in *Intake) read(ctx, work context.Context, c jetstream.Consumer) (jetstream.ConsumeContext, error) {
	stream := c.CachedInfo().Stream
	reader, err := c.Consume(func(m jetstream.Msg) { in.accept(ctx, work, m) },
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			in.opts.Log.Warn().Err(err).Str("stream", stream).Msg("reading disturbed")
		}))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return reader, nil
}

// end waits until a reader has given out what had been sent to it, which accept hands back, and
// until all that was begun is done.
func (in *Intake) end(cancel context.CancelFunc, reader jetstream.ConsumeContext) {
	cancel()
	reader.Drain()
	<-reader.Closed()
	in.work.Wait()
}
