package portal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
)

// changeTries is how often a change is begun anew because somebody else was quicker. People
// change portals; they do not do so ten times in a moment.
const changeTries = 10

func newSecret() Secret { return Secret(events.NewSecret()) }

// Pause holds back all that is due to the portal until [Registry.Resume]. One that is paused
// already stays so, with the first reason.
func (r *Registry) Pause(ctx context.Context, name, by, why string) error {
	return r.change(ctx, name, by, func(p *Portal) bool {
		if p.Paused != nil {
			return false
		}
		p.Paused = &Pause{By: by, Why: why, Since: time.Now().UTC()}
		return true
	})
}

// PauseAs pauses the portal if it still is what p says: [ErrConflict] if it is not.
func (r *Registry) PauseAs(ctx context.Context, p Portal, by, why string) error {
	p.Paused = &Pause{By: by, Why: why, Since: time.Now().UTC()}
	return r.rewrite(ctx, p, by)
}

// Resume lets bulletins go to the portal again: one for each article that changed meanwhile.
func (r *Registry) Resume(ctx context.Context, name, by string) error {
	return r.change(ctx, name, by, func(p *Portal) bool {
		paused := p.Paused != nil
		p.Paused = nil
		return paused
	})
}

// change applies f, which reports whether there is anything to write, to the latest version.
func (r *Registry) change(ctx context.Context, name, by string, f func(*Portal) bool) error {
	for range changeTries {
		p, err := r.load(ctx, name)
		if err != nil {
			return err
		}
		if !f(&p) {
			return nil
		}
		if err := r.rewrite(ctx, p, by); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("change portal %q: %w", name, ErrConflict)
}

// rewrite stores a portal that was valid when it was stored: a site that went since must not
// keep anyone from pausing it.
func (r *Registry) rewrite(ctx context.Context, p Portal, by string) error {
	p = p.changed(by)
	data, err := r.codec.encode(p)
	if err != nil {
		return fmt.Errorf("store portal %q: %w", p.Name, err)
	}
	if err := r.store(ctx, &p, data, by); err != nil {
		return err
	}
	r.set(p.Name, p, p.Revision, false, nil)
	return nil
}

// load reads a portal from the bucket.
func (r *Registry) load(ctx context.Context, name string) (Portal, error) {
	if !nameForm.MatchString(name) {
		return Portal{}, fmt.Errorf("portal %s: %w", show(name), ErrNotFound)
	}
	e, err := r.kv.Get(ctx, configPrefix+name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Portal{}, fmt.Errorf("portal %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Portal{}, fmt.Errorf("read portal %q: %w", name, err)
	}
	p, _, err := r.codec.decode(name, e.Value())
	p.Revision = e.Revision()
	return p, err
}

// Delete removes a portal, its secrets and its state, but not its receipts: should it come back
// under the same name before they are swept ([Janitor]), it is known what it holds. What is due to
// it is dropped.
func (r *Registry) Delete(ctx context.Context, name, by string) error {
	p, err := r.load(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return err
	}
	return r.recorded(ctx, name, p.Revision, Portal{}, by, func() error {
		for _, key := range []string{configPrefix + name, statePrefix + name} {
			if err := r.kv.Delete(ctx, key); err != nil {
				return fmt.Errorf("delete portal %q: %w", name, err)
			}
		}
		return nil
	})
}

// Apply makes the portals that a configuration file lists be as it says: it creates and updates
// them. What running made is kept: a pause, and secrets, where the file names none. A pause in
// the file is a pause. Portals that the file does not list are left alone. If any is invalid,
// nothing is changed.
func (r *Registry) Apply(ctx context.Context, portals []Portal, by string) error {
	if err := r.validate(portals); err != nil {
		return err
	}
	for _, p := range portals {
		if err := r.apply(ctx, p, by); err != nil {
			return err
		}
	}
	return nil
}

// Planned is what [Registry.Apply] would do to one portal.
type Planned struct {
	Name    string       `json:"name"`
	New     bool         `json:"new,omitempty"`
	Changes []Difference `json:"changes,omitempty"` // none: it is as it is to be
}

// Plan tells what Apply would do now.
func (r *Registry) Plan(ctx context.Context, portals []Portal) ([]Planned, error) {
	if err := r.validate(portals); err != nil {
		return nil, err
	}
	plan := make([]Planned, len(portals))
	for i, p := range portals {
		have, want, err := r.merged(ctx, p)
		if err != nil {
			return nil, err
		}
		plan[i] = Planned{Name: p.Name, New: have.Revision == 0, Changes: Differences(have, want)}
		if have.Revision != 0 && same(have, want) {
			plan[i].Changes = nil
		}
	}
	return plan, nil
}

// validate finds all that is wrong with a list of portals.
func (r *Registry) validate(portals []Portal) error {
	var faults []error
	seen := map[string]bool{}
	for _, p := range portals {
		if seen[p.Name] {
			faults = append(faults, &InvalidError{p.Name, []Fault{{"name", show(p.Name), "a name that no other portal has"}}})
		}
		seen[p.Name] = true
		faults = append(faults, p.Validate(r.tree))
	}
	return errors.Join(faults...)
}

// merged gives a portal as it is, and as it will be once what a file says of it is applied.
func (r *Registry) merged(ctx context.Context, p Portal) (have, want Portal, err error) {
	have, err = r.load(ctx, p.Name)
	var malformed *InvalidError
	switch {
	case errors.Is(err, ErrNotFound):
		have = Portal{}
	case errors.As(err, &malformed): // the file knows better
	case err != nil:
		return have, want, err
	}
	want = p
	want.Filter = want.Filter.Canonical()
	want.Created, want.Changed, want.Revision = have.Created, have.Changed, have.Revision
	if have.Paused != nil {
		want.Paused = have.Paused
	}
	want.Former, want.Retired = have.Former, have.Retired
	// A file that names a secret which was rotated out is behind, and must not bring it back.
	want.Secrets = slices.DeleteFunc(slices.Clone(want.Secrets), func(s Secret) bool { return slices.Contains(have.Retired, fingerprint(s)) })
	if len(want.Secrets) == 0 {
		want.Secrets = have.Secrets
	}
	return have, want.withDefaults(), nil
}

func (r *Registry) apply(ctx context.Context, p Portal, by string) error {
	for range changeTries {
		have, want, err := r.merged(ctx, p)
		if err != nil {
			return err
		}
		if have.Revision != 0 && same(have, want) {
			return nil
		}
		if _, err := r.Put(ctx, want, by); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("apply portal %q: %w", p.Name, ErrConflict)
}

// same compares what a configuration file says of two portals: all that is stored, but the
// record of when and by whom.
func same(a, b Portal) bool {
	a.Created, a.Changed = b.Created, b.Changed
	if a.Paused != nil && b.Paused != nil {
		a.Paused = b.Paused
	}
	return reflect.DeepEqual(a.document(revealed), b.document(revealed))
}
