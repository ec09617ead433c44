package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent lets the heap grow to three times what is in use before it is collected: a busy Loa
	// allocates much that is short-lived, and holds little.
	gcPercent = 200
	// usualMemory is what Go's part of the process's memory is kept to at rest, in bytes, as long as
	// little is in use: after a burst it would stay at three times what the burst needed.
	usualMemory = 176 << 20
	// busyRoom is how much there may be beside what is in use when there is much to do, in bytes.
	// Kept to what it has at rest, a process that pushes spends half of its time collecting.
	busyRoom = 512 << 20
	// busyFrom is from how many bytes that are allocated in a second on it is busy, and busyFor is
	// how long it counts as that afterwards.
	busyFrom = 16 << 20
	busyFor  = 5 * time.Second
	// memoryEvery is how often it is looked at how much is in use.
	memoryEvery = time.Second

	liveHeap  = "/gc/heap/live:bytes"
	allocated = "/gc/heap/allocs:bytes"
)

// keepMemory bounds the memory that the process takes beyond what is in use, until ctx ends. What the
// operator says in GOGC and GOMEMLIMIT goes before.
func keepMemory(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(usualMemory)
	go func() {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		var use memoryUse
		sample := []metrics.Sample{{Name: liveHeap}, {Name: allocated}}
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				metrics.Read(sample)
				debug.SetMemoryLimit(use.limit(now, sample[0].Value.Uint64(), sample[1].Value.Uint64()))
			}
		}
	}()
}

// threadsPerCore is for a process that writes to disk: a thread that waits for the disk keeps its place
// among those that run Go code until the runtime's monitor notices, which takes up to 10 ms. With one
// for each core, an embedded NATS that syncs every write leaves a tenth of the processor time unused.
const threadsPerCore = 2

// makeRoomForSyncs has more threads run Go code than there are processors, and gives how many of those
// there are. What the operator says in GOMAXPROCS goes before.
func makeRoomForSyncs() (processors int) {
	if os.Getenv("GOMAXPROCS") != "" {
		return runtime.GOMAXPROCS(0)
	}
	runtime.SetDefaultGOMAXPROCS() // it may have been done before
	processors = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(threadsPerCore * processors)
	return processors
}

// memoryUse is how a process uses its memory.
type memoryUse struct {
	at        time.Time
	allocated uint64    // bytes, since it began
	busyUntil time.Time // after which it is at rest
}

// limit is the one for a process that has so much in use now, and has allocated so much since it
// began; both in bytes.
func (u *memoryUse) limit(now time.Time, live, allocated uint64) int64 {
	if float64(allocated-u.allocated) >= busyFrom*now.Sub(u.at).Seconds() {
		u.busyUntil = now.Add(busyFor)
	}
	u.at, u.allocated = now, allocated
	const others = 48 << 20 // bytes beside the heap, and what a burst fills before it is looked at again
	// With less than half of what is in use, most of the time would go into collecting it.
	atRest := max(usualMemory, int64(live+live/2)+others)
	if now.Before(u.busyUntil) {
		return max(atRest, int64(live)+busyRoom)
	}
	return atRest
}
