package bulletins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// times sees to it that digests become due.
//
// For each portal that wants digests a message waits in JetStream's scheduler, for the next of its
// times. When it comes, the digest's flag is raised and the next time is scheduled, and only then
// is the message acknowledged. A time that passes while the server is down comes when it is up
// again, and the next one is reckoned from then on, so that all that were missed are one.
//
// JetStream could repeat a cron expression by itself, but forgets what it missed: a server that was
// killed goes on with the next time after its start.
type times struct {
	js       jetstream.JetStream
	schedule *streams.Schedule
	portals  *portal.Registry
	log      zerolog.Logger

	wake chan struct{} // a portal changed
	// seen are the revisions of portals whose next time is known to be scheduled, by name. Owned
	// by run.
	seen map[string]uint64
}

const (
	// scheduleEvery is how often it is made sure that the next times are scheduled, and
	// scheduleAgain the pause after that failed. A schedule can only get lost while it is replaced
	// at the very time for which it was.
	scheduleEvery = time.Minute
	scheduleAgain = 5 * time.Second
	// clocksDiffer is by how much the clocks of machines do at most. A digest that is scheduled for
	// later than that after its next time was by a clock that was set back since.
	clocksDiffer = time.Minute
	// duePause is after how long a digest is due again that could not be flagged.
	duePause = 5 * time.Second
	// dueTimeout bounds the flagging of one digest, below [streams.AckWait].
	dueTimeout = 10 * time.Second
)

// The headers of a scheduled digest.
const (
	timesHeader = "Loa-Times" // cron expression and zone
	dueHeader   = "Loa-Due"   // for when it was scheduled
)

func newTimes(o Options) *times {
	return &times{
		js: o.JS, schedule: streams.NewSchedule(o.JS), portals: o.Portals, log: o.Log,
		wake: make(chan struct{}, 1), seen: map[string]uint64{},
	}
}

// Times raises the flags of portals' digests when they are due, until ctx ends. It runs beside the
// engine, in every process that pushes bulletins.
func (w *Worker) Times(ctx context.Context) error { return w.times.run(ctx) }

// changed takes note that a portal did.
func (t *times) changed(string) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *times) run(ctx context.Context) error {
	c, err := streams.DigestConsumer(ctx, t.js)
	if err != nil {
		return err
	}
	reader, err := c.Consume(func(m jetstream.Msg) { t.accept(ctx, m) },
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			t.log.Warn().Err(err).Str("stream", streams.Schedules).Msg("reading disturbed")
		}))
	if err != nil {
		return fmt.Errorf("read %s: %w", streams.Schedules, err)
	}
	defer func() {
		reader.Stop()
		<-reader.Closed()
	}()
	every := time.NewTicker(scheduleEvery)
	defer every.Stop()
	for {
		var again <-chan time.Time
		if err := t.ensureAll(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn().Err(err).Msg("times of digests not scheduled, will be tried again")
			again = time.After(scheduleAgain)
		}
		select {
		case <-t.wake:
		case <-again:
		case <-every.C:
			clear(t.seen)
		case <-reader.Closed():
			return fmt.Errorf("reading of %s was ended", streams.Schedules)
		case <-ctx.Done():
			return nil
		}
	}
}

// accept takes a digest that is due.
func (t *times) accept(ctx context.Context, m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(ctx, dueTimeout)
	defer cancel()
	name, err := streams.DuePortal(m.Subject())
	if err == nil {
		err = t.due(ctx, name, m.Headers())
	}
	if err != nil {
		t.log.Warn().Err(err).Str("portal", name).Msg("digest is due but not flagged, will be tried again")
		_ = m.NakWithDelay(duePause)
		return
	}
	_ = m.Ack() // a lost one makes the digest due once more, when there is nothing to say
}

// due raises the flag of a portal's digest, and schedules the next.
func (t *times) due(ctx context.Context, name string, header nats.Header) error {
	p, ok := t.portals.Get(name)
	switch {
	case !ok && t.portals.Known(name):
		return errors.New("the portal's configuration cannot be used")
	case !ok || p.Digest == nil:
		return nil // it wants none any more
	}
	if err := reconcile.Raise(ctx, t.js, []reconcile.Flag{dueFlag(name)}); err != nil {
		return err
	}
	// This clock may be behind the scheduler's.
	now := time.Now()
	if at, err := time.Parse(time.RFC3339, header.Get(dueHeader)); err == nil && at.After(now) {
		now = at
	}
	return t.set(ctx, p, now)
}

// ensureAll schedules the next digest of every portal that wants them, and of which that is not
// known to have been done.
func (t *times) ensureAll(ctx context.Context) error {
	var failed error
	for _, p := range t.portals.All() {
		if t.seen[p.Name] == p.Revision {
			continue
		}
		if p.Digest != nil {
			if err := t.ensure(ctx, p); err != nil {
				failed = err
				continue
			}
		}
		t.seen[p.Name] = p.Revision
	}
	return failed
}

// ensure schedules the portal's next digest, unless it is, or is due. One that the portal does not
// want any more stays until its time, which then is nobody's.
func (t *times) ensure(ctx context.Context, p portal.Portal) error {
	waiting, err := t.schedule.Waiting(ctx, streams.Digest, streams.Key(p.Name))
	if err != nil {
		return err
	}
	now := time.Now()
	if waiting != nil {
		if waiting.Seq == 0 {
			return nil
		}
		next, err := p.Digest.Next(now)
		if err != nil {
			return fmt.Errorf("portal %q: %w", p.Name, err)
		}
		if waiting.Header.Get(timesHeader) == timesOf(p.Digest) && !waiting.At.After(next.Add(clocksDiffer)) {
			return nil
		}
	}
	return t.set(ctx, p, now)
}

// set schedules the portal's next digest after a time.
func (t *times) set(ctx context.Context, p portal.Portal, after time.Time) error {
	next, err := p.Digest.Next(after)
	if err != nil {
		return fmt.Errorf("portal %q: %w", p.Name, err)
	}
	if next.IsZero() {
		return nil
	}
	return t.schedule.Set(ctx, streams.Digest, streams.Key(p.Name), next,
		nats.Header{timesHeader: {timesOf(p.Digest)}, dueHeader: {next.UTC().Format(time.RFC3339)}})
}

func timesOf(d *portal.Digest) string { return d.At + " " + d.Zone }
