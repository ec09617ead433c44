package portal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Concerns reports whether the portal is to hold the article as it is now: because its filter
// selects it, or because it holds or may hold some version of it.
func (p Portal) Concerns(a *article.Article, r Receipt, tree *site.Tree) bool {
	// It learns of every change of what it shows, also of one that its filter does not select.
	return r.Touched() || a.Live() && p.Filter.Matches(a, tree)
}

// Due reports whether the portal has to be sent the article as it is now, by what its receipt
// says that it holds.
func (p Portal) Due(a *article.Article, r Receipt, tree *site.Tree) bool {
	if r.Holds != (article.Version{}) && r.Holds.Compare(a.Version) >= 0 {
		return false
	}
	return p.Concerns(a, r, tree)
}

// Doubt notes that the portal may hold what r says that it holds, no longer that it does: so it is
// due to be sent the article again. It does nothing if another attempt came to an end since r was
// read.
func (rs *Receipts) Doubt(ctx context.Context, r Receipt) error {
	return rs.doubt(ctx, r, func(*Receipt) {})
}

// Refute is Doubt where the portal was found to hold another version than r says, or none (zero),
// or another content. It is sent the article under a new webhook-id.
func (rs *Receipts) Refute(ctx context.Context, r Receipt, found article.Version) error {
	return rs.doubt(ctx, r, func(r *Receipt) {
		r.Again++
		if r.MayHold.Compare(found) < 0 {
			r.MayHold = found
		}
	})
}

func (rs *Receipts) doubt(ctx context.Context, r Receipt, change func(*Receipt)) error {
	for held := r.Holds; r.Holds == held; {
		change(&r)
		if r.MayHold.Compare(held) < 0 {
			r.MayHold = held
		}
		r.Holds, r.Status, r.Outcome = article.Version{}, "", ""
		_, err := rs.Put(ctx, r)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if r, _, err = rs.Latest(ctx, r.Portal, r.Key); err != nil {
			return err
		}
	}
	return nil
}

// GetMany reads the newest receipts of many pairs, in few exchanges: out[i] is that of the pair
// that of[i] names, with Seq 0 where there is none. Like those of [Receipts.Get] they may be
// older than what the leader has.
func (rs *Receipts) GetMany(ctx context.Context, of []Receipt) ([]Receipt, error) {
	out := make([]Receipt, 0, len(of))
	for part := range slices.Chunk(of, receiptBatch) {
		subjects := make([]string, len(part))
		for i, r := range part {
			subjects[i] = r.subject()
		}
		found := make(map[string]*jetstream.RawStreamMsg, len(part))
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		err := rs.readMany(ctx, subjects, found)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("read %d receipts: %w", len(part), err)
		}
		for i, r := range part {
			r = Receipt{Portal: r.Portal, Key: r.Key}
			if m := found[subjects[i]]; m != nil {
				if r, err = parseReceipt(m); err != nil {
					return nil, err
				}
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// Holders names the portals that have a receipt for the article, sorted; some of them may have
// been deleted since.
func (rs *Receipts) Holders(ctx context.Context, key streams.Key) ([]string, error) {
	stream, err := rs.js.Stream(ctx, streams.Receipts) // of its own: Info writes into it
	if err != nil {
		return nil, fmt.Errorf("look up who holds article %s: %w", key, err)
	}
	subjects, err := holding(ctx, stream, key)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(subjects))
	for subject := range subjects {
		name, _, err := streams.ReceiptParts(subject)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
