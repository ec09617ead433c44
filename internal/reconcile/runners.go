package reconcile

import "context"

// maxIdleRunners is how many goroutines are kept for further runs: enough for steady work, while
// those of a burst go.
const maxIdleRunners = 256

// runners are the goroutines in which runs happen. They are kept, because a new one first grows
// its stack to what a request takes, and because runs that share one context wait for each other
// at it. Owned by the dispatcher.
type runners struct {
	perform func(context.Context, job)
	jobs    chan job // has room for every run
	idle    int      // that wait for a job
}

// job is a run with the flags that the reconciler is given.
type job struct {
	run
	flags  []Flag
	tenure uint64
}

func (rs *runners) begin(ctx context.Context, j job) {
	if rs.idle == 0 {
		go rs.work(ctx)
	} else {
		rs.idle--
	}
	rs.jobs <- j
}

func (rs *runners) work(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for j := range rs.jobs {
		if j.lane == nil {
			return
		}
		rs.perform(ctx, j)
	}
}

// ended takes back the goroutine of a run that ended.
func (rs *runners) ended() {
	if rs.idle >= maxIdleRunners {
		rs.jobs <- job{} // one of them goes
		return
	}
	rs.idle++
}

// end lets them all go. Nothing runs any more.
func (rs *runners) end() { close(rs.jobs) }
