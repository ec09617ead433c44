package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// targets is a reconciler that writes down what it is asked, and answers as told.
type targets struct {
	answer func(target string, flags []reconcile.Flag) error

	mu       sync.Mutex
	runs     map[string][][]string // by target: the keys of each run, in order
	now      map[string]int        // runs under way, by target and key
	mostNow  map[string]int        // by target
	overlaps int
}

func (r *targets) Reconcile(ctx context.Context, target string, flags []reconcile.Flag) error {
	var keys []string
	r.mu.Lock()
	for _, f := range flags {
		keys = append(keys, f.Key)
		if r.now[target+f.Key]++; r.now[target+f.Key] > 1 {
			r.overlaps++
		}
	}
	r.runs[target] = append(r.runs[target], keys)
	r.now[target]++
	r.mostNow[target] = max(r.mostNow[target], r.now[target])
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, k := range keys {
			r.now[target+k]--
		}
		r.now[target]--
	}()
	if r.answer == nil {
		return nil
	}
	return r.answer(target, flags)
}

// calls is how often the target was called, keys which ones it was called for.
func (r *targets) calls(target string) int { return len(r.of(target)) }

func (r *targets) of(target string) [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.runs[target])
}

func newTargets(answer func(target string, flags []reconcile.Flag) error) *targets {
	return &targets{answer: answer, runs: map[string][][]string{}, now: map[string]int{}, mostNow: map[string]int{}}
}

// run starts an engine; the function returned stops it and waits.
func run(t *testing.T, js jetstream.JetStream, o reconcile.Options) (*reconcile.Engine, func()) {
	t.Helper()
	if o.Kind == "" {
		o.Kind = "portal"
	}
	o.Log = zerolog.Nop()
	e, err := reconcile.New(t.Context(), js, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return e, stop
}

func raise(t *testing.T, js jetstream.JetStream, kind, class, target string, keys ...string) {
	t.Helper()
	var flags []reconcile.Flag
	for i, k := range keys {
		flags = append(flags, reconcile.Flag{Class: class, Kind: kind, Target: target, Key: k, Seq: uint64(i + 1)})
	}
	if err := reconcile.Raise(t.Context(), js, flags); err != nil {
		t.Fatal(err)
	}
}

// raiseFor raises the flags by which targets learn of articles: shared ones.
func raiseFor(t *testing.T, js jetstream.JetStream, targets []string, keys ...string) {
	t.Helper()
	raiseVersions(t, js, targets, 0, article.Article{Status: events.StatusLive, Urgency: 5}, keys...)
}

// raiseVersions does so for versions of the articles that are in the log after seq.
func raiseVersions(t *testing.T, js jetstream.JetStream, targets []string, seq uint64, a article.Article, keys ...string) {
	t.Helper()
	var flags []reconcile.Flag
	for i, k := range keys {
		e := streams.Entry{Article: &a, Key: streams.Key(k), Seq: seq + uint64(i) + 1}
		flags = append(flags, reconcile.FlagsFor("portal", targets, nil, e)...)
	}
	if err := reconcile.Raise(t.Context(), js, flags); err != nil {
		t.Fatal(err)
	}
}

// names are those of n targets.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("p", i)
	}
	return all
}

func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("s.%04d", i)
	}
	return all
}

func flagsLeft(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func allLowered(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	defer func() {
		if !t.Failed() {
			return
		}
		const shown = 10
		left, err := streams.ReadPage(context.Background(), js, streams.Flags, streams.Page{Count: shown})
		for _, m := range left {
			t.Logf("still up: %s %s", m.Subject, m.Data)
		}
		if err != nil {
			t.Log(err)
		}
	}()
	loatest.Eventually(t, "all flags lowered", func() bool { return flagsLeft(t, js) == 0 })
}

func TestEveryFlagIsReconciledAndLowered(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	r := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: r})
	for i := range 20 {
		raise(t, js, "portal", streams.Normal, fmt.Sprint("p", i), keys(30)...)
	}
	allLowered(t, js)
	for i := range 20 {
		got := slices.Sorted(slices.Values(slices.Concat(r.of(fmt.Sprint("p", i))...)))
		if got = slices.Compact(got); !slices.Equal(got, keys(30)) {
			t.Errorf("p%d was reconciled for %v", i, got)
		}
	}
}

func TestRaisingAFlagAgainKeepsOne(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	for range 5 {
		raise(t, js, "portal", streams.Normal, "p", "s.a", "s.b")
	}
	if n := flagsLeft(t, js); n != 2 {
		t.Errorf("%d flags, want 2", n)
	}
}

func TestABurstOfFlagsCostsAFewRuns(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	raised := make(chan struct{})
	r := newTargets(func(string, []reconcile.Flag) error { <-raised; return nil })
	run(t, js, reconcile.Options{Kind: "feed", Reconciler: r, Limits: func(string) reconcile.Limits {
		return reconcile.Limits{Batch: 1000, Queue: 1000}
	}})
	for _, k := range keys(1000) { // one by one, as a busy CMS makes them
		raise(t, js, "feed", streams.Normal, "f", k)
	}
	close(raised)
	allLowered(t, js)
	seen := slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of("f")...))))
	if len(seen) != 1000 {
		t.Errorf("%d keys were reconciled, want 1000", len(seen))
	}
	if n := r.calls("f"); n > 50 { // one after the other they would be 1,000
		t.Errorf("1000 flags cost %d runs", n)
	}
	if r.mostNow["f"] != 1 {
		t.Errorf("%d runs at once for one feed", r.mostNow["f"])
	}
}

func TestAFlagRaisedDuringARunCausesOneMoreRunAfterIt(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	started, goOn := make(chan struct{}, 10), make(chan struct{})
	r := newTargets(func(string, []reconcile.Flag) error { started <- struct{}{}; <-goOn; return nil })
	run(t, js, reconcile.Options{Reconciler: r, Limits: func(string) reconcile.Limits { return reconcile.Limits{InFlight: 8} }})
	raise(t, js, "portal", streams.Normal, "p", "s.a")
	<-started
	raise(t, js, "portal", streams.Normal, "p", "s.a")
	raise(t, js, "portal", streams.Express, "p", "s.a")
	raise(t, js, "portal", streams.Normal, "p", "s.b") // proves that what came before it has been seen
	close(goOn)
	allLowered(t, js)
	if r.overlaps != 0 {
		t.Error("two runs at once for one key")
	}
	var a int
	for _, keys := range r.of("p") {
		if keys[0] == "s.a" {
			a++
		}
	}
	if a < 2 || a > 3 { // 3 if the run ended between the two flags
		t.Errorf("s.a was reconciled %d times, want once more after the first", a)
	}
}

// counted gives what a counter without labels stands at.
func counted(t *testing.T, metrics prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestADeadTargetIsOnlyProbedAndCatchesUpWhenItIsBack(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var mu sync.Mutex
	dead := true
	refused := 0
	r := newTargets(func(target string, _ []reconcile.Flag) error {
		mu.Lock()
		defer mu.Unlock()
		if target == "dead" && dead {
			refused++
			return reconcile.Down(errors.New("connection refused"), 0)
		}
		return nil
	})
	var states []reconcile.State
	const probeFirst = 200 * time.Millisecond
	began := time.Now()
	metrics := prometheus.NewRegistry()
	run(t, js, reconcile.Options{Reconciler: r, Metrics: metrics,
		Limits: func(string) reconcile.Limits { return reconcile.Limits{InFlight: 4, Queue: 16} },
		Pauses: reconcile.Pauses{ProbeFirst: probeFirst, ProbeMost: 300 * time.Millisecond},
		OnState: func(target string, s reconcile.State) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}})
	raise(t, js, "portal", streams.Normal, "dead", keys(500)...)
	raise(t, js, "portal", streams.Normal, "well", keys(500)...)
	loatest.Eventually(t, "the other portal is served, the dead one probed, and all that waits for it given out", func() bool {
		// What is on its way to a lane when that fetches it comes twice.
		left := counted(t, metrics, "loa_flags_handed_back_total")
		mu.Lock()
		defer mu.Unlock()
		return r.calls("well") >= 500 && refused >= 4 && left >= 500
	})
	mu.Lock()
	// Probes come one at a time, a pause apart, which is spread; without a breaker there would be hundreds.
	if most := 4 + int(time.Since(began)/(probeFirst/2)); refused > most {
		t.Errorf("the dead portal was called %d times, want at most %d", refused, most)
	}
	dead = false
	mu.Unlock()
	allLowered(t, js)
	// On a busy machine a flag that was fetched may be taken for lost.
	if n := r.calls("dead"); n > 500*6/5+refused {
		t.Errorf("500 flags cost %d calls after the outage", n-refused)
	}
	mu.Lock()
	defer mu.Unlock()
	if first, last := states[0], states[len(states)-1]; !first.Down || first.Reason != "connection refused" || last.Down {
		t.Errorf("states told: first %+v, last %+v", first, last)
	}
}

// A target that was level already was not called: that it is back is not known by it.
func TestADeadTargetIsNotBackByWhatItNeedNotBeAsked(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var mu sync.Mutex
	refused, level := 0, 0
	r := newTargets(func(_ string, flags []reconcile.Flag) error {
		mu.Lock()
		defer mu.Unlock()
		if flags[0].Key != "level.a" {
			refused++
			return reconcile.Down(errors.New("connection refused"), 0)
		}
		level++
		return reconcile.ErrLevel
	})
	var states []reconcile.State
	run(t, js, reconcile.Options{Reconciler: r,
		Pauses: reconcile.Pauses{ProbeFirst: 20 * time.Millisecond, ProbeMost: 40 * time.Millisecond},
		OnState: func(_ string, s reconcile.State) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}})
	raise(t, js, "portal", streams.Normal, "dead", "wanted.a")
	for n := 1; n <= 3; n++ {
		raise(t, js, "portal", streams.Express, "dead", "level.a")
		loatest.Eventually(t, "the flag of what is level is lowered", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return level >= n && refused >= n
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for i, s := range states {
		if !s.Down || s.Failures != i+1 {
			t.Errorf("state %d: %+v", i, s)
		}
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var mu sync.Mutex
	var at []time.Time
	r := newTargets(func(string, []reconcile.Flag) error {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 1 {
			return reconcile.Down(errors.New("too many requests"), time.Second)
		}
		return nil
	})
	run(t, js, reconcile.Options{Reconciler: r, Pauses: reconcile.Pauses{ProbeFirst: time.Millisecond}})
	raise(t, js, "portal", streams.Normal, "p", keys(5)...)
	allLowered(t, js)
	if gap := at[1].Sub(at[0]); gap < time.Second {
		t.Errorf("called again after %s, asked for 1s", gap)
	}
}

func TestExpressFlagsOvertakeABacklog(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	raise(t, js, "portal", streams.Normal, "p", keys(400)...)
	started, goOn := make(chan struct{}, 1), make(chan struct{})
	first := true
	var mu sync.Mutex
	r := newTargets(func(string, []reconcile.Flag) error {
		mu.Lock()
		wait := first
		first = false
		mu.Unlock()
		if wait {
			started <- struct{}{}
			<-goOn
		}
		return nil
	})
	run(t, js, reconcile.Options{Reconciler: r, Limits: func(string) reconcile.Limits { return reconcile.Limits{Queue: 50} }})
	<-started
	raise(t, js, "portal", streams.Express, "p", "s.withdrawal")
	loatest.Eventually(t, "the express flag is delivered", func() bool { return pending(t, js, streams.Express) == 0 })
	close(goOn)
	allLowered(t, js)
	for i, keys := range r.of("p") {
		if keys[0] == "s.withdrawal" {
			if i > 3 {
				t.Errorf("the withdrawal came as number %d", i+1)
			}
			return
		}
	}
	t.Error("the withdrawal was never reconciled")
}

// pending is how many flags of a class no reader has received.
func pending(t *testing.T, js jetstream.JetStream, class string) (n uint64) {
	t.Helper()
	for group := range streams.Partitions {
		c, err := streams.FlagConsumer(t.Context(), js, "portal", class, group)
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += info.NumPending
	}
	return n
}

func TestAKeyThatIsRefusedHoldsNothingUpAndEndsAsADeadLetter(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]error{
		"refused":                   reconcile.Failed(errors.New("422 no such category")),
		"target fails for this key": reconcile.Down(errors.New("500 internal error"), 0),
		"refused for good":          reconcile.Permanent(errors.New("cannot be built")),
	} {
		t.Run(name, func(t *testing.T) {
			js := loatest.NATS(t)
			r := newTargets(func(_ string, flags []reconcile.Flag) error {
				if flags[0].Key == "s.0003" {
					return bad
				}
				return nil
			})
			run(t, js, reconcile.Options{Reconciler: r, Pauses: reconcile.Pauses{
				ProbeFirst: 20 * time.Millisecond, ProbeMost: 40 * time.Millisecond,
				Key: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}}})
			raise(t, js, "portal", streams.Normal, "p", keys(40)...)
			// A portal that fails for one article is told from one that is down by the others
			// that it takes in between.
			dead, err := streams.OpenDead(t.Context(), js)
			if err != nil {
				t.Fatal(err)
			}
			others := 0
			var letters []streams.DeadLetter
			for ; len(letters) == 0 && others < 1000; others++ {
				raise(t, js, "portal", streams.Normal, "p", fmt.Sprintf("s.other-%d", others))
				time.Sleep(30 * time.Millisecond)
				letters = nil
				for l, err := range dead.List(t.Context(), "portal", "") {
					if err != nil {
						t.Fatal(err)
					}
					letters = append(letters, l)
				}
			}
			allLowered(t, js)
			if len(letters) != 1 || letters[0].Key != "p.s.0003" || letters[0].Reason != bad.Error() {
				t.Fatalf("dead letters: %+v", letters)
			}
			if len(slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.of("p")...))))) != 40+others {
				t.Error("not every other key was reconciled")
			}
			// A person retries it.
			before := r.calls("p")
			if err := dead.Retry(t.Context(), letters[0].Seq); err != nil {
				t.Fatal(err)
			}
			loatest.Eventually(t, "the dead letter is tried again", func() bool { return r.calls("p") > before })
		})
	}
}

func TestFaultsOfOurOwnAreRetriedWithoutEnd(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	n := 0
	r := newTargets(func(string, []reconcile.Flag) error {
		if n++; n < 6 {
			return errors.New("object store unavailable")
		}
		return nil
	})
	run(t, js, reconcile.Options{Reconciler: r, Pauses: reconcile.Pauses{Own: 10 * time.Millisecond, Key: []time.Duration{}}})
	raise(t, js, "portal", streams.Normal, "p", "s.a")
	allLowered(t, js)
	if n != 6 {
		t.Errorf("%d runs, want 6", n)
	}
}

func TestAPanicIsOneKeysFault(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	r := newTargets(func(_ string, flags []reconcile.Flag) error {
		if flags[0].Key == "s.0001" {
			panic("nil map")
		}
		return nil
	})
	run(t, js, reconcile.Options{Reconciler: r, Pauses: reconcile.Pauses{Key: []time.Duration{}}})
	raise(t, js, "portal", streams.Normal, "p", keys(10)...)
	allLowered(t, js)
	if n := r.calls("p"); n != 10 {
		t.Errorf("%d runs, want 10", n)
	}
}

func TestAPausedTargetKeepsItsFlagsAndCatchesUpWhenResumed(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var mu sync.Mutex
	paused := true
	r := newTargets(nil)
	e, _ := run(t, js, reconcile.Options{Reconciler: r, Limits: func(target string) reconcile.Limits {
		mu.Lock()
		defer mu.Unlock()
		return reconcile.Limits{Paused: paused && target == "p"}
	}})
	raise(t, js, "portal", streams.Normal, "p", keys(200)...)
	raise(t, js, "portal", streams.Normal, "q", keys(200)...)
	loatest.Eventually(t, "the other portal is served", func() bool { return r.calls("q") >= 200 })
	if n := r.calls("p"); n != 0 {
		t.Fatalf("the paused portal was called %d times", n)
	}
	mu.Lock()
	paused = false
	mu.Unlock()
	e.Wake("p")
	allLowered(t, js)
}

func TestWhatAStoppedEngineHeldIsTakenUpByTheNext(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	started := make(chan struct{}, 100)
	slow := newTargets(func(string, []reconcile.Flag) error {
		started <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		return nil
	})
	limits := func(string) reconcile.Limits { return reconcile.Limits{Queue: 8} }
	_, stop := run(t, js, reconcile.Options{Reconciler: slow, Limits: limits})
	raise(t, js, "portal", streams.Normal, "p", keys(100)...)
	<-started
	stop()
	before := slow.calls("p")
	if left := flagsLeft(t, js); left != uint64(100-before) {
		t.Errorf("%d flags left after %d runs: what ran was not lowered", left, before)
	}
	// JetStream gives most of the flags out again an hour later; the next engine looks for them.
	next := newTargets(nil)
	run(t, js, reconcile.Options{Reconciler: next, Limits: limits})
	allLowered(t, js)
}

func TestCountWaitingSeesEveryTarget(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	raise(t, js, "portal", streams.Normal, "p", keys(7)...)
	raise(t, js, "portal", streams.Express, "p", "s.x")
	raise(t, js, "portal", streams.Normal, "q", "s.y")
	raise(t, js, "feed", streams.Normal, "f", "s.z")
	got, err := reconcile.CountWaiting(t.Context(), js, "portal", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["p"].Flags != 8 || got["q"].Flags != 1 || time.Since(got["p"].Oldest) > time.Minute {
		t.Errorf("waiting: %+v", got)
	}
}

func TestTargetsCatchUpWithoutAPatrol(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	var mu sync.Mutex
	failed, level := map[string]int{}, map[string]bool{}
	r := newTargets(func(target string, flags []reconcile.Flag) error {
		mu.Lock()
		defer mu.Unlock()
		if failed[target]++; failed[target] <= 2 {
			return reconcile.Down(errors.New("connection refused"), 0)
		}
		level[target+flags[0].Key] = true
		return nil
	})
	e, _ := run(t, js, reconcile.Options{Reconciler: r,
		Pauses: reconcile.Pauses{ProbeFirst: time.Millisecond, ProbeMost: 10 * time.Millisecond, Patrol: time.Hour}})
	for i := range 40 {
		target := fmt.Sprint("p", i)
		raise(t, js, "portal", streams.Normal, target, keys(2)...)
		e.Wake(target) // has it look for flags while it goes down
		raise(t, js, "portal", streams.Express, target, keys(2)...)
	}
	loatest.Eventually(t, "all targets are level", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(level) == 40*2
	})
	allLowered(t, js)
}
