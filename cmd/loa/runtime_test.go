package main

import (
	"testing"
	"time"
)

func TestMemoryIsGivenWhileThereIsMuchToDo(t *testing.T) {
	const live = 100 << 20
	began := time.Now()
	u := memoryUse{at: began}
	for _, step := range []struct {
		second    int
		allocated uint64 // so far
		want      int64
	}{
		{1, 10 << 20, live + live/2 + 48<<20},
		{2, 100 << 20, live + 512<<20},
		{3, 101 << 20, live + 512<<20}, // it may begin again
		{6, 102 << 20, live + 512<<20},
		{7, 103 << 20, live + live/2 + 48<<20},
		{10, 155 << 20, live + 512<<20}, // a tick was late
	} {
		if got := u.limit(began.Add(time.Duration(step.second)*time.Second), live, step.allocated); got != step.want {
			t.Errorf("after %d s: limit %d MiB, want %d MiB", step.second, got>>20, step.want>>20)
		}
	}
	if got := new(memoryUse).limit(began, 10<<20, 0); got != usualMemory {
		t.Errorf("with little in use: limit %d MiB, want %d MiB", got>>20, usualMemory>>20)
	}
	if got, want := new(memoryUse).limit(began, 2<<30, 0), int64(3<<30+48<<20); got != want {
		t.Errorf("with much in use: limit %d MiB, want %d MiB", got>>20, want>>20)
	}
}
