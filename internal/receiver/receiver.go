// Package receiver is a sample portal: it receives Loa's bulletins, keeps the newest of each
// article, and shows them. `loa receive` runs it for trying a real set-up, the demo for its
// districts, and tests for portals that fail in all the ways in which portals do.
//
//	POST /bulletins        what Loa pushes, in whatever format; a manifest is answered with what is held
//	GET  /                 a page of what is held, for people
//	GET  /bulletins.json   the same for programs
package receiver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/bulletin"
)

// Options of a receiver.
type Options struct {
	// Name is shown on the page.
	Name string
	// Secrets verify the bulletins: one, or two while one replaces the other.
	Secrets []string
	// Dir keeps the bulletins over restarts. Empty: they are held in memory alone.
	Dir string
	Log zerolog.Logger
	// Answer scripts faults, for tests: it is asked about every POST, n counting from 1. Nil,
	// or a nil answer, is the right behaviour.
	Answer func(n int, r *http.Request) *Fault
	// NoManifests has it not know manifests, as receivers do that were written before there were any.
	NoManifests bool
}

// What is held is bounded: with 4 KiB each, articles take 80 MB, and the bodies of those that come
// whole as much again or so. The article that was received longest ago goes first.
const (
	maxArticles = 20_000
	maxBodies   = 128 << 20 // bytes
)

// Held is the newest bulletin of one article.
type Held struct {
	Bulletin  events.Bulletin `json:"bulletin"`
	WebhookID string          `json:"webhook_id"`
	Received  time.Time       `json:"received"`
}

// Counts say what became of the bulletins that were received with a good signature.
type Counts struct {
	Received   int `json:"received"`
	Kept       int `json:"kept"`
	Duplicates int `json:"duplicates"` // of the version held already
	// Regressions are bulletins older than the version held: they were late, and are not kept.
	Regressions int `json:"regressions"`
}

// Receiver is a sample portal.
type Receiver struct {
	name    string
	log     zerolog.Logger
	answer  func(n int, r *http.Request) *Fault
	handler http.Handler

	mu     sync.Mutex
	posts  int
	held   map[string]Held // by GUID
	bodies int             // bytes of the bodies in held
	counts Counts
	ledger *ledger // nil: none
}

// New makes a receiver, with what its directory holds.
func New(o Options) (*Receiver, error) {
	v, err := events.NewVerifier(o.Secrets...)
	if err != nil {
		return nil, fmt.Errorf("receiver %q: %w", o.Name, err)
	}
	r := &Receiver{name: o.Name, log: o.Log, answer: o.Answer, held: map[string]Held{}}
	if o.Dir != "" {
		if r.ledger, err = openLedger(o.Dir, r.held); err != nil {
			return nil, fmt.Errorf("receiver %q: %w", o.Name, err)
		}
	}
	for _, h := range r.held {
		r.bodies += len(h.Bulletin.Data.Body)
	}
	mux := http.NewServeMux()
	mux.Handle("/bulletins", r.scripted(r.bulletins(v, o.NoManifests)))
	mux.HandleFunc("GET /{$}", r.page)
	mux.HandleFunc("GET /style.css", style)
	mux.HandleFunc("GET /bulletins.json", r.list)
	r.handler = secured(mux)
	return r, nil
}

// Handler serves the portal.
func (r *Receiver) Handler() http.Handler { return r.handler }

// Close closes the file of bulletins.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ledger == nil {
		return nil
	}
	return r.ledger.close()
}

func (r *Receiver) bulletins(v *events.Verifier, noManifests bool) http.Handler {
	if noManifests {
		return events.HandlerFor(v, bulletin.Parse, r.receive)
	}
	return events.ComparingHandler(v, bulletin.Parse, r.receive, r.between)
}

// between is a [events.Lister].
func (r *Receiver) between(_ context.Context, after, upTo string, most int) ([]events.ManifestEntry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	page := events.ManifestPage{After: after, UpTo: upTo}
	var all []events.ManifestEntry
	for guid, h := range r.held {
		if page.Includes(guid) {
			all = append(all, h.Bulletin.Data.Entry())
		}
	}
	slices.SortFunc(all, func(a, b events.ManifestEntry) int { return cmp.Compare(a.GUID, b.GUID) })
	return all[:min(len(all), most)], nil
}

// receive keeps a bulletin, unless the one held is as new. It returns once that is on disk.
func (r *Receiver) receive(ctx context.Context, b events.Bulletin) error {
	if b.Type != events.BulletinPublished && b.Type != events.BulletinWithdrawn {
		r.log.Info().Str("type", b.Type).Msg("bulletin of another type ignored")
		return nil
	}
	h := Held{Bulletin: b, WebhookID: events.DeliveryID(ctx), Received: time.Now().UTC()}
	e := r.log.Info().Str("guid", b.Data.GUID).Int64("version", b.Data.Version).Int64("revision", b.Data.Revision).
		Str("status", b.Data.Status).Str("webhook_id", h.WebhookID)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Received++
	have, ok := r.held[b.Data.GUID]
	switch {
	case ok && sameVersion(have.Bulletin.Data, b.Data) && have.Bulletin.Data.Hash() == b.Data.Hash() && have.Bulletin.Data.Status == b.Data.Status:
		r.counts.Duplicates++
		e.Msg("bulletin repeated")
		return nil
	case ok && have.Bulletin.Data.Newer(b.Data):
		r.counts.Regressions++
		e.Msg("bulletin older than the one held")
		return nil
	}
	if r.ledger != nil {
		if err := r.ledger.append(h, r.held); err != nil {
			r.log.Error().Err(err).Msg("bulletin not kept")
			return err
		}
	}
	r.bodies += len(b.Data.Body) - len(have.Bulletin.Data.Body)
	r.held[b.Data.GUID] = h
	r.counts.Kept++
	for len(r.held) > maxArticles || r.bodies > maxBodies {
		guid := oldest(r.held)
		r.bodies -= len(r.held[guid].Bulletin.Data.Body)
		delete(r.held, guid)
	}
	e.Msg("bulletin kept")
	return nil
}

func sameVersion(a, b events.BulletinArticle) bool { return !a.Newer(b) && !b.Newer(a) }

func oldest(held map[string]Held) string {
	var guid string
	for g, h := range held {
		if guid == "" || h.Received.Before(held[guid].Received) {
			guid = g
		}
	}
	return guid
}

// Held gives what is held, the latest publication first.
func (r *Receiver) Held() []Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Held, 0, len(r.held))
	for _, h := range r.held {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b Held) int {
		return cmp.Or(b.Bulletin.Data.Published.Compare(a.Bulletin.Data.Published),
			cmp.Compare(a.Bulletin.Data.GUID, b.Bulletin.Data.GUID))
	})
	return all
}

// Get gives the newest bulletin of an article.
func (r *Receiver) Get(guid string) (Held, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[guid]
	return h, ok
}

// Edit changes what is held of an article behind Loa's back, or with nil removes it; for tests.
func (r *Receiver) Edit(guid string, change func(*events.BulletinArticle)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[guid]
	if change == nil {
		delete(r.held, guid)
		return
	}
	change(&h.Bulletin.Data)
	r.held[guid] = h
}

// Counts gives the counts since the start.
func (r *Receiver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Posts is how many requests came to /bulletins since the start, whatever their signature.
func (r *Receiver) Posts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.posts
}

// list answers GET /bulletins.json.
func (r *Receiver) list(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(struct {
		Name      string `json:"name"`
		Counts    Counts `json:"counts"`
		Bulletins []Held `json:"bulletins"`
	}{r.name, r.Counts(), r.Held()})
	if err != nil {
		http.Error(w, "the bulletins could not be listed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(body)
}

// scripted lets the script answer in place of the handler, or after it.
func (r *Receiver) scripted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.posts++
		n := r.posts
		r.mu.Unlock()
		var f *Fault
		if r.answer != nil {
			f = r.answer(n, req)
		}
		if f == nil {
			h.ServeHTTP(w, req)
			return
		}
		if f.Keep {
			h.ServeHTTP(unanswered{}, req)
		}
		// With the body unread, the server would not notice that the client has gone.
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, req.Body, events.MaxBulletinBytes))
		f.Do(w, req)
	})
}

// unanswered takes an answer that nobody is to receive.
type unanswered struct{}

func (unanswered) Header() http.Header         { return http.Header{} }
func (unanswered) Write(b []byte) (int, error) { return len(b), nil }
func (unanswered) WriteHeader(int)             {}

// secured sets the headers of every answer: the page needs nothing but its style sheet and
// pictures.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; img-src http: https:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		h.ServeHTTP(w, req)
	})
}
