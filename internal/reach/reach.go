// Package reach compares what portals and feeds hold with what the log says.
//
//	log ───────┐
//	receipts ──┼──▶ Article: who has this version of one article, and why others have not (yet)
//	flags ─────┤    Resync: every article; flags are raised where one is missing
//	dead letters
//
// It sends nothing, and writes nothing but flags: whoever takes them decides by the log, as ever.
package reach

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Sources are what there is to compare. All are required.
type Sources struct {
	JS       jetstream.JetStream
	Log      *streams.Log
	Dead     *streams.Dead
	Portals  *portal.Registry
	Receipts *portal.Receipts
	Tree     *site.Tree
}

// State is how one portal stands to the current version of an article.
type State string

// States. Of all but the first two the version is outstanding.
const (
	Delivered State = "delivered"
	// Unneeded: the article is withdrawn, and the portal never received it.
	Unneeded State = "nothing to withdraw"
	Waiting  State = "waiting" // its flag is up, and the portal is well
	Digest   State = "digest"  // goes with the portal's next digest
	Refused  State = "refused" // this article, by a portal that is well; it is tried again
	Down     State = "down"    // the portal is, and is probed
	Paused   State = "paused"
	Dead     State = "dead letter" // set aside for a person
	Unusable State = "unusable"    // the portal's configuration is
	Removed  State = "removed"     // the portal is, and nobody tells it anything any more
	Missing  State = "not flagged" // nothing will send it: the version is not routed yet, or a flag was lost
)

// Reachable reports whether the version will soon be there by itself.
func (s State) Reachable() bool { return s == Waiting || s == Refused || s == Missing }

// Outstanding reports whether the portal is to have the version, and does not.
func (s State) Outstanding() bool { return s != Delivered && s != Unneeded }

// Standing is one portal in a [Report].
type Standing struct {
	Portal string `json:"portal"`
	Title  string `json:"title,omitempty"`
	State  State  `json:"state"`
	// Holds is the version that the portal acknowledged last, Status the article's in it, and At
	// when; empty if it acknowledged none.
	Holds  string    `json:"holds,omitempty"`
	Status string    `json:"status,omitempty"`
	At     time.Time `json:"at,omitzero"`
	// MayHold is a version that was sent and may have arrived.
	MayHold string `json:"may_hold,omitempty"`

	// Of the last attempt; Answer is an HTTP status, 0 for none.
	Attempts    int       `json:"attempts,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	Answer      int       `json:"answer,omitempty"`
	Error       string    `json:"error,omitempty"`

	// Why and Since are of what keeps the version from the portal; Next is when that changes, as
	// far as it is known.
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Next  time.Time `json:"next,omitzero"`
}

// Report is the reach of an article's current version.
type Report struct {
	Site     string    `json:"site"`
	ID       string    `json:"id"`
	GUID     string    `json:"guid"`
	Version  string    `json:"version"`
	Status   string    `json:"status"`
	Title    string    `json:"title"`
	Accepted time.Time `json:"accepted"`
	// Concerned is how many portals are to have the version, Delivered how many have it;
	// Reachable, how many of the others are neither paused nor down, nor wait for a digest or a person.
	Concerned int `json:"concerned"`
	Delivered int `json:"delivered"`
	Reachable int `json:"reachable"`
	Unneeded  int `json:"nothing_to_withdraw"`
	// Portals are by name, those outstanding first.
	Portals []Standing `json:"portals"`
}

// Everywhere reports whether nothing is outstanding.
func (r Report) Everywhere() bool { return r.Delivered == r.Concerned }

// Outstanding counts the portals that are to have the version and do not, by their state.
func (r Report) Outstanding() map[State]int {
	n := map[State]int{}
	for _, s := range r.Portals {
		if s.State.Outstanding() {
			n[s.State]++
		}
	}
	return n
}

// Article reports the reach of one article. It costs some five questions to JetStream and one
// more for every 500 portals. [streams.ErrNotFound] if the log does not hold it.
func (s Sources) Article(ctx context.Context, key streams.Key) (Report, error) {
	e, err := s.Log.Latest(ctx, key)
	if err != nil {
		return Report{}, err
	}
	r := Report{Site: e.Site, ID: e.ID, GUID: e.GUID, Version: e.Version.String(), Status: e.Status, Title: e.Title, Accepted: e.Accepted}
	holders, err := s.Receipts.Holders(ctx, key)
	if err != nil {
		return Report{}, err
	}
	names := holders
	for _, p := range s.Portals.All() {
		if p.Filter.Matches(e.Article, s.Tree) || p.Filter.MatchedEver(e.Article, s.Tree) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	pairs := make([]portal.Receipt, len(names))
	for i, name := range names {
		pairs[i] = portal.Receipt{Portal: name, Key: key}
	}
	receipts, err := s.Receipts.GetMany(ctx, pairs)
	if err != nil {
		return Report{}, err
	}
	if err := s.stand(ctx, e, receipts, &r); err != nil {
		return Report{}, fmt.Errorf("reach of article %s: %w", key, err)
	}
	return r, nil
}

// stand puts the portals of the receipts into the report.
func (s Sources) stand(ctx context.Context, e streams.Entry, receipts []portal.Receipt, r *Report) error {
	pairs := make([]reconcile.Pair, len(receipts))
	for i, rc := range receipts {
		pairs[i] = reconcile.Pair{Target: rc.Portal, Key: string(e.Key)}
	}
	up, err := reconcile.Up(ctx, s.JS, portalKind, pairs)
	if err != nil {
		return err
	}
	dead, err := s.setAside(ctx, "*."+string(e.Key))
	if err != nil {
		return err
	}
	states, malformed := s.Portals.States(), s.Portals.Malformed()
	for i, rc := range receipts {
		st := standing(rc)
		p, known := s.Portals.Get(rc.Portal)
		st.Title = p.Title
		flag, flagged := up[pairs[i]]
		letter, isDead := dead[rc.Portal+"."+string(e.Key)]
		down := states[rc.Portal]
		due := p.Due(e.Article, rc, s.Tree)
		if !known { // of a portal that is gone, or cannot be read, the receipt alone tells
			due = rc.Touched() && rc.Holds.Compare(e.Version) < 0
		}
		switch {
		case !due && rc.Holds != (article.Version{}):
			st.State = Delivered
		case !due && !rc.Touched() && !e.Live():
			st.State = Unneeded
		case !due:
			continue // it asked once for what is like this article, and does no more
		case malformed[rc.Portal] != nil:
			st.State, st.Why = Unusable, malformed[rc.Portal].Error()
		case !known:
			st.State, st.Why = Removed, "the portal was removed, and is told nothing any more"
		case p.Paused != nil:
			st.State, st.Why, st.Since = Paused, p.Paused.Why+" ("+p.Paused.By+")", p.Paused.Since
		// Its flag may still be there, lowered; one that was raised since then is not.
		case isDead && !letter.At.Before(e.Accepted) && !(flagged && flag.Raised.After(letter.At)):
			st.State, st.Since = Dead, letter.At
			st.Why = fmt.Sprintf("dead letter %d: %s", letter.Seq, letter.Reason)
		case !flagged:
			st.State, st.Why, st.Since = Missing, "no flag is up: not routed yet, or lost; loa resync raises what is missing", e.Accepted
		case down.Down:
			st.State, st.Why, st.Since, st.Next = Down, down.Reason, down.Since, down.NextProbe
		case p.Digest != nil && flag.Class == streams.Normal:
			st.State, st.Why, st.Since = Digest, "waits for the portal's digest", flag.Raised
			if st.Next, err = p.Digest.Next(time.Now()); err != nil {
				return fmt.Errorf("portal %q: %w", p.Name, err)
			}
		case rc.LastError != "" && rc.LastStatus >= 400 && rc.LastStatus < 500:
			st.State, st.Why, st.Since = Refused, rc.LastError, flag.Raised
			if flag.Until.After(time.Now()) {
				st.Next = flag.Until
			}
		default:
			st.State, st.Since = Waiting, flag.Raised
		}
		r.add(st)
	}
	slices.SortStableFunc(r.Portals, func(a, b Standing) int {
		if a.State.Outstanding() != b.State.Outstanding() {
			if a.State.Outstanding() {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Portal, b.Portal)
	})
	return nil
}

func (r *Report) add(st Standing) {
	r.Portals = append(r.Portals, st)
	switch {
	case st.State == Unneeded:
		r.Unneeded++
		return
	case st.State == Delivered:
		r.Delivered++
	case st.State.Reachable():
		r.Reachable++
	}
	r.Concerned++
}

// standing is what a receipt tells.
func standing(r portal.Receipt) Standing {
	st := Standing{Portal: r.Portal, Status: r.Status, At: r.At, Attempts: r.Attempts, LastAttempt: r.LastAttempt,
		Answer: r.LastStatus, Error: r.LastError}
	if r.Holds != (article.Version{}) {
		st.Holds = r.Holds.String()
	}
	if r.MayHold != (article.Version{}) {
		st.MayHold = r.MayHold.String()
	}
	return st
}

// portalKind is that of portals' flags and dead letters.
const portalKind = "portal"

// setAside gives the dead letters about portals, by "<portal>.<site>.<article>"; of all ("") or of
// those whose key matches. Of several about one pair, the last.
func (s Sources) setAside(ctx context.Context, key string) (map[string]streams.DeadLetter, error) {
	all := map[string]streams.DeadLetter{}
	for l, err := range s.Dead.List(ctx, portalKind, key) {
		if err != nil {
			return nil, err
		}
		l.Data, l.Header, l.Faults = nil, nil, nil // a person may have let many gather
		all[l.Key] = l
	}
	return all, nil
}
