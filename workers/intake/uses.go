package intake

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// use notes, before the article's next version is written, which pictures it is the first to use.
// [streams.ErrErased] if one is being erased just now; tried again, it is stored anew.
func (in *Intake) use(ctx context.Context, key streams.Key, cur, next *article.Article) error {
	pictures := next.Pictures()
	if cur != nil {
		had := cur.Pictures()
		pictures = slices.DeleteFunc(pictures, func(p string) bool { return slices.Contains(had, p) })
	}
	return in.uses.Add(ctx, key, pictures)
}

// releasesAtOnce is how many of one article's pictures are let go at the same time.
const releasesAtOnce = 8

// release lets go of the pictures that the article no longer uses: each is looked at when the time
// of grace is over. The use is taken away last, and so stands for all that is still to be done.
func (in *Intake) release(ctx context.Context, e streams.Entry) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(releasesAtOnce)
	for _, picture := range e.Released {
		g.Go(func() error {
			use, err := in.uses.By(ctx, picture, e.Key)
			if err != nil || use.Revision == 0 {
				return err
			}
			latest, err := in.log.Latest(ctx, e.Key)
			if err != nil || slices.Contains(latest.Pictures(), picture) {
				return err
			}
			if err := in.schedule.Set(ctx, streams.Erasure, streams.ErasureKey(picture), time.Now().Add(in.opts.EraseAfter), nil); err != nil {
				return err
			}
			return in.uses.Remove(ctx, use)
		})
	}
	return g.Wait()
}
