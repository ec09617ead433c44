package intake

import (
	"context"
	"errors"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// Restore puts an article into the log as its copy in the object store has it, unless the log has that
// version or a newer one, and reports so. It may be called while an intake runs, in any process, and
// again after any error.
func (in *Intake) Restore(ctx context.Context, a *article.Article) (bool, error) {
	key := streams.KeyOf(a.Site, a.ID)
	for {
		cur, err := in.current(ctx, key)
		if err != nil {
			return false, err
		}
		if cur.Article != nil && cur.Version.Compare(a.Version) >= 0 {
			return false, in.settle(ctx, cur) // which an earlier call may not have come to
		}
		if err := in.use(ctx, key, cur.Article, a); err != nil {
			return false, err
		}
		seq, err := in.log.Put(ctx, a, cur.Seq)
		if errors.Is(err, streams.ErrConflict) {
			continue
		}
		if err != nil {
			return false, err
		}
		return true, in.settle(ctx, streams.Entry{Article: a, Key: key, Seq: seq})
	}
}
