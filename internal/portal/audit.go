package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// Record is one change of a portal: who made it, when, and what it was. Values of secrets are
// not in it.
//
// It is stored before the change is, so no change goes without a record. One that turns out not
// to be made (somebody else was quicker) is taken back; one of which it is not known, because
// the server did not answer, is followed by another with a Fault. Only where the process ends
// just between the two is there a record of a change that was not made.
type Record struct {
	Portal string    `json:"portal"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	// What was done: added, changed, paused, resumed, rotated (its secrets) or removed.
	What    string       `json:"what"`
	Why     string       `json:"why,omitempty"` // of a pause
	Changes []Difference `json:"changes,omitempty"`
	// Fault says why it is not known whether the change was made.
	Fault string `json:"fault,omitempty"`
}

// auditKind is that of portals in the subjects of records.
const auditKind = "portal"

// recordTimeout bounds what is written about a change that failed.
const recordTimeout = 5 * time.Second

// recorded records that the portal called name becomes after, makes the change, and takes the
// record back if that was in conflict. before is the revision over which it is made.
func (r *Registry) recorded(ctx context.Context, name string, before uint64, after Portal, by string, change func() error) error {
	rec := record(name, r.as(ctx, name, before), after, by)
	seq, err := r.record(ctx, rec)
	if err != nil {
		return err
	}
	err = change()
	if err == nil {
		return nil
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var noted error
	if errors.Is(err, ErrConflict) {
		noted = r.unrecord(later, seq)
	} else {
		rec.Fault = err.Error()
		_, noted = r.record(later, rec)
	}
	if noted != nil {
		r.log.Warn().Err(noted).Str("portal", name).Msg("record of a change that was not made stays")
	}
	return err
}

// as gives the portal as it was at a revision; the zero Portal where it cannot be told.
func (r *Registry) as(ctx context.Context, name string, revision uint64) Portal {
	if revision == 0 {
		return Portal{}
	}
	if p, ok := r.Get(name); ok && p.Revision == revision {
		return p
	}
	p, err := r.load(ctx, name)
	if err != nil { // malformed: nothing of it is known for certain
		return Portal{Name: name}
	}
	return p
}

func record(name string, before, after Portal, by string) Record {
	rec := Record{Portal: name, At: time.Now().UTC(), By: by, What: "changed", Changes: Differences(before, after)}
	only := func(fields ...string) bool {
		return len(rec.Changes) > 0 && !slices.ContainsFunc(rec.Changes, func(d Difference) bool { return !slices.Contains(fields, d.Field) })
	}
	switch {
	case after.Name == "":
		rec.What, rec.Changes = "removed", nil
	case before.Name == "":
		rec.What = "added"
	case only("paused") && after.Paused != nil:
		rec.What, rec.Why, rec.Changes = "paused", after.Paused.Why, nil
	case only("paused"):
		rec.What, rec.Changes = "resumed", nil
	case only("secrets", "former_secrets", "retired_secrets"):
		rec.What = "rotated"
	}
	return rec
}

func (r *Registry) record(ctx context.Context, rec Record) (seq uint64, err error) {
	data, err := json.Marshal(rec)
	if err == nil {
		var ack *jetstream.PubAck
		if ack, err = r.js.Publish(ctx, streams.AuditSubject(auditKind, rec.Portal), data, jetstream.WithExpectStream(streams.Audit)); err == nil {
			return ack.Sequence, nil
		}
	}
	return 0, fmt.Errorf("record that %s changes portal %q: %w", rec.By, rec.Portal, err)
}

func (r *Registry) unrecord(ctx context.Context, seq uint64) error {
	stream, err := r.js.Stream(ctx, streams.Audit)
	if err == nil {
		err = stream.DeleteMsg(ctx, seq)
	}
	if err != nil {
		return fmt.Errorf("take record %d back: %w", seq, err)
	}
	return nil
}

// recordPage is how many records are read at once.
const recordPage = 200

// History gives the changes of a portal, or of all (""), oldest first, as far back as they are
// kept. Those of portals that are gone are among them.
func (r *Registry) History(ctx context.Context, name string) iter.Seq2[Record, error] {
	subject := streams.AuditSubject(auditKind, "*")
	if name != "" {
		if !nameForm.MatchString(name) {
			return func(func(Record, error) bool) {}
		}
		subject = streams.AuditSubject(auditKind, name)
	}
	return streams.Walk(ctx, r.js, streams.Audit, streams.Page{Subject: subject, Count: recordPage}, func(m *jetstream.RawStreamMsg) (rec Record, err error) {
		err = json.Unmarshal(m.Data, &rec)
		return rec, err
	})
}
