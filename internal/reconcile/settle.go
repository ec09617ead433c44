package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

// finish takes the outcome of a run into the lane's state.
func (e *Engine) finish(r run) {
	l := r.lane
	e.running--
	e.runners.ended()
	l.running--
	l.group.running--
	l.limits = e.limits(l)
	e.settle(r)
	for _, it := range r.items {
		it.running = false
		if len(it.next) == 0 {
			delete(l.items, it.key)
			continue
		}
		it.held, it.next = it.next, nil
		if l.group.state != held {
			delete(l.items, it.key)
			e.nakAll(it.held, 0)
			continue
		}
		if !l.breaker.closed() {
			delete(l.items, it.key)
			e.leave(l, it.held...)
			continue
		}
		l.enqueue(it)
	}
	if l.group.state != held {
		e.forget(l.target, l)
		e.given(l.group)
		return
	}
	e.pump(l)
}

// settle answers the messages of a run as its error demands.
func (e *Engine) settle(r run) {
	l := r.lane
	kind, after := verdictOf(r.err)
	if kind == targetDown && e.blamesKey(r) {
		kind = keyFailed
	}
	switch {
	case r.err == nil:
		e.lower(r)
		e.succeed(l)
	case errors.Is(r.err, ErrLevel):
		e.lower(r)
	case kind == targetDown:
		e.goDown(r, after)
	case kind == keyFailed:
		for _, it := range r.items {
			e.failKey(l, it, r.err)
		}
	case kind == permanent:
		for _, it := range r.items {
			e.setAside(l, it.held, r.err)
		}
	case errors.Is(r.err, context.Canceled):
		for _, it := range r.items {
			e.nakAll(it.held, 0)
		}
	default:
		e.log.Error().Err(r.err).Str("target", l.target).Int("flags", len(r.items)).Msg("reconcile failed, will be retried")
		for _, it := range r.items {
			e.nakAll(it.held, e.ownPause(it))
		}
	}
	e.metrics.observe(r, kind)
}

// lower acknowledges the flags of a run.
func (e *Engine) lower(r run) {
	now := time.Now()
	for _, it := range r.items {
		for _, h := range it.held {
			if h.of != nil {
				e.settled(h)
				continue
			}
			// A lost acknowledgement brings the flag again, and a level target costs one look.
			_ = h.msg.Ack()
			r.lane.lower(h, now)
		}
		delete(r.lane.failing, it.flag.Key)
	}
}

// succeed notes that the target works.
func (e *Engine) succeed(l *lane) {
	now := time.Now()
	l.lastSuccess = now
	l.allowed = min(l.allowed+1, l.limits.InFlight)
	if !l.breaker.closed() {
		e.log.Info().Str("target", l.target).Dur("down", now.Sub(l.breaker.since)).Msg("target is back")
		l.breaker = breaker{}
		l.away = true
		e.opts.OnState(l.target, State{Since: now})
	}
}

// goDown opens the breaker and hands everything back that the lane holds.
func (e *Engine) goDown(r run, after time.Duration) {
	l := r.lane
	now := time.Now()
	if l.breaker.closed() || l.breaker.halfOpen(now) { // not for runs that were under way already
		l.breaker.fail(now, r.err.Error(), after, e.opts.Pauses)
		e.log.Warn().Err(r.err).Str("target", l.target).Int("failures", l.breaker.failures).
			Time("next_probe", l.breaker.until).Msg("target is down")
		e.opts.OnState(l.target, State{Down: true, Since: l.breaker.since, Failures: l.breaker.failures,
			Reason: l.breaker.reason, NextProbe: l.breaker.until, Pause: l.breaker.until.Sub(now)})
	}
	l.allowed = 1
	for _, it := range r.items {
		if f, ok := l.failing[it.flag.Key]; ok || len(l.failing) < maxFailing {
			f.at, f.until = now, time.Time{}
			l.remember(it.flag.Key, f)
		}
		e.leave(l, it.held...)
	}
	for _, it := range l.take(l.queued()) {
		delete(l.items, it.key)
		e.leave(l, it.held...)
	}
}

func (l *lane) remember(key string, f failure) {
	if l.failing == nil {
		l.failing = map[string]failure{}
	}
	l.failing[key] = f
}

// blamesKey tells a key that fails from a target that does: the target has taken others since
// it last failed on this one. Without it, one article that a portal answers with 500 would
// hold up all others for ever.
func (e *Engine) blamesKey(r run) bool {
	if len(r.items) != 1 {
		return false
	}
	f, ok := r.lane.failing[r.items[0].flag.Key]
	return ok && r.lane.lastSuccess.After(f.at)
}

// failKey puts a key off, or sets it aside if it has been put off often enough.
func (e *Engine) failKey(l *lane, it *item, err error) {
	if it.flag.Failures >= len(e.opts.Pauses.Key) || it.flag.Failures == 0 && len(l.failing) >= maxFailing {
		delete(l.failing, it.flag.Key)
		e.setAside(l, it.held, err)
		return
	}
	now := time.Now()
	pause := jitter(e.opts.Pauses.Key[it.flag.Failures])
	l.remember(it.flag.Key, failure{until: now.Add(pause), at: now})
	e.log.Warn().Err(err).Str("target", l.target).Str("key", it.flag.Key).Int("attempt", it.flag.Failures+1).
		Dur("next", pause).Msg("target refused, will be retried")
	var putOff []storedFlag
	var handles []handle
	for _, h := range it.held {
		h.flag.Failures, h.flag.Until = it.flag.Failures+1, now.Add(pause)
		if h.of != nil {
			e.refuse(h)
			continue
		}
		handles, putOff = append(handles, h), append(putOff, storedFlag{h.flag, h.seq})
	}
	if len(putOff) == 0 {
		return
	}
	e.others.Go(func() {
		// The count is kept in the flag, where a restart does not reset it.
		ctx, cancel := context.WithTimeout(context.Background(), putOffTimeout)
		defer cancel()
		if err := reraise(ctx, e.js, putOff); err != nil {
			e.log.Warn().Err(err).Str("target", l.target).Str("key", it.flag.Key).Msg("failure not counted")
			e.nakAll(handles, pause)
		}
	})
}

// pauseLeft is for how long a flag that was refused is still to be put off. What is more than any
// pause is left by a clock that was set back since, and counts for nothing.
func (e *Engine) pauseLeft(f Flag, now time.Time) time.Duration {
	left := f.Until.Sub(now)
	for _, pause := range e.opts.Pauses.Key {
		if left > 0 && left <= pause+pause/5 { // which it may have been spread by
			return left
		}
	}
	return 0
}

// putOffTimeout bounds the writing of a failure into its flag.
const putOffTimeout = 20 * time.Second

// setAside makes dead letters of flags: written first, then taken down. Until both are done the
// flag comes again.
func (e *Engine) setAside(l *lane, held []handle, cause error) {
	held = slices.DeleteFunc(held, func(h handle) bool {
		if h.of != nil {
			return !e.setAsideShare(h)
		}
		l.aside[h.seq] = true
		return false
	})
	e.others.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadTimeout)
		defer cancel()
		for _, h := range held {
			f := h.flag
			f.Failures, f.Until = 0, time.Time{} // a retry begins anew
			err := e.dead.Put(ctx, streams.DeadLetter{
				Stage: f.Kind, Key: f.Target + "." + f.Key, Reason: cause.Error(),
				Subject: f.subject(), Data: f.body(),
			})
			if err != nil {
				e.log.Error().Err(err).Str("target", f.Target).Str("key", f.Key).AnErr("cause", cause).Msg("dead letter not stored, will be retried")
				if h.of == nil {
					e.nak(h, ownMost)
				}
			} else {
				e.log.Error().Err(cause).Str("target", f.Target).Str("key", f.Key).Msg("set aside as a dead letter")
				e.metrics.dead.Inc()
				if h.of == nil {
					_ = h.msg.TermWithReason("dead letter") // a lost one makes the dead letter twice
				}
			}
			select {
			case e.setasides <- setaside{h, err == nil}:
			case <-e.stopped:
			}
		}
	})
}

// setaside is the outcome for one message.
type setaside struct {
	handle
	stored bool // as a dead letter
}

func (e *Engine) finishSetAside(s setaside) {
	if s.of != nil {
		e.shareAside(s.handle, s.stored)
		return
	}
	l := e.lanes[s.flag.Target]
	if l == nil {
		return
	}
	delete(l.aside, s.seq)
	if s.stored {
		l.lower(s.handle, time.Now())
	}
	e.forget(l.target, l)
}

// deadTimeout bounds the writing of a dead letter.
const deadTimeout = 20 * time.Second

// ownPause is how long to wait after a fault of our own.
func (e *Engine) ownPause(it *item) time.Duration {
	n := uint64(1)
	for _, h := range it.held {
		if h.of != nil {
			continue
		}
		if meta, err := h.msg.Metadata(); err == nil {
			n = max(n, meta.NumDelivered)
		}
	}
	return jitter(min(e.opts.Pauses.Own<<min(n-1, 16), ownMost))
}

// leave leaves flags to the stream until the lane fetches them. JetStream is not told: for each that
// is put off, the server looks at all that its consumer waits for (consumer.checkPending), which,
// with hundreds of thousands of them, is all that it does.
func (e *Engine) leave(l *lane, handles ...handle) {
	for _, h := range handles {
		if h.of != nil {
			e.refuse(h)
			continue
		}
		l.away = true
		if f, ok := l.failing[h.flag.Key]; ok {
			f.until = time.Time{} // its pause is over
			l.failing[h.flag.Key] = f
		}
	}
	e.metrics.handedBack.Add(float64(len(handles)))
}

func (e *Engine) nakAll(handles []handle, delay time.Duration) {
	for _, h := range handles {
		e.nak(h, delay)
	}
}

// nak answers a message; should that get lost, JetStream gives the message out again by itself
// after AckWait.
func (e *Engine) nak(h handle, delay time.Duration) {
	if h.of != nil {
		e.refuse(h)
		return
	}
	if delay <= 0 {
		_ = h.msg.Nak()
		return
	}
	_ = h.msg.NakWithDelay(delay)
}
