package objects

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDurablePut stores 8 KB objects by 16 writers in the embedded server, and reports
// how many times as long it takes as writing, syncing and renaming files of that size in the
// same run: the least that durability costs.
func BenchmarkDurablePut(b *testing.B) {
	const size, writers = 8 << 10, 16
	body := make([]byte, size)
	s := newStore(b)
	dir := b.TempDir()
	b.StopTimer()

	// spread does n jobs by the writers, and says how long they took.
	spread := func(n int, job func(i int) error) time.Duration {
		var next atomic.Int64
		done := make(chan error, writers)
		began := time.Now()
		for range writers {
			go func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if err := job(int(i)); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range writers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}
	// In turns, so that what else the machine does weighs on both alike.
	const turn = 200
	var put, floor time.Duration
	b.SetBytes(size)
	for first := 0; first < b.N; first += turn {
		n := min(turn, b.N-first)
		b.StartTimer()
		put += spread(n, func(i int) error {
			_, err := s.Put(b.Context(), fmt.Sprintf("articles/an-khanh/%d.json", first+i), body, Meta{ContentType: "application/json"})
			return err
		})
		b.StopTimer()
		floor += spread(n, func(i int) error { return writeFile(dir, fmt.Sprintf("%d.json", first+i), body) })
	}
	b.ReportMetric(float64(b.N)/put.Seconds(), "puts/s")
	b.ReportMetric(float64(b.N)/floor.Seconds(), "floor/s")
	b.ReportMetric(float64(put)/float64(floor), "x-floor")
}

func writeFile(dir, name string, body []byte) error {
	f, err := os.CreateTemp(dir, "tmp-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

func BenchmarkGet(b *testing.B) {
	s := newStore(b)
	mustPut(b, s, "a", string(make([]byte, 8<<10)), Meta{})
	for b.Loop() {
		if _, err := s.Get(b.Context(), "a", 8<<10); err != nil {
			b.Fatal(err)
		}
	}
}
