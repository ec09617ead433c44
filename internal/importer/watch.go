package importer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/events"
)

const (
	// MinEvery is how often a feed may be polled at most, where it does not ask to be left alone longer.
	MinEvery = time.Minute
	// maxEvery bounds what a feed may ask for, and the pause between polls that fail.
	maxEvery   = 24 * time.Hour
	maxFailing = 6 * time.Hour
	// maxState bounds the file of what is known of a feed, in bytes, and maxPresent the items in it.
	maxState   = 32 << 20
	maxPresent = 100_000
	// Of the items that a feed had, so many may vanish at once to be taken for withdrawals: this number, or
	// one in so many. More is a feed that is broken.
	fewMissing, shareMissing = 3, 5
)

// Watch polls a feed.
type Watch struct {
	Feed     *Feed
	Importer *Importer
	Every    time.Duration
	// State is the file that holds, from one poll to the next, the feed's validators and which items it
	// had; "" keeps nothing.
	State string
	// WithdrawMissing withdraws articles whose items are not there at two looks in a row, although they should
	// be. Without it only tombstones do.
	WithdrawMissing bool
	// DryRun writes no state.
	DryRun bool
	// OnPoll is told what came of each poll, and when the next one is; OnWarning of what somebody should look at.
	OnPoll    func(unchanged bool, next time.Duration, err error)
	OnWarning func(text string)

	failures int
}

// state is what is known of a feed from its last poll.
type state struct {
	Feed         string `json:"feed"`
	Site         string `json:"site"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	// Whole says that everything older was imported once, so that new items alone are looked for.
	Whole bool `json:"whole"`
	// Present are the items that the feed had, in its order: newest first, as a rule.
	Present []presence `json:"present"`
}

// presence is an item that a feed had.
type presence struct {
	ID        string    `json:"id"`
	Published time.Time `json:"published,omitzero"`
	// Missing is set when it was not there at the last look, and should have been.
	Missing bool `json:"missing,omitempty"`
}

// Run polls until ctx ends, the feed is gone for good, or Loa could not be reached for so long that the
// connection was given up.
func (w *Watch) Run(ctx context.Context) error {
	for {
		unchanged, err := w.Poll(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		var status *StatusError
		if errors.As(err, &status) && status.Status == http.StatusGone {
			return fmt.Errorf("the feed is gone for good: %w", err)
		}
		if errors.Is(err, nats.ErrConnectionClosed) {
			return err // it does not come back
		}
		next := w.pause(err)
		if w.OnPoll != nil {
			w.OnPoll(unchanged, next, err)
		}
		if sleep(ctx, next) != nil {
			return nil
		}
	}
}

// Poll looks at the feed once. With all, everything is looked at, whatever is known of it.
func (w *Watch) Poll(ctx context.Context, all bool) (unchanged bool, err error) {
	s, err := w.load()
	if err != nil {
		return false, err
	}
	w.Feed.conditions, w.Feed.Until = nil, nil
	// What was missing is looked for everywhere: while the pages of a feed are read, items move between them.
	doubtful := w.WithdrawMissing && slices.ContainsFunc(s.Present, func(p presence) bool { return p.Missing })
	if s.Whole && !all && !doubtful {
		w.Feed.conditions = http.Header{}
		if s.ETag != "" {
			w.Feed.conditions.Set("If-None-Match", s.ETag)
		}
		if s.LastModified != "" {
			w.Feed.conditions.Set("If-Modified-Since", s.LastModified)
		}
		before := w.Importer.met()
		w.Feed.Until = func() bool { return w.Importer.met() > before }
	}
	if err := w.Importer.Run(ctx, w.Feed.Items(ctx)); err != nil {
		return false, err
	}
	if w.Feed.unchanged {
		return true, nil
	}
	present, missing := w.compare(s.Present)
	next := state{Feed: w.Feed.URL, Site: w.Feed.Site, ETag: w.Feed.header.Get("Etag"), LastModified: w.Feed.header.Get("Last-Modified"), Whole: true, Present: present}
	for _, id := range missing {
		item := Item{Article: events.Article{Site: w.Feed.Site, ID: id}, Where: id, Gone: &Gone{}}
		if err := w.Importer.Import(ctx, item); err != nil {
			return false, err
		}
	}
	return false, w.save(next)
}

// met is how many items were found that were there before.
func (im *Importer) met() int {
	return im.counts[Unchanged] + im.counts[Updated] + im.counts[Kept]
}

// compare holds the items that the feed had against those that it has. It gives what is to be known from
// now on, and which are missing for the second time.
//
// A feed drops its oldest items, so what stood behind the last item that is still there went out in the ordinary way; and so
// did what is older than that item, having been held at the top for a while. Only of a feed that says that it
// is complete, or that was followed to its end, everything has to be there.
func (w *Watch) compare(had []presence) (present []presence, missing []string) {
	has := make(map[string]bool, len(w.Feed.present))
	for _, p := range w.Feed.present {
		has[p.ID] = true
	}
	last := -1 // of those that it had, the last that it has
	for i, p := range had {
		if has[p.ID] {
			last = i
		}
	}
	looked := last + 1
	if w.Feed.complete {
		looked = len(had)
	}
	var lost, rest []presence
	for i, p := range had {
		switch {
		case has[p.ID]:
		case !w.Feed.complete && i > last:
			rest = append(rest, p) // a look at the whole feed may find it
		case w.Feed.complete || !p.Published.IsZero() && !p.Published.Before(had[last].Published):
			lost = append(lost, p)
		}
	}
	present = slices.Concat(lost, w.Feed.present, rest)
	switch {
	case len(lost) == 0 || !w.WithdrawMissing:
		present = present[len(lost):]
	case len(has) == 0 || len(lost) > max(fewMissing, looked/shareMissing):
		if w.OnWarning != nil {
			w.OnWarning(fmt.Sprintf("%d of %d items vanished from %s at once: that is taken for a fault of the feed, and nothing is withdrawn", len(lost), looked, w.Feed.URL))
		}
	default:
		present = present[len(lost):]
		for _, p := range lost {
			if p.Missing {
				missing = append(missing, p.ID)
				continue
			}
			p.Missing = true
			present = append([]presence{p}, present...)
		}
	}
	return present[:min(len(present), maxPresent)], missing
}

// pause is how long the feed is left alone: as long as it asks for, and longer each time that it fails.
func (w *Watch) pause(err error) time.Duration {
	if err == nil {
		w.failures = 0
		asked := max(w.Feed.ttl, freshness(w.Feed.header, time.Now()))
		return jitter(max(w.Every, min(asked, maxEvery)))
	}
	var ours *LoaError
	if errors.As(err, &ours) { // it is not the feed that fails
		return jitter(w.Every)
	}
	w.failures = min(w.failures+1, 20)
	wait := max(w.Every, min(w.Every<<w.failures, maxFailing))
	var status *StatusError
	if errors.As(err, &status) {
		wait = max(wait, min(status.RetryAfter, maxEvery))
	}
	return jitter(wait)
}

// jitter makes a pause up to a tenth longer, so that those who began together do not stay together.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/10+1) }

// freshness is how long an answer is fresh (RFC 9111 §4.2.1).
func freshness(h http.Header, now time.Time) time.Duration {
	if h == nil {
		return 0
	}
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-cache", "no-store":
			return 0
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			return time.Duration(seconds) * time.Second
		}
	}
	if t, err := http.ParseTime(h.Get("Expires")); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

func (w *Watch) load() (state, error) {
	if w.State == "" {
		return state{}, nil
	}
	data, err := os.ReadFile(w.State)
	if errors.Is(err, os.ErrNotExist) {
		return state{}, nil
	}
	var s state
	if err == nil && len(data) > maxState {
		err = fmt.Errorf("expected at most %d bytes", maxState)
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return state{}, fmt.Errorf("read what is known of the feed from %s: %w; without the file it is read anew", w.State, err)
	}
	if s.Feed != w.Feed.URL || s.Site != w.Feed.Site {
		return state{}, fmt.Errorf("%s is about the feed %s of the site %s: name another file with --state", w.State, cmp.Or(s.Feed, "?"), cmp.Or(s.Site, "?"))
	}
	return s, nil
}

// save replaces the file as a whole: a kill leaves the one or the other.
func (w *Watch) save(s state) error {
	if w.State == "" || w.DryRun {
		return nil
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(w.State), 0o700)
	}
	if err == nil {
		err = os.WriteFile(w.State+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(w.State+".new", w.State)
	}
	if err != nil {
		return fmt.Errorf("keep what is known of the feed: %w", err)
	}
	return nil
}
