package bulletins

import (
	"context"

	"github.com/loa-syndication/loa/internal/streams"
)

// LevelLate is what a worker does for a flag when it is stopped for a while after it has read the
// article and its receipt: meanwhile is what others do then.
func (w *Worker) LevelLate(ctx context.Context, name string, key streams.Key, meanwhile func()) error {
	p, _ := w.opts.Portals.Get(name)
	a, err := w.articles.get(ctx, wanted{key, FormOf(p)}, 0)
	if err != nil {
		return err
	}
	r, _, err := w.opts.Receipts.Get(ctx, name, key)
	if err != nil {
		return err
	}
	meanwhile()
	return w.send(ctx, p, a, r)
}
