package bulletins

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/portal"
)

// ErrNotCompared says that a portal takes manifests for something that it does not know.
var ErrNotCompared = errors.New("does not compare")

// Manifests sends a portal pages of a manifest, and reads what it answers.
type Manifests struct {
	portal portal.Portal
	worker *Worker
	last   time.Time // when a page was sent
}

// NewManifests prepares to send as the workers send: signed by all the portal's secrets, with its
// headers, within its time-out and at its rate, to no address that it may not have. Nothing is
// noted of the answers, as of those to [Ping].
func NewManifests(p portal.Portal, version string) *Manifests {
	return &Manifests{portal: p, worker: &Worker{opts: Options{Version: version}, clients: newClients()}}
}

// Close ends the connections.
func (ms *Manifests) Close() { ms.worker.clients.close() }

// Send sends a page, and gives the answer. [ErrNotCompared] if the portal does not compare: it
// answers as to any bulletin, or refuses one of this type.
func (ms *Manifests) Send(ctx context.Context, m events.Manifest) (events.Holdings, error) {
	p := ms.portal
	d, err := bulletin.JSON(m)
	if err != nil {
		return events.Holdings{}, fmt.Errorf("make page %d of the manifest: %w", m.Data.Page, err)
	}
	select {
	case <-ctx.Done():
		return events.Holdings{}, ctx.Err()
	case <-time.After(time.Until(ms.last.Add(p.Interval()))):
	}
	ms.last = time.Now()
	a := ms.worker.ask(ctx, p, "manifest_"+rand.Text(), d.Body, d.ContentType, events.MaxBulletinBytes+1, p.Timeout)
	if err := ctx.Err(); err != nil {
		return events.Holdings{}, err
	}
	switch r := classify(p, a); {
	case r.outcome == outcomeRefused:
		return events.Holdings{}, fmt.Errorf("%w: %w", ErrNotCompared, r.err)
	case r.err != nil:
		return events.Holdings{}, fmt.Errorf("page %d of the manifest: %w", m.Data.Page, r.err)
	case a.cut != nil:
		return events.Holdings{}, fmt.Errorf("page %d of the manifest: portal %q: its answer does not end: %w", m.Data.Page, p.Name, errors.New(fit(a.cut.Error(), p)))
	}
	h, err := events.ParseHoldings(a.body, m.Data)
	if errors.Is(err, events.ErrNoHoldings) {
		return h, fmt.Errorf("%w: portal %q answered %d without what it holds", ErrNotCompared, p.Name, a.status)
	}
	if err != nil {
		return h, fmt.Errorf("page %d of the manifest: portal %q answered: %w", m.Data.Page, p.Name, errors.New(fit(err.Error(), p)))
	}
	return h, nil
}
