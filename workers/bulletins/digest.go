package bulletins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// digestKey is the key of the flag by which a portal's digest is due. No article has it, since an
// article's has two tokens.
const digestKey = "digest"

// dueFlag says that a portal's digest is due. However often it is raised before the digest is
// sent, there is one: times that passed while nothing worked are made up once.
func dueFlag(name string) reconcile.Flag {
	return reconcile.Flag{Class: streams.Express, Kind: Kind, Target: name, Key: digestKey}
}

// entry is an article that a digest tells of.
type entry struct {
	standing
	flag reconcile.Flag
	// data is the article as it stands in its bulletin; nil if it has none.
	data json.RawMessage
}

// collected is what there is to tell a portal.
type collected struct {
	entries []entry
	// alone are those that have no bulletin, which is for the engine to tell somebody.
	alone []entry
	// place is that of the last flag that was looked at, and more, how many there are beyond it.
	place uint64
	more  int
}

// digest brings the portal level with what its held flags name: the oldest of them, in one
// bulletin. If there are more, the digest is due again.
//
// The flags are lowered when the receipts are on disk, and the digest's own, by the engine, after
// that. A crash at any point leaves the flags up of what may not have arrived, and the digest due:
// the same content is sent again, with the same id, or what is left of it.
//
// [reconcile.ErrLevel] says that the portal was not called.
func (w *Worker) digest(ctx context.Context, p portal.Portal) error {
	if p.Digest == nil {
		return reconcile.ErrLevel // no longer: the flags are not held either
	}
	c, err := w.collect(ctx, p)
	if err != nil {
		return err
	}
	apart := c.alone
	if len(c.entries) > 0 {
		refused, err := w.sendDigest(ctx, p, c)
		if err != nil {
			return err
		}
		if refused {
			apart = append(apart, c.entries...)
		}
	}
	if err := w.sendSingly(ctx, apart); err != nil {
		return err
	}
	if c.place > 0 {
		if err := reconcile.Lower(ctx, w.opts.JS, Kind, p.Name, c.place); err != nil {
			return err
		}
	}
	if c.more > 0 {
		if err := reconcile.Raise(ctx, w.opts.JS, []reconcile.Flag{dueFlag(p.Name)}); err != nil {
			return err
		}
	}
	if len(c.entries) == 0 {
		return reconcile.ErrLevel
	}
	return nil
}

// sendSingly has articles sent at once, each in a bulletin of its own, whose refusal then is one
// article's matter: the engine tries again, and at last sets it aside.
func (w *Worker) sendSingly(ctx context.Context, entries []entry) error {
	flags := make([]reconcile.Flag, len(entries))
	for i, e := range entries {
		flags[i] = e.flag
		flags[i].Class = streams.Express
	}
	return reconcile.Raise(ctx, w.opts.JS, flags)
}

// refusedBefore reports whether the portal refused the article when it was sent last, be it in a
// digest: such an article is sent by itself.
func refusedBefore(r portal.Receipt) bool { return r.Outcome == outcomeRefused }

// digestRoom is what a digest has beside its articles, in bytes, and more.
const digestRoom = 1 << 10

// collect finds what there is to tell the portal, up to what one digest holds.
func (w *Worker) collect(ctx context.Context, p portal.Portal) (collected, error) {
	var c collected
	looked, room := 0, events.MaxBulletinBytes-digestRoom
	for {
		flags, err := reconcile.Held(ctx, w.opts.JS, Kind, p.Name, c.place, p.Digest.Most)
		if err != nil {
			return c, err
		}
		entries, err := w.look(ctx, p, flags)
		if err != nil {
			return c, err
		}
		for i, e := range entries {
			switch {
			case !e.due:
			case e.data == nil:
				c.alone = append(c.alone, e)
			case len(c.entries) == p.Digest.Most || len(e.data)+1 > room:
				count, err := reconcile.CountHeld(ctx, w.opts.JS, Kind, p.Name)
				c.more = max(count-looked, 1)
				return c, err
			default:
				c.entries = append(c.entries, e)
				room -= len(e.data) + 1 // the comma
			}
			looked++
			c.place = flags[i].Place
		}
		if len(flags) < p.Digest.Most {
			return c, nil
		}
	}
}

// look finds out how the portal stands with what the flags name.
func (w *Worker) look(ctx context.Context, p portal.Portal, flags []reconcile.HeldFlag) ([]entry, error) {
	entries := make([]entry, len(flags))
	g, ctx := errgroup.WithContext(ctx)
	for i, f := range flags {
		g.Go(func() error {
			if _, err := streams.ParseKey(f.Key); err != nil {
				entries[i] = entry{standing: standing{due: true}, flag: f.Flag} // the engine sets it aside
				return nil
			}
			s, err := w.standing(ctx, p, f.Flag)
			if err != nil {
				return err
			}
			entries[i] = entry{standing: s, flag: f.Flag}
			if !s.due || len(s.article.bulletin) == 0 {
				return nil
			}
			var b struct {
				Data json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(s.article.bulletin, &b); err != nil {
				return fmt.Errorf("article %s for the digest of portal %q: %w", s.article.key, p.Name, err)
			}
			entries[i].data = b.Data
			return nil
		})
	}
	return entries, g.Wait()
}

// sendDigest pushes a digest: after an intent for each article of which it is the first, and before
// the receipts of all. A digest that the portal refuses is no error.
func (w *Worker) sendDigest(ctx context.Context, p portal.Portal, c collected) (refused bool, err error) {
	body, id, err := makeDigest(p.Name, c)
	if err != nil {
		return false, fmt.Errorf("make digest for portal %q: %w", p.Name, err)
	}
	receipts := make([]portal.Receipt, len(c.entries))
	intents := make([]*portal.Intent, len(c.entries))
	settled := true
	defer func() {
		for _, i := range intents {
			i.End(settled)
		}
	}()
	g, begun := errgroup.WithContext(ctx)
	for i, e := range c.entries {
		g.Go(func() error {
			r, now, intent, err := w.begin(begun, e.receipt, e.article, id)
			if err == nil && now != e.article {
				// The digest is made anew, with what the article is now.
				err = fmt.Errorf("portal %q, digest %s: article %s has changed meanwhile: %w", p.Name, id, e.article.key, context.Canceled)
			}
			receipts[i], intents[i] = r, intent
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	settled = false
	answer, took, err := w.deliver(ctx, p, id, body, events.JSONType)
	if err != nil {
		settled = true // nothing was sent
		return false, err
	}
	settled = !answer.sent
	if answer.err != nil && ctx.Err() != nil {
		// The worker is being stopped. Whether the digest arrived will not be known.
		return false, fmt.Errorf("portal %q, digest %s: %w", p.Name, id, ctx.Err())
	}
	result := classify(p, answer)
	w.metrics.outcomes.WithLabelValues(result.outcome).Inc()
	line, msg := w.log.Info(), "digest delivered"
	if result.err != nil {
		line, msg = w.log.Warn().Err(result.err), "digest not delivered"
	}
	line.Str("portal", p.Name).Str("webhook_id", id).Int("articles", len(c.entries)).Int("more", c.more).
		Str("outcome", result.outcome).Int("status", answer.status).Dur("took", took).Msg(msg)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), receiptTimeout)
	defer cancel()
	var stored errgroup.Group
	for i, e := range c.entries {
		stored.Go(func() error {
			r := outcome(receipts[i], e.article, answer, result, took)
			_, err := w.opts.Receipts.Put(ctx, r)
			intents[i].End(settled || err == nil)
			if err == nil && intents[i] != nil && r.Touched() {
				err = w.overtaken(ctx, p, e.article)
			}
			return err
		})
	}
	if err := stored.Wait(); err != nil {
		if result.err == nil {
			return false, err
		}
		w.log.Warn().Err(err).Str("portal", p.Name).Str("webhook_id", id).Msg("failed attempt not noted")
	}
	switch {
	case result.gone:
		return false, w.gone(ctx, p, result.err)
	case result.outcome == outcomeRefused:
		w.log.Warn().Str("portal", p.Name).Str("webhook_id", id).Int("articles", len(c.entries)).
			Msg("digest refused, its articles are sent singly")
		return true, nil
	}
	return false, result.verdict()
}

// makeDigest gives a digest with its webhook-id, which is the same for the same content.
func makeDigest(name string, c collected) (body []byte, id string, err error) {
	type data struct {
		Articles []json.RawMessage `json:"articles"`
		More     int               `json:"more"`
	}
	d := struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}{Type: events.BulletinDigest, Data: data{More: c.more}}
	for _, e := range c.entries {
		d.Data.Articles = append(d.Data.Articles, e.data)
		if e.article.Accepted.After(d.Timestamp) {
			d.Timestamp = e.article.Accepted
		}
	}
	doc, err := bulletin.JSON(d) // as long as its articles, as they are, make it
	if err != nil {
		return nil, "", err
	}
	body = doc.Body
	if len(body) > events.MaxBulletinBytes {
		return nil, "", errors.New("larger than was reckoned")
	}
	hashed := fmt.Appendf(nil, "%s\x00%s", name, body)
	for _, e := range c.entries {
		if e.receipt.Again > 0 {
			hashed = fmt.Appendf(hashed, "\x00%s again %d", e.article.key, e.receipt.Again)
		}
	}
	sum := sha256.Sum256(hashed)
	return body, "msg_" + hex.EncodeToString(sum[:webhookBytes]), nil
}
