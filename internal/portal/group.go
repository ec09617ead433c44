package portal

import (
	"context"
	"errors"
	"sync"
)

// group answers concurrent calls together. While batches are under way, the calls that come in
// gather for the next: nothing waits on purpose, and the more there is to do, the more calls
// share one round trip and its fsyncs.
type group[In, Out any] struct {
	// do answers every call of a batch, which has at most most of them.
	do   func([]*call[In, Out])
	most int
	// atOnce is how many batches are under way at once.
	atOnce int
	// room bounds the calls that wait or are under way; further ones wait to be let in.
	room chan struct{}

	mu        sync.Mutex
	waiting   []*call[In, Out]
	done      chan struct{} // of the calls at the end of waiting, gathering of them, which will be one batch
	gathering int
	running   int // goroutines that work through them
	closed    bool
	workers   sync.WaitGroup
}

// call is one question with its answer, which is there once done is closed: that of its batch.
type call[In, Out any] struct {
	in   In
	out  Out
	err  error
	done chan struct{}
}

func newGroup[In, Out any](most, atOnce, room int, do func([]*call[In, Out])) *group[In, Out] {
	return &group[In, Out]{do: do, most: most, atOnce: atOnce, room: make(chan struct{}, room)}
}

var errClosed = errors.New("closed")

// ask returns the answer to in. When ctx ends first, in may be answered nevertheless.
func (g *group[In, Out]) ask(ctx context.Context, in In) (Out, error) {
	var none Out
	c, err := g.put(ctx, in)
	if err != nil {
		return none, err
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// put gives the call by which in is answered.
func (g *group[In, Out]) put(ctx context.Context, in In) (*call[In, Out], error) {
	select {
	case g.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c := &call[In, Out]{in: in}
	if !g.add(c) {
		<-g.room
		return nil, errClosed
	}
	return c, nil
}

func (g *group[In, Out]) add(c *call[In, Out]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.gathering == 0 || g.gathering == g.most {
		g.done, g.gathering = make(chan struct{}), 0
	}
	c.done = g.done
	g.gathering++
	g.waiting = append(g.waiting, c)
	if g.running < g.atOnce {
		g.running++
		g.workers.Go(g.work)
	}
	return true
}

func (g *group[In, Out]) work() {
	for {
		batch := g.next()
		if len(batch) == 0 {
			return
		}
		g.do(batch)
		close(batch[0].done)
		for range batch {
			<-g.room
		}
	}
}

// next takes the calls that are to be answered together. With none, one goroutine fewer
// works.
func (g *group[In, Out]) next() []*call[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.most)
	batch := g.waiting[:n:n]
	if g.waiting = g.waiting[n:]; len(g.waiting) == 0 {
		g.gathering = 0
	}
	if n == 0 {
		g.running--
	}
	return batch
}

// close lets no more calls in, and returns when those that are in have been answered.
func (g *group[In, Out]) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.workers.Wait()
}
