package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/streams"
)

// Options of an engine.
type Options struct {
	// Kind of the targets: "portal", "feed", "hub", "subscriber".
	Kind       string
	Reconciler Reconciler
	// Limits of a target; called from the dispatcher, often: it must be quick. Nil: defaults.
	Limits func(target string) Limits
	// Targets, if set, gives all that there are: with very many flags, those of no others are counted,
	// and what an earlier worker left of others is found an hour later.
	Targets func() []string
	// Workers is the number of runs at once over all targets; default 64. A target that hangs
	// holds as many as its InFlight until it times out, so there should be room for many.
	Workers int
	// Grace is how long runs may go on after the engine was told to stop; default 10 s.
	Grace time.Duration
	// Pauses between retries; the zero value is right but for tests.
	Pauses Pauses
	// OnState, if set, is told when a target's state changes. It must not block.
	OnState func(target string, s State)
	// Restore, if set, gives the state in which another worker, or an earlier run of this one,
	// left a target: one that was down then is probed, not met by all that waits for it.
	Restore func(target string) State
	// Gained, if set, is called when targets have become this worker's, before it begins any work on
	// them, and again after an error: another may have ended in the middle of it. has names those
	// alone; ctx ends when they, or some of them, are lost meanwhile.
	Gained func(ctx context.Context, has func(target string) bool) error
	// Instance names what runs only once, such as the process of an embedded server: a worker of
	// the same instance that did not end in order is known to have ended. "" for none.
	Instance string

	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Pauses between retries. Each is spread by a fifth to both sides.
type Pauses struct {
	// ProbeFirst and ProbeMost are those before the first probe of a target that failed and,
	// each twice the last, between later ones; 5 s and 15 min.
	ProbeFirst, ProbeMost time.Duration
	// Key are those between the attempts at a key that its target refuses, after which it
	// becomes a dead letter: 1 min, 10 min, 1 h.
	Key []time.Duration
	// Own is the first after a fault of our own, each twice the last up to a minute; 1 s.
	Own time.Duration
	// Patrol is how old a target's oldest flag must be to think that it was abandoned; 5 s. In a
	// burst, most flags are on their way to their lanes: raising them again would have half of
	// the work done twice.
	Patrol time.Duration
}

func (p Pauses) withDefaults() Pauses {
	if p.ProbeFirst <= 0 {
		p.ProbeFirst = 5 * time.Second
	}
	if p.ProbeMost <= 0 {
		p.ProbeMost = 15 * time.Minute
	}
	if p.Key == nil {
		p.Key = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}
	}
	if p.Own <= 0 {
		p.Own = time.Second
	}
	if p.Patrol <= 0 {
		p.Patrol = 5 * time.Second
	}
	return p
}

// State of a target, as this worker sees it.
type State struct {
	// Down says that the target's last call failed; nothing but probes is sent until one works.
	Down bool
	// Since is when it went down, or came back.
	Since     time.Time
	Failures  int // in a row
	Reason    string
	NextProbe time.Time
	// Pause is how long before that the last failure was: how much later another worker, whose
	// clock may have another idea of the time, probes at most.
	Pause time.Duration
}

const (
	defaultWorkers = 64
	defaultGrace   = 10 * time.Second

	// notAFlag is after how long JetStream gives a message out again that cannot be read.
	notAFlag = 15 * time.Minute
	// pullMessages is how many messages each reader asks for at once.
	pullMessages = 200
	// pullExpiry keeps an idle reader's pulls coming often enough to stay the pinned one.
	pullExpiry = 5 * time.Second
	// deliveryBuffer decouples the readers from the dispatcher.
	deliveryBuffer = 1024
	// heartbeat is how often held messages are renewed; leaseMargin is how long before
	// JetStream gives a message out again we regard it as lost.
	heartbeat   = streams.FlagAckWait / 3
	leaseMargin = 10 * time.Second
	// ownMost is the longest pause after a fault of our own.
	ownMost = time.Minute
	// maxFailing bounds the keys per target whose failures are remembered.
	maxFailing = 1000
)

// Engine runs a reconciler for all targets of one kind.
type Engine struct {
	opts    Options
	js      jetstream.JetStream
	dead    *streams.Dead
	log     zerolog.Logger
	metrics *metrics

	deliveries chan handle
	finished   chan run
	wakes      chan wake
	refilled   chan refill
	waiting    chan map[string]Waiting
	alone      chan alone    // what became of flags that were raised instead of shares
	setasides  chan setaside // what became of flags of which dead letters were to be made
	swept      chan swept
	gains      chan *gaining
	closed     chan *group           // its readers have ended
	patrolNow  chan struct{}         // look for abandoned flags soon
	holds      atomic.Pointer[[]int] // the groups that are this worker's, for the patrol
	stopped    chan struct{}         // closed when Run returns
	others     sync.WaitGroup
	roster     *roster
	ticked     atomic.Pointer[time.Time] // the dispatcher's last sign of life
	lease      atomic.Pointer[time.Time] // until when new work may be begun
	// tenure counts how often others had all that this worker works on: what was begun in an
	// earlier one is not to go on.
	tenure atomic.Uint64

	// Owned by the dispatcher, in Run.
	groups          []*group
	sweeping        bool
	nextSweep       time.Time
	flags           uint64 // in the stream, when it was swept last
	lanes           map[string]*lane
	express, normal []*lane // that can run
	running         int
	runners         runners
	spreads         map[*spreading]bool
	raising         chan struct{} // of flags instead of shares, at once
	looks           int           // for flags in the stream, under way
	lookers         []*lane       // that want to look
}

type run struct {
	lane  *lane
	items []*item
	err   error
	took  time.Duration
}

// wake asks the dispatcher to look at a lane again.
type wake struct {
	target string
	why    wakeReason
}

type wakeReason int

const (
	timerFired wakeReason = iota // the lane's timer
	lookAgain                    // after a look for flags
	flagsAway                    // flags may wait that the lane does not hold
)

// New prepares an engine; nothing happens before [Engine.Run].
func New(ctx context.Context, js jetstream.JetStream, o Options) (*Engine, error) {
	if o.Limits == nil {
		o.Limits = func(string) Limits { return Limits{} }
	}
	if o.Targets == nil {
		o.Targets = func() []string { return nil }
	}
	if o.Gained == nil {
		o.Gained = func(context.Context, func(string) bool) error { return nil }
	}
	if o.Workers <= 0 {
		o.Workers = defaultWorkers
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.OnState == nil {
		o.OnState = func(string, State) {}
	}
	o.Pauses = o.Pauses.withDefaults()
	dead, err := streams.OpenDead(ctx, js)
	if err != nil {
		return nil, err
	}
	n, err := streams.FlagGroups(o.Kind)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(js, o)
	if err != nil {
		return nil, fmt.Errorf("register metrics of %s targets: %w", o.Kind, err)
	}
	e := &Engine{
		opts: o, js: js, dead: dead, metrics: m,
		log:        o.Log.With().Str("kind", o.Kind).Logger(),
		deliveries: make(chan handle, deliveryBuffer),
		finished:   make(chan run, o.Workers),
		wakes:      make(chan wake, 64),
		refilled:   make(chan refill, 64),
		waiting:    make(chan map[string]Waiting),
		alone:      make(chan alone, 64),
		setasides:  make(chan setaside, 64),
		swept:      make(chan swept, 1),
		gains:      make(chan *gaining),
		closed:     make(chan *group, n),
		patrolNow:  make(chan struct{}, 1),
		stopped:    make(chan struct{}),
		lanes:      map[string]*lane{},
		spreads:    map[*spreading]bool{},
		raising:    make(chan struct{}, aloneAtOnce),
		groups:     make([]*group, n),
	}
	for i := range e.groups {
		e.groups[i] = &group{index: i}
	}
	e.runners = runners{perform: e.perform, jobs: make(chan job, o.Workers)}
	e.tick(time.Now())
	e.lease.Store(&time.Time{})
	e.holds.Store(&[]int{})
	e.roster = newRoster(js, o.Kind, uuid.NewString(), o.Instance, n, e.log, func() time.Time { return *e.ticked.Load() })
	return e, nil
}

func (e *Engine) tick(now time.Time) { e.ticked.Store(&now) }

// Wake makes the engine look for the target's waiting flags now: after it was resumed, or its
// configuration changed. It returns at once.
func (e *Engine) Wake(target string) { e.send(wake{target, flagsAway}) }

func (e *Engine) send(w wake) {
	select {
	case e.wakes <- w:
	case <-e.stopped:
	}
}

// Run works on the flags of its share of the targets until ctx ends. Then it stops reading, hands
// back what it has not begun, gives what runs until the grace period to end, and returns.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.stopped)
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	var around sync.WaitGroup // what goes on beside the dispatcher
	roster, leaveRoster := context.WithCancel(context.WithoutCancel(ctx))
	defer leaveRoster()
	around.Go(func() { e.roster.run(roster) })
	around.Go(func() { e.patrol(reading) })

	runCtx, cancelRuns := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRuns()
	e.dispatch(ctx, reading, runCtx)
	stopReading()
	e.drain(&around, leaveRoster, cancelRuns)
	e.roster.leave()
	return nil
}

// tickEvery is how often the dispatcher looks after what has no event of its own.
const tickEvery = time.Second

// dispatch is the loop that owns the lanes.
func (e *Engine) dispatch(ctx, reading, runCtx context.Context) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		e.start(runCtx)
		select {
		case h := <-e.deliveries:
			e.accept(h)
		case r := <-e.finished:
			e.finish(r)
		case w := <-e.wakes:
			e.wake(w)
		case r := <-e.refilled:
			e.finishRefill(r)
		case w := <-e.waiting:
			e.compare(w)
		case s := <-e.roster.shares:
			e.take(reading, s)
		case it := <-e.gains:
			e.begin(reading, it)
		case g := <-e.closed:
			e.readersClosed(reading, g)
		case a := <-e.alone:
			e.raisedAlone(a)
		case s := <-e.setasides:
			e.finishSetAside(s)
		case s := <-e.swept:
			e.finishSweep(s)
		case now := <-beat.C:
			e.renew(now)
		case now := <-ticks.C:
			e.tick(now)
			e.cut(now)
			e.sweep(now)
			e.watchReaders(now)
			e.forgetIdle(now)
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) wake(w wake) {
	l := e.lanes[w.target]
	if l == nil {
		if e.groupOf(w.target).state != held {
			return // another worker's
		}
		l = e.lane(w.target)
	}
	l.limits = e.limits(l)
	switch w.why {
	case timerFired:
		l.wakeAt = time.Time{}
	case flagsAway:
		l.away = true
		l.cursor = map[string]uint64{}
	}
	e.pump(l)
}

// lane gives the target's lane, with its limits as they are now.
func (e *Engine) lane(target string) *lane {
	l := e.lanes[target]
	if l == nil {
		l = newLane(target)
		l.group = e.groupOf(target)
		l.shared = streams.IsShared(e.opts.Kind, target)
		e.restore(l)
		e.lanes[target] = l
	}
	l.used = time.Now()
	l.limits = e.limits(l)
	return l
}

func (e *Engine) limits(l *lane) Limits {
	if l.shared {
		return sharedLimits
	}
	return e.opts.Limits(l.target).withDefaults()
}

// restore gives the lane's breaker the state that the target was left in by whoever worked on it last.
func (e *Engine) restore(l *lane) {
	if l.shared {
		l.allowed = firstSpreads
	} else if e.opts.Restore != nil {
		l.breaker = restored(e.opts.Restore(l.target), time.Now(), e.opts.Pauses)
	}
}

const (
	// manyLanes is from how many lanes on those are let go in which nothing has been going on for
	// idleFor. Portals and feeds are fewer. Hosts of subscribers come and go, as whoever owns the
	// names of a domain likes, and must not fill the memory.
	manyLanes = 20_000
	idleFor   = time.Minute
)

// forgetIdle lets go of idle lanes, once there are many. One that is needed again begins anew.
func (e *Engine) forgetIdle(now time.Time) {
	if len(e.lanes) <= manyLanes {
		return
	}
	for target, l := range e.lanes {
		if l.idle() && now.Sub(l.used) > idleFor {
			delete(e.lanes, target)
		}
	}
}

// accept puts a delivered flag into its lane, or hands it back.
func (e *Engine) accept(h handle) {
	now := time.Now()
	g := e.groupOf(h.flag.Target)
	g.expectBy = time.Time{}
	if g.state != held {
		e.nak(h, 0) // for the worker whose it is now
		return
	}
	l := e.lane(h.flag.Target)
	l.expected--
	key := h.flag.Key
	if l.shared {
		key = strconv.FormatUint(h.seq, 10)
	}
	if e.join(l, key, h) {
		return
	}
	if l.limits.Held && h.flag.Class == streams.Normal {
		e.nak(h, jitter(heldBack))
		return
	}
	if left := e.pauseLeft(h.flag, now); left > 0 {
		l.remember(h.flag.Key, failure{until: now.Add(left), at: l.failing[h.flag.Key].at})
		e.nak(h, left)
		return
	}
	probing := l.breaker.halfOpen(now) && len(l.items) == 0
	if l.limits.Paused || !l.breaker.closed() && !probing || !l.room(h.flag.Class) {
		e.leave(l, h)
		e.pump(l)
		return
	}
	e.enter(l, key, h)
}

// join adds a flag to those of the same key, if the lane holds any.
func (e *Engine) join(l *lane, key string, h handle) bool {
	if it := l.items[key]; it != nil {
		if it.running {
			it.next = e.add(it.next, h)
		} else {
			it.held = e.add(it.held, h)
			l.promote(it)
			e.pump(l)
		}
		return true
	}
	return false
}

// enter puts a flag into a lane that holds none of its key.
func (e *Engine) enter(l *lane, key string, h handle) {
	it := &item{key: key, held: []handle{h}}
	l.items[key] = it
	l.enqueue(it)
	e.pump(l)
}

// pump does whatever the lane's state asks for: it puts it among those that can run, sets a
// timer, or fetches the flags that were left in the stream.
func (e *Engine) pump(l *lane) {
	now := time.Now()
	if l.limits.Held {
		e.holdBack(l)
	}
	ok, at := l.runnable(now)
	switch {
	case ok && len(l.express) > 0:
		if !l.urgent { // it may be among the others as well
			l.urgent = true
			e.express = append(e.express, l)
		}
	case ok && !l.ready:
		l.ready = true
		e.normal = append(e.normal, l)
	case !ok && at.IsZero() && l.breaker.open(now):
		at = l.breaker.until
	}
	if !at.IsZero() && (l.wakeAt.IsZero() || at.Before(l.wakeAt)) {
		l.wakeAt = at // a later timer may be set still, for a pause that ended early
		time.AfterFunc(max(time.Until(at), 0), func() { e.send(wake{l.target, timerFired}) })
	}
	e.refill(l, now)
}

// start begins runs while there are workers and lanes that can run.
func (e *Engine) start(ctx context.Context) {
	for e.running < e.opts.Workers && time.Now().Before(*e.lease.Load()) {
		var l *lane
		switch {
		case len(e.express) > 0:
			l, e.express = e.express[0], e.express[1:]
			l.urgent = false
		case len(e.normal) > 0:
			l, e.normal = e.normal[0], e.normal[1:]
			l.ready = false
		default:
			e.express, e.normal = nil, nil
			return
		}
		now := time.Now()
		if ok, _ := l.runnable(now); !ok {
			e.pump(l)
			continue
		}
		items := e.fresh(l, l.take(l.limits.Batch), now)
		if len(items) == 0 {
			e.pump(l)
			continue
		}
		if l.shared {
			for _, it := range items {
				e.spread(l, it)
			}
			e.pump(l)
			continue
		}
		l.running++
		l.group.running++
		e.running++
		l.nextRun = now.Add(l.limits.Interval)
		flags := make([]Flag, len(items))
		for i, it := range items {
			it.running = true
			flags[i] = it.flag
		}
		e.pump(l)
		e.runners.begin(ctx, job{run{lane: l, items: items}, flags, e.tenure.Load()})
	}
}

// perform does a job, in one of the runners.
func (e *Engine) perform(ctx context.Context, j job) {
	began := time.Now()
	ctx = context.WithValue(ctx, leaseKey{}, lease{e, j.tenure})
	j.err = e.reconcile(ctx, j.lane.target, j.flags)
	j.took = time.Since(began)
	e.finished <- j.run
}

// reconcile calls the reconciler; a panic in it is one run's fault, not the end of the worker.
func (e *Engine) reconcile(ctx context.Context, target string, flags []Flag) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Failed(fmt.Errorf("panic: %v", p))
			e.log.Error().Str("target", target).Interface("panic", p).Stack().Msg("reconciler panicked")
		}
	}()
	return e.opts.Reconciler.Reconcile(ctx, target, flags)
}

// fresh drops the items whose messages JetStream has given to another by now: this process
// was stopped for a while. They come again.
func (e *Engine) fresh(l *lane, items []*item, now time.Time) []*item {
	kept := items[:0]
	for _, it := range items {
		live := it.held[:0]
		for _, h := range it.held {
			if now.Before(h.lease) {
				live = append(live, h)
			}
		}
		if it.held = live; len(live) == 0 {
			delete(l.items, it.key)
			e.metrics.lost.Inc()
			continue
		}
		kept = append(kept, it)
	}
	return kept
}

// renew tells JetStream that the held messages are still being worked on.
func (e *Engine) renew(now time.Time) {
	for _, l := range e.lanes {
		for _, it := range l.items {
			renewAll(it.held, now)
			renewAll(it.next, now)
		}
	}
}

func renewAll(handles []handle, now time.Time) {
	for i := range handles {
		// One whose time has run out belongs to somebody else.
		if h := &handles[i]; now.Before(h.lease) && (h.of != nil || h.msg.InProgress() == nil) {
			h.lease = now.Add(streams.FlagAckWait - leaseMargin)
		}
	}
}

// drain ends what is going on, within the grace period.
func (e *Engine) drain(around *sync.WaitGroup, leaveRoster, cancelRuns context.CancelFunc) {
	grace := time.AfterFunc(e.opts.Grace, cancelRuns)
	defer grace.Stop()
	for s := range e.spreads {
		e.abandon(s)
	}
	for _, l := range e.lanes {
		for _, it := range l.items {
			if !it.running {
				e.nakAll(it.held, 0)
			}
		}
	}
	for _, g := range e.groups {
		g.stopReading()
	}
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for e.running > 0 || e.reading() {
		select {
		case h := <-e.deliveries:
			e.nak(h, 0)
		case <-e.refilled:
		case <-e.waiting:
		case <-e.wakes:
		case s := <-e.roster.shares:
			e.extend(s) // for what still runs
		case <-e.swept:
			e.sweeping = false
		case <-e.setasides:
		case <-e.alone:
		case g := <-e.closed:
			g.reading = false
		case now := <-ticks.C:
			e.tick(now)
		case r := <-e.finished:
			e.running--
			e.runners.ended()
			e.settle(r)
			for _, it := range r.items {
				e.nakAll(it.next, 0)
			}
		}
	}
	e.runners.end()
	leaveRoster()
	e.attend(around)
	e.attend(&e.others)
	for len(e.deliveries) > 0 {
		e.nak(<-e.deliveries, 0)
	}
	// What was answered last is still in the client's buffer.
	if err := e.js.Conn().FlushTimeout(time.Second); err != nil {
		e.log.Warn().Err(err).Msg("last acknowledgements may be lost; their flags come again")
	}
	e.lastSweep()
}

// attend waits for others than the dispatcher. What they tell it does not matter any more.
func (e *Engine) attend(others *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() { others.Wait(); close(ended) }()
	for {
		select {
		case <-e.roster.shares:
		case <-e.waiting:
		case <-e.refilled:
		case <-e.wakes:
		case <-e.setasides:
		case <-e.alone:
		case <-e.swept:
		case <-ended:
			return
		}
	}
}
