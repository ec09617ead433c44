package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent lets the heap grow to three times what is in use before it is collected: a busy Loa
	// allocates much that is short-lived, and holds little.
	gcPercent = 200
	// usualMemory is what Go's part of the process's memory is kept to nevertheless, in bytes, as long
	// as little is in use: after a burst it would stay at three times what the burst needed.
	usualMemory = 176 << 20
	// memoryEvery is how often it is looked at how much is in use.
	memoryEvery = time.Second
	liveHeap    = "/gc/heap/live:bytes"
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
		sample := []metrics.Sample{{Name: liveHeap}}
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				metrics.Read(sample)
				debug.SetMemoryLimit(memoryLimit(sample[0].Value.Uint64()))
			}
		}
	}()
}

// memoryLimit leaves room for the heap to grow by half: with less, most of the time would go into
// collecting it.
func memoryLimit(live uint64) int64 {
	const others = 48 << 20 // bytes beside the heap, and what a burst fills before it is looked at again
	return max(usualMemory, int64(live+live/2)+others)
}
