package portal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// lookupTimeout bounds the question who holds an article, where the caller set no deadline.
const lookupTimeout = 10 * time.Second

// holding gives the subjects of all receipts for an article.
func holding(ctx context.Context, receipts jetstream.Stream, key streams.Key) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	info, err := receipts.Info(ctx, jetstream.WithSubjectFilter(streams.ReceiptsFor(key)))
	if err != nil {
		return nil, fmt.Errorf("look up who holds article %s: %w", key, err)
	}
	return info.State.Subjects, nil
}

// Concerned names the portals that may have to learn of this version of an article, sorted:
// those whose filter selects it, or may have selected a former version, and those that have a
// receipt for it. It may err on the side of too many.
func (r *Registry) Concerned(ctx context.Context, e streams.Entry) ([]string, error) {
	var holders map[string]uint64
	// Nobody can hold what is there for the first time.
	first := e.Version == (article.Version{Number: 1})
	if !first {
		var err error
		if holders, err = holding(ctx, r.receipts, e.Key); err != nil {
			return nil, err
		}
	}
	ancestors := r.tree.Ancestors(e.Site)
	var names []string
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, p := range r.portals {
		_, holds := holders[streams.ReceiptSubject(name, e.Key)]
		if holds || p.Filter.now(e.Article, ancestors) || !first && p.Filter.ever(e.Article, ancestors) {
			names = append(names, name)
		}
	}
	for name := range r.malformed { // what it wants is known once it is repaired
		if nameForm.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
