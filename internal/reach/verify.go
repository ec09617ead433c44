package reach

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Drift is how a portal differs from what Loa knows of it.
type Drift string

// Drifts. Of the last two nothing is sent again: Loa has nothing that would mend them.
const (
	Lost    Drift = "missing"                // it acknowledged the article, and does not hold it
	Older   Drift = "older"                  // it holds a former version
	Shown   Drift = "shown though withdrawn" // it holds as live what is withdrawn
	Altered Drift = "content differs"        // of the same version
	Unnoted Drift = "not noted"              // it holds the article as it is to be, and Loa did not know
	Newer   Drift = "newer"                  // it holds a version that Loa has not had
	Unknown Drift = "unknown"                // it holds an article that Loa has not had
)

// Drifts lists all of them, the worst first.
func Drifts() []Drift { return []Drift{Shown, Lost, Older, Altered, Unnoted, Newer, Unknown} }

// Mendable reports whether sending the article again mends it.
func (d Drift) Mendable() bool { return d != Newer && d != Unknown }

// Difference is one article about which a portal and Loa disagree.
type Difference struct {
	Portal string `json:"portal"`
	Drift  Drift  `json:"drift"`
	GUID   string `json:"guid"`
	Site   string `json:"site,omitempty"`
	ID     string `json:"id,omitempty"`
	// Here and There are version and status as the log and the portal have them; empty for none.
	Here        string `json:"here,omitempty"`
	HereStatus  string `json:"here_status,omitempty"`
	There       string `json:"there,omitempty"`
	ThereStatus string `json:"there_status,omitempty"`
	// Again says that the article is being sent again.
	Again bool `json:"again,omitempty"`
}

// VerifyOptions say what is verified.
type VerifyOptions struct {
	Portal portal.Portal
	// Form is that of the portal's bulletins, and MediaBase what comes before media/ in the
	// addresses of their pictures: the hashes of contents depend on both.
	Form      bulletin.Form
	MediaBase string
	// Send sends a page of the manifest, and gives the answer.
	Send func(ctx context.Context, m events.Manifest) (events.Holdings, error)
	// Repair has sent again what differs, if that mends it.
	Repair bool
	// Each is called with every difference.
	Each func(Difference) error
	// Progress, if set, is told now and then how many articles were compared.
	Progress func(articles int)

	// atOnce is how many articles are kept in mind at once; indexMost when 0.
	atOnce int
}

// VerifyResult is what [Sources.Verify] found and did, in articles.
type VerifyResult struct {
	Portal string `json:"portal"`
	Pages  int    `json:"pages"`
	// Compared are those that the portal is to hold; Level, those of them on which both agree.
	Compared int `json:"compared"`
	Level    int `json:"level"`
	// Waiting are those of which the portal's flag is up or about to be, or that are just being
	// delivered.
	Waiting int `json:"waiting"`
	// SetAside are those that a dead letter tells of, and Unsent those that the portal's filter
	// selects but that it was never sent: they were published before it was added.
	SetAside int `json:"set_aside"`
	Unsent   int `json:"never_sent"`
	// Drifts counts the differences, and Again those of which the article is being sent again.
	Drifts map[Drift]int `json:"drifts"`
	Again  int           `json:"again"`
}

// Differences counts them all.
func (r VerifyResult) Differences() (n int) {
	for _, c := range r.Drifts {
		n += c
	}
	return n
}

const (
	// indexMost is how many articles are kept in mind at once, with some 150 bytes each. Beyond
	// it the log is walked again for the next ones.
	indexMost = 200_000
	// renderAtOnce is how many articles are read at once, with their bodies, for their hashes.
	renderAtOnce = 50
	// refuteAtOnce is how many receipts are written at once: they share the fsyncs.
	refuteAtOnce = 200
)

// Verify compares what a portal holds with what it is to hold, by the log, its filter and its
// receipts: page by page in the order of GUIDs. What differs is looked at once more before it is
// believed: an article may have changed, or been delivered, since the page was made. As [Sources.Resync]
// does, it raises flags and nothing else; but first the receipts are made to doubt what they say.
func (s Sources) Verify(ctx context.Context, o VerifyOptions) (VerifyResult, error) {
	o.atOnce = cmp.Or(o.atOnce, indexMost)
	v := &verification{Sources: s, o: o, began: time.Now().UTC().Truncate(time.Second), result: VerifyResult{Portal: o.Portal.Name, Drifts: map[Drift]int{}}}
	var err error
	if v.dead, err = s.setAside(ctx, o.Portal.Name+".*.*"); err != nil {
		return v.result, err
	}
	var left []expected
	after, whole := "", false
	for {
		if len(left) == 0 && !whole {
			if left, whole, err = v.collect(ctx, after); err != nil {
				return v.result, fmt.Errorf("what portal %q is to hold: %w", o.Portal.Name, err)
			}
		}
		part := left[:min(len(left), events.MaxManifestEntries)]
		page := events.ManifestPage{Page: v.result.Pages + 1, After: after}
		if last := whole && len(part) == len(left); !last {
			page.UpTo = part[len(part)-1].guid
		}
		upTo, err := v.page(ctx, part, page)
		if err != nil {
			return v.result, err
		}
		if upTo == "" {
			return v.result, nil
		}
		after = upTo
		n, found := slices.BinarySearchFunc(left, upTo, func(e expected, guid string) int { return cmp.Compare(e.guid, guid) })
		if found {
			n++
		}
		left = left[n:]
	}
}

// verification is one run of [Sources.Verify].
type verification struct {
	Sources
	o      VerifyOptions
	began  time.Time
	dead   map[string]streams.DeadLetter
	result VerifyResult
	// noted is the place of the last receipt before the page was sent that is looked at: what a
	// later one tells of, the answer may not know.
	noted uint64
}

// expected is an article that the portal is to hold.
type expected struct {
	guid    string
	key     streams.Key
	touched bool // by its receipt
}

// collect gives the articles that the portal is to hold, from the GUID after on and in the order of
// GUIDs, and whether these are all.
func (v *verification) collect(ctx context.Context, after string) (all []expected, whole bool, err error) {
	whole = true
	cut := func() {
		slices.SortFunc(all, func(a, b expected) int { return cmp.Compare(a.guid, b.guid) })
		// One that changed during the walk was given twice.
		all = slices.CompactFunc(all, func(a, b expected) bool { return a.guid == b.guid })
		if len(all) > v.o.atOnce {
			all, whole = all[:v.o.atOnce:v.o.atOnce], false
		}
	}
	err = v.pages(ctx, "*", func(page []streams.Entry) error {
		page = slices.DeleteFunc(slices.Clone(page), func(e streams.Entry) bool { return e.GUID <= after })
		receipts, err := v.receipts(ctx, page)
		if err != nil {
			return err
		}
		for i, e := range page {
			if v.o.Portal.Concerns(e.Article, receipts[i], v.Tree) {
				all = append(all, expected{e.GUID, e.Key, receipts[i].Touched()})
			}
		}
		if len(all) >= 2*v.o.atOnce {
			cut()
		}
		return nil
	})
	cut()
	return all, whole, err
}

// receipts are those of the portal for articles.
func (v *verification) receipts(ctx context.Context, of []streams.Entry) ([]portal.Receipt, error) {
	pairs := make([]portal.Receipt, len(of))
	for i, e := range of {
		pairs[i] = portal.Receipt{Portal: v.o.Portal.Name, Key: e.Key}
	}
	return v.Receipts.GetMany(ctx, pairs)
}

// page sends a page, and looks into what differs. It gives the GUID up to which the portal has
// answered, empty after the last.
func (v *verification) page(ctx context.Context, part []expected, page events.ManifestPage) (upTo string, err error) {
	keys := make([]streams.Key, len(part))
	for i, e := range part {
		keys[i] = e.key
	}
	here, err := v.entries(ctx, keys)
	if err != nil {
		return "", err
	}
	page.Entries = []events.ManifestEntry{}
	touched := map[string]bool{}
	for _, e := range part {
		if h, ok := here[e.key]; ok {
			page.Entries = append(page.Entries, h.ManifestEntry)
			touched[e.guid] = e.touched
		}
	}
	if v.noted, err = v.lastReceipt(ctx); err != nil {
		return "", err
	}
	answer, err := v.o.Send(ctx, events.Manifest{Type: events.BulletinManifest, Timestamp: v.began, Data: page})
	if err != nil {
		return "", err
	}
	v.result.Pages++
	if answer.UpTo != "" {
		page.UpTo = answer.UpTo
	}
	if err := v.look(ctx, v.suspects(page, answer, touched)); err != nil {
		return "", fmt.Errorf("look into what differs at portal %q: %w", v.o.Portal.Name, err)
	}
	if v.o.Progress != nil {
		v.o.Progress(v.result.Compared)
	}
	return page.UpTo, nil
}

// lastReceipt is the place of the last receipt there is.
func (v *verification) lastReceipt(ctx context.Context) (uint64, error) {
	stream, err := v.JS.Stream(ctx, streams.Receipts)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", streams.Receipts, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// routed is up to where in the log flags were raised.
func (v *verification) routed(ctx context.Context) (uint64, error) {
	c, err := streams.RouterConsumer(ctx, v.JS)
	if err != nil {
		return 0, err
	}
	return c.CachedInfo().AckFloor.Stream, nil
}

// current is an article as it is in the log, and as it is to be at the portal.
type current struct {
	streams.Entry
	events.ManifestEntry
}

// entries gives the lines of a manifest for articles, as they are now.
func (v *verification) entries(ctx context.Context, keys []streams.Key) (map[streams.Key]current, error) {
	all := make(map[streams.Key]current, len(keys))
	for some := range slices.Chunk(keys, renderAtOnce) {
		found, err := v.Log.GetMany(ctx, some)
		if err != nil {
			return nil, err
		}
		for key, e := range found {
			of, _ := v.Tree.Get(e.Site)
			line, err := bulletin.Entry(e.WithMedia(v.o.MediaBase), of, v.o.Form)
			if err != nil { // it cannot be sent either: a dead letter says so
				line = events.ManifestEntry{GUID: e.GUID, Site: e.Site, ID: e.ID, Version: e.Number, Revision: e.Revision, Status: e.Status}
			}
			e.Body, e.Images = "", nil
			all[key] = current{e, line}
		}
	}
	return all, nil
}

// suspect is an article about which portal and page do not agree.
type suspect struct {
	key  streams.Key
	guid string
	// held is what the portal holds; nil: nothing.
	held *events.ManifestEntry
	// listed says that it is an entry of the page.
	listed bool
}

// suspects compares a page with its answer.
func (v *verification) suspects(page events.ManifestPage, answer events.Holdings, touched map[string]bool) []suspect {
	held := make(map[string]*events.ManifestEntry, len(answer.Holds))
	for i := range answer.Holds {
		held[answer.Holds[i].GUID] = &answer.Holds[i]
	}
	missing := make(map[string]bool, len(answer.Missing))
	for _, guid := range answer.Missing {
		missing[guid] = true
	}
	var all []suspect
	for _, e := range page.Entries {
		if !page.Includes(e.GUID) {
			continue // the answer does not go so far
		}
		v.result.Compared++
		h := held[e.GUID]
		delete(held, e.GUID)
		if h == nil && answer.Compared && !missing[e.GUID] {
			h = &e // as it is to be
		}
		if _, differs := drift(e, h); differs || !touched[e.GUID] {
			all = append(all, suspect{streams.KeyOf(e.Site, e.ID), e.GUID, h, true})
			continue
		}
		v.result.Level++
	}
	for _, h := range answer.Holds {
		if held[h.GUID] != nil {
			key := streams.Key("") // which is no article's
			if h.Site != "" && h.ID != "" {
				key = streams.KeyOf(h.Site, h.ID)
			}
			all = append(all, suspect{key, h.GUID, held[h.GUID], false})
		}
	}
	return all
}

// drift compares what is to be held with what is.
func drift(e events.ManifestEntry, held *events.ManifestEntry) (d Drift, differs bool) {
	if held == nil {
		return Lost, e.Status == events.StatusLive // of what is withdrawn, nothing has to be left
	}
	here, there := version(e), version(*held)
	switch {
	case there.Compare(here) > 0:
		return Newer, true
	case e.Status == events.StatusWithdrawn && held.Status == events.StatusLive:
		return Shown, true
	case there.Compare(here) < 0:
		// A withdrawal that was followed by another: nothing is shown either way.
		return Older, e.Status == events.StatusLive
	case e.Status != held.Status, e.Hash != "" && held.Hash != "" && e.Hash != held.Hash && e.Status == events.StatusLive:
		return Altered, true
	}
	return "", false
}

func version(e events.ManifestEntry) article.Version {
	return article.Version{Number: e.Version, Revision: e.Revision}
}

// look looks at suspects once more, with all that is known by now.
func (v *verification) look(ctx context.Context, suspects []suspect) error {
	if len(suspects) == 0 {
		return nil
	}
	var keys []streams.Key
	var pairs []reconcile.Pair
	var asked []portal.Receipt
	for _, sus := range suspects {
		if sus.key != "" {
			keys = append(keys, sus.key)
			pairs = append(pairs, reconcile.Pair{Target: v.o.Portal.Name, Key: string(sus.key)})
			asked = append(asked, portal.Receipt{Portal: v.o.Portal.Name, Key: sus.key})
		}
	}
	// How far the router is before the articles: a version that is replaced meanwhile is passed over, and
	// looks as if it had been routed.
	routed, err := v.routed(ctx)
	if err != nil {
		return err
	}
	here, err := v.entries(ctx, keys)
	if err != nil {
		return err
	}
	// The flags before the receipts: a flag is lowered when the receipt is there.
	up, err := reconcile.Up(ctx, v.JS, portalKind, pairs)
	if err != nil {
		return err
	}
	found, err := v.Receipts.GetMany(ctx, asked)
	if err != nil {
		return err
	}
	receipts := make(map[streams.Key]portal.Receipt, len(found))
	for _, r := range found {
		receipts[r.Key] = r
	}
	var again []mend
	var differences []Difference
	for _, sus := range suspects {
		e, known := here[sus.key]
		if known && e.Entry.GUID != sus.guid {
			e, known = current{}, false
		}
		_, flagged := up[reconcile.Pair{Target: v.o.Portal.Name, Key: string(sus.key)}]
		flagged = flagged || known && e.Seq > routed // or will be
		d, differs := v.judge(e, known, sus, receipts[sus.key], flagged)
		if !differs {
			continue
		}
		v.result.Drifts[d]++
		differences = append(differences, difference(v.o.Portal.Name, d, e, sus))
		if v.o.Repair && d.Mendable() {
			differences[len(differences)-1].Again = true
			again = append(again, mend{e.Entry, receipts[sus.key], sus.held})
		}
	}
	if err := v.mend(ctx, again); err != nil {
		return err
	}
	for _, d := range differences {
		if err := v.o.Each(d); err != nil {
			return err
		}
	}
	return nil
}

// judge decides what a suspect is, and counts it where it is no difference.
func (v *verification) judge(e current, known bool, sus suspect, r portal.Receipt, flagged bool) (Drift, bool) {
	held := sus.held
	if !known { // or it has left the log meanwhile; what is withdrawn there need not be known here
		return Unknown, held != nil && held.Status == events.StatusLive
	}
	p := v.o.Portal
	d, differs := drift(e.ManifestEntry, held)
	due := p.Due(e.Article, r, v.Tree)
	letter, dead := v.dead[p.Name+"."+string(e.Key)]
	switch {
	case !differs && (r.Touched() || held == nil || !e.Live()):
		if sus.listed {
			v.result.Level++
		}
		return "", false
	case !differs:
		return Unnoted, true
	case due && flagged, r.Seq > v.noted:
		v.result.Waiting++
		return "", false
	case due && dead && !letter.At.Before(e.Accepted):
		v.result.SetAside++
		return "", false
	case held == nil && !r.Touched():
		if due {
			v.result.Unsent++
		}
		return "", false
	}
	return d, true
}

func difference(name string, d Drift, e current, sus suspect) Difference {
	out := Difference{Portal: name, Drift: d, GUID: sus.guid, Site: e.ManifestEntry.Site, ID: e.ManifestEntry.ID}
	if e.Article != nil {
		out.Here, out.HereStatus = e.Article.Version.String(), e.Article.Status
	}
	if h := sus.held; h != nil {
		out.There, out.ThereStatus = version(*h).String(), h.Status
		out.Site, out.ID = cmp.Or(out.Site, h.Site), cmp.Or(out.ID, h.ID)
	}
	return out
}

// mend is an article to be sent again, with the receipt by which it was not due.
type mend struct {
	entry   streams.Entry
	receipt portal.Receipt
	held    *events.ManifestEntry
}

// mend has articles sent again, as whatever is due: the receipts say from now on that it is, and
// flags are raised. After a crash in between, [Sources.Resync] finds what is due without a flag.
func (v *verification) mend(ctx context.Context, all []mend) error {
	if len(all) == 0 {
		return nil
	}
	flags := make([]reconcile.Flag, len(all))
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(refuteAtOnce)
	for i, m := range all {
		r, found := m.receipt, article.Version{}
		r.GUID = m.entry.GUID
		if m.held != nil {
			found = version(*m.held)
		}
		flags[i] = reconcile.Flag{Class: streams.Normal, Kind: portalKind, Target: v.o.Portal.Name, Key: string(m.entry.Key), Seq: m.entry.Seq}
		if !m.entry.Live() {
			flags[i].Class = streams.Express
		}
		group.Go(func() error { return v.Receipts.Refute(writing, r, found) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := reconcile.Raise(ctx, v.JS, flags); err != nil {
		return err
	}
	v.result.Again += len(all)
	return nil
}
