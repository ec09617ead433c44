package portal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/loa-syndication/loa/events"
)

const (
	// MaxOverlap bounds how long a secret that was replaced goes on signing: whoever has it can
	// forge bulletins for as long.
	MaxOverlap = 90 * 24 * time.Hour
	// maxRetired bounds the secrets that are known to have been replaced; the oldest are
	// forgotten first.
	maxRetired = 32
)

// fingerprint names a secret without telling it: secrets are random, so nobody finds one by its
// hash.
func fingerprint(s Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// Rotate gives a portal a new secret. Those that it had sign beside it for the time of the overlap,
// so that the portal can be given the new one meanwhile; with none they end at once.
func (r *Registry) Rotate(ctx context.Context, name string, fresh Secret, overlap time.Duration, by string) error {
	if err := events.CheckSecret(fresh.Reveal()); err != nil {
		return fmt.Errorf("rotate the secret of portal %q: %w", name, err)
	}
	if overlap < 0 || overlap > MaxOverlap {
		return fmt.Errorf("rotate the secret of portal %q: overlap of %s, expected 0 to %s", name, overlap, MaxOverlap)
	}
	var used bool
	err := r.change(ctx, name, by, func(p *Portal) bool {
		if used = slices.Contains(p.Secrets, fresh) || slices.Contains(p.Retired, fingerprint(fresh)); used {
			return false
		}
		now := time.Now().UTC()
		for _, s := range p.Secrets {
			p.Retired = append(p.Retired[:len(p.Retired):len(p.Retired)], fingerprint(s))
			if overlap > 0 {
				p.Former = append(p.Former[:len(p.Former):len(p.Former)], Former{s, now.Add(overlap)})
			}
		}
		if overlap == 0 {
			p.Former = nil
		}
		p.Retired = p.Retired[max(len(p.Retired)-maxRetired, 0):]
		p.Secrets = []Secret{fresh}
		return true
	})
	if used {
		err = errors.New("it has had this secret already")
	}
	if err != nil {
		return fmt.Errorf("rotate the secret of portal %q: %w", name, err)
	}
	return nil
}

// EndOverlap ends the use of all secrets that were replaced, and reports whether there were any.
func (r *Registry) EndOverlap(ctx context.Context, name, by string) (ended bool, err error) {
	err = r.change(ctx, name, by, func(p *Portal) bool {
		ended = len(p.Former) > 0
		p.Former = nil
		return ended
	})
	return ended, err
}

// changed is the portal as it is stored when somebody has changed it: without the secrets whose
// time is over.
func (p Portal) changed(by string) Portal {
	p.Changed = Change{By: by, At: time.Now().UTC()}
	p.Former = slices.DeleteFunc(slices.Clone(p.Former), func(f Former) bool { return !p.Changed.At.Before(f.Until) })
	return p
}

func (r *Registry) markStale(name string, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.stale, name); stale {
		r.stale[name] = true
	}
}

// Reseal seals the secrets anew that are stored in clear, or were sealed with a former key, and
// gives the number of portals that had such. Nothing else of them changes.
func (r *Registry) Reseal(ctx context.Context) (int, error) {
	r.mu.RLock()
	var names []string
	for name := range r.stale {
		names = append(names, name)
	}
	r.mu.RUnlock()
	for _, name := range names {
		for {
			p, err := r.load(ctx, name)
			if errors.Is(err, ErrNotFound) {
				break
			}
			var data []byte
			if err == nil {
				data, err = r.codec.encode(p)
			}
			if err == nil {
				_, err = r.kv.Update(ctx, configPrefix+name, data, p.Revision)
			}
			if err = conflict(err); errors.Is(err, ErrConflict) {
				continue
			}
			if err != nil {
				return 0, fmt.Errorf("seal the secrets of portal %q anew: %w", name, err)
			}
			break
		}
	}
	return len(names), nil
}
