// Package reconcile is the engine that keeps targets level with the log.
//
// A flag says that a target may be behind on a key (an article). To use the engine, write a
// [Reconciler], which makes one target match for the keys it is given, and run an [Engine] for
// its kind of target:
//
//	e, err := reconcile.New(ctx, js, reconcile.Options{Kind: "portal", Reconciler: b, Limits: b.Limits})
//	err = e.Run(ctx) // until ctx ends; drains before it returns
//
// Flags are raised with [Raise], and lowered by the engine when the reconciler has succeeded:
// at any moment a target is level, or has a flag. The engine knows nothing of portals or feeds.
//
//	FLAGS ──reader per consumer──▶ dispatcher ──▶ lane per target ──▶ runs (goroutines)
//	            ▲                      │ leaves what a lane cannot hold
//	            └── raised again, oldest first, when the lane has room
//
// The dispatcher is one goroutine that owns every lane, so nothing in a lane is locked. A lane
// holds a bounded number of its target's flags, runs a bounded number at once, and never two for
// one key. What does not fit is left unanswered in the stream, which would give it out again long
// after: the lane fetches it itself, by raising it anew, as soon as there is room. So a target that
// is slow or dead takes no more of a worker than its lane.
//
// Where a kind of target is of that sort, those of a group that are behind on the same key share one
// flag ([FlagsFor]): the dispatcher gives their lanes a share each, and lowers the flag when all are
// settled. A target that cannot take its share now, or takes long, gets a flag of its own first.
package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

// Reconciler makes one target match the log.
type Reconciler interface {
	// Reconcile makes target match for the keys of flags, which are distinct; at most
	// [Limits.Batch] of them. It must read the articles as they are now, and may be called any
	// number of times for the same state. It is never called for one target and key twice at
	// once in a process. It must return soon after ctx ends.
	//
	// The error decides what becomes of the flags, of all of them alike:
	//
	//	nil               lowered
	//	ErrLevel          lowered, and nothing is known of how the target does
	//	Down(…)           the target itself fails: nothing more is tried for it but single probes
	//	Failed(…)         this key fails for this target: tried again later, at last a dead letter
	//	Permanent(…)      cannot ever work: a dead letter at once
	//	any other         something of our own fails: tried again soon, without end
	Reconcile(ctx context.Context, target string, flags []Flag) error
}

// classes of flags, the more urgent first.
var classes = []string{streams.Express, streams.Normal}

// Limits of one target. The zero value of a field means its default.
type Limits struct {
	InFlight int // runs at once; default 1
	Batch    int // flags in one run; default 1
	Queue    int // flags held in memory; default 64
	// Interval is the shortest time between the starts of two runs; default none.
	Interval time.Duration
	// Paused holds all of the target's flags back.
	Paused bool
	// Held leaves the target's normal flags in the stream, for a run that reads and lowers them
	// itself ([Held], [Lower]). Express flags run as ever. When it ends, the engine has to be told
	// ([Engine.Wake]).
	Held bool
}

const (
	defaultQueue = 64
	// expressQueue is how many times Queue an express flag finds room in, when normal ones do not.
	expressQueue = 2
)

func (l Limits) withDefaults() Limits {
	l.InFlight = max(l.InFlight, 1)
	l.Batch = max(l.Batch, 1)
	if l.Queue <= 0 {
		l.Queue = defaultQueue
	}
	return l
}

// verdict is an error that tells the engine what to do.
type verdict struct {
	kind  verdictKind
	after time.Duration
	err   error
}

type verdictKind int

const (
	targetDown verdictKind = iota + 1
	keyFailed
	permanent
)

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// ErrLevel says that nothing had to be done: a target that was down is not back by that.
var ErrLevel = errors.New("level already")

// Down says that the target itself fails. With after > 0 the target asked for that much time.
func Down(err error, after time.Duration) error { return &verdict{targetDown, after, err} }

// Failed says that the target refuses this key, while it may well take others.
func Failed(err error) error { return &verdict{kind: keyFailed, err: err} }

// Permanent says that no retry can help.
func Permanent(err error) error { return &verdict{kind: permanent, err: err} }

func verdictOf(err error) (verdictKind, time.Duration) {
	var v *verdict
	if errors.As(err, &v) {
		return v.kind, v.after
	}
	return 0, 0
}
