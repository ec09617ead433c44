package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// beatEvery is how often a worker says that it lives. It is one durable write.
	beatEvery = 2 * time.Second
	// buryAfter is for how long a worker must have been silent, while others were heard, before
	// its groups are given to them; buryRounds is how often at least it was looked for meanwhile,
	// so that nobody is buried because NATS was away.
	buryAfter  = 6 * time.Second
	buryRounds = 3
	// leaseFor is how long a worker begins new work after the beginning of its last beat. It is
	// shorter than buryAfter by more than clocks drift in that time: who is buried has stopped.
	leaseFor = 4500 * time.Millisecond
	// rosterTimeout bounds one exchange with the server.
	rosterTimeout = 4 * time.Second
	// leaveFor bounds what a worker does to hand its groups over when it ends.
	leaveFor = 3 * time.Second
	// rosterTries is how often a change is begun anew because another worker was quicker.
	rosterTries = 20
	// hungAfter is for how long the dispatcher may be silent before the worker stops saying
	// that it lives. The dispatcher never waits for anything.
	hungAfter = 10 * time.Second
)

// table says who works on the flags of a kind: one entry of the bucket of workers, that all of
// them write by compare-and-set.
type table struct {
	Workers map[string]member `json:"workers"`
	Owners  []string          `json:"owners"` // by group; "": nobody
}

type member struct {
	// Beat grows with every sign of life. What its clock says is of no account to others.
	Beat uint64 `json:"beat"`
	// Instance names what can run only once, such as an embedded server's process: another
	// worker of the same instance is one that has ended.
	Instance string `json:"instance,omitempty"`
}

func parseTable(data []byte, groups int) (table, error) {
	t := table{Workers: map[string]member{}}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &t); err != nil {
			return t, fmt.Errorf("read the roster: %w", err)
		}
	}
	if t.Workers == nil {
		t.Workers = map[string]member{}
	}
	if len(t.Owners) != groups { // there is none yet, or of another version
		t.Owners = make([]string, groups)
	}
	return t, nil
}

// bury removes a worker, and frees its groups.
func (t *table) bury(id string) {
	delete(t.Workers, id)
	for g, owner := range t.Owners {
		if owner == id {
			t.Owners[g] = ""
		}
	}
}

// owned counts the groups of each worker, without those that are being given up.
func (t *table) owned(me string, giving map[int]bool) map[string]int {
	n := make(map[string]int, len(t.Workers))
	for id := range t.Workers {
		n[id] = 0
	}
	for g, owner := range t.Owners {
		if _, ok := t.Workers[owner]; ok && !(owner == me && giving[g]) {
			n[owner]++
		}
	}
	return n
}

// share takes free groups for a worker until it has its even share, and says which of its own
// it has to give up for others to have theirs. Every worker does so for itself; what they do
// together ends when no two differ by more than one group.
func (t *table) share(me string, giving map[int]bool) (take, give []int) {
	n := t.owned(me, giving)
	least, most := len(t.Owners)/len(n), (len(t.Owners)+len(n)-1)/len(n)
	free, poor := 0, false
	for g, owner := range t.Owners {
		if _, ok := t.Workers[owner]; !ok {
			t.Owners[g] = ""
			free++
		}
	}
	for id := range t.Workers {
		poor = poor || id != me && n[id] < least
	}
	for g := range t.Owners {
		// The last free ones are for those who have less.
		if t.Owners[g] == "" && (n[me] < least || n[me] < most && !poor) {
			t.Owners[g] = me
			take = append(take, g)
			n[me]++
			free--
		}
	}
	for g := len(t.Owners) - 1; g >= 0 && n[me] > least; g-- {
		if t.Owners[g] != me || giving[g] {
			continue
		}
		if n[me] > most || poor && free == 0 {
			give = append(give, g)
			n[me]--
			// Others may give as well: from here on one at a time.
			poor = poor && n[me] >= most
		}
	}
	return take, give
}

// share is what the roster tells the dispatcher.
type share struct {
	groups []int      // to work on
	giving []handover // to end the work on
	until  time.Time  // nothing new is begun after this, unless another share comes
	anew   bool       // whatever was worked on before has been another's meanwhile
}

// handover is the giving of a group to others. Its number tells it from earlier ones of the same group,
// of which the dispatcher may have seen nothing.
type handover struct {
	group  int
	number uint64
}

// roster shares the groups of a kind's flags evenly among the live workers, one worker for each
// group. It is what makes "never two versions of an article in flight" hold across processes;
// the pinned reader of each consumer, which JetStream enforces, is the second lock.
//
// A worker that is silent for buryAfter is buried: the others take its groups. One that cannot
// be heard stops by itself before, after leaseFor. A group that changes hands while both live
// is first drained by the one, and then taken by the other.
type roster struct {
	js       jetstream.JetStream
	kind     string
	id       string
	instance string
	groups   int
	log      zerolog.Logger
	alive    func() time.Time // of the dispatcher's last sign of life

	shares chan share    // to the dispatcher; the newest replaces one that it has not taken
	gave   chan handover // from the dispatcher: the group is drained

	// Owned by run.
	joined  bool
	beat    uint64
	giving  map[int]uint64 // the handover's number, by group
	number  uint64         // of the latest handover
	drained []handover     // told by the dispatcher, and not yet in the table
	seen    map[string]sign
}

// sign is a worker's last sign of life, as this one has seen it.
type sign struct {
	beat   uint64
	since  time.Time
	rounds int // since then
}

func newRoster(js jetstream.JetStream, kind, id, instance string, groups int, log zerolog.Logger, alive func() time.Time) *roster {
	return &roster{js: js, kind: kind, id: id, instance: instance, groups: groups, log: log, alive: alive,
		shares: make(chan share, 1), gave: make(chan handover, groups), giving: map[int]uint64{}, seen: map[string]sign{}}
}

// run takes part until ctx ends. The worker's groups stay its own until leave.
func (r *roster) run(ctx context.Context) {
	changes, stop := r.watch(ctx)
	defer func() { stop() }() // the newest watch's
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		beat := false
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			beat = true
		case h := <-r.gave:
			r.drained = append(r.drained, h)
		case e, ok := <-changes:
			if !ok {
				changes, stop = r.watch(ctx)
				continue
			}
			if e == nil || !r.concerns(e.Value()) {
				continue
			}
		}
		for len(r.gave) > 0 {
			r.drained = append(r.drained, <-r.gave)
		}
		if silent := time.Since(r.alive()); silent > hungAfter {
			r.log.Error().Dur("silent", silent).Msg("dispatcher hangs, its flags are left to other workers")
		} else if err := r.round(ctx, beat); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("sharing of flags among workers failed, will be retried")
		}
		if beat {
			next.Reset(jitter(beatEvery))
		}
	}
}

// watch tells of changes that others make, so that a free group is taken at once.
func (r *roster) watch(ctx context.Context) (<-chan jetstream.KeyValueEntry, func()) {
	kv, err := r.js.KeyValue(ctx, streams.WorkersBucket)
	if err == nil {
		var w jetstream.KeyWatcher
		if w, err = kv.Watch(ctx, r.kind, jetstream.UpdatesOnly()); err == nil {
			return w.Updates(), func() { _ = w.Stop() }
		}
	}
	if ctx.Err() == nil {
		r.log.Warn().Err(err).Msg("changes of the roster are not watched, only looked for")
	}
	return nil, func() {}
}

// concerns reports whether there is something to do for this worker.
func (r *roster) concerns(data []byte) bool {
	t, err := parseTable(data, r.groups)
	if err != nil {
		return false
	}
	if _, ok := t.Workers[r.id]; !ok {
		return r.joined
	}
	take, give := t.share(r.id, r.stillGiving())
	return len(take)+len(give) > 0
}

// round brings the table up to date: it adds a sign of life, buries the dead, gives up what is
// drained, takes what is free, and tells the dispatcher.
func (r *roster) round(ctx context.Context, beat bool) error {
	ctx, cancel := context.WithTimeout(ctx, rosterTimeout)
	defer cancel()
	for range rosterTries {
		began := time.Now()
		data, revision, err := streams.LatestValue(ctx, r.js, streams.WorkersBucket, r.kind)
		if err != nil {
			return err
		}
		t, err := parseTable(data, r.groups)
		if err != nil {
			r.log.Error().Err(err).Msg("roster is begun anew")
			t, _ = parseTable(nil, r.groups)
		}
		r.observe(t, began, beat)
		beat = false // an attempt that fails must not count as another round
		_, known := t.Workers[r.id]
		if !known && r.joined {
			r.log.Warn().Msg("was silent for too long, and lost its flags to other workers")
			clear(r.giving)
		}
		for id, m := range t.Workers {
			s := r.seen[id]
			if id == r.id {
				continue
			}
			if r.instance != "" && m.Instance == r.instance || s.rounds >= buryRounds && began.Sub(s.since) > buryAfter {
				r.log.Info().Str("worker", id).Msg("worker ended without a word, its flags are shared out")
				t.bury(id)
			}
		}
		t.Workers[r.id] = member{Beat: r.beat + 1, Instance: r.instance}
		for _, h := range r.drained {
			if t.Owners[h.group] == r.id && r.giving[h.group] == h.number {
				t.Owners[h.group] = ""
			}
		}
		_, give := t.share(r.id, r.stillGiving())
		if err := r.write(ctx, t, revision); errors.Is(err, errConflict) {
			continue
		} else if err != nil {
			return err
		}
		r.joined, r.beat = true, r.beat+1
		for _, h := range r.drained {
			if r.giving[h.group] == h.number {
				delete(r.giving, h.group)
			}
		}
		r.drained = nil
		for _, g := range give {
			r.number++
			r.giving[g] = r.number
		}
		r.tell(t, began.Add(leaseFor), !known)
		return nil
	}
	return errConflict
}

// stillGiving are the groups that are being given up, and are not drained.
func (r *roster) stillGiving() map[int]bool {
	giving := map[int]bool{}
	for g, number := range r.giving {
		giving[g] = !slices.Contains(r.drained, handover{g, number})
	}
	return giving
}

var errConflict = errors.New("others were quicker each time")

func (r *roster) write(ctx context.Context, t table, revision uint64) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	kv, err := r.js.KeyValue(ctx, streams.WorkersBucket)
	if err != nil {
		return err
	}
	_, err = kv.Update(ctx, r.kind, data, revision)
	if streams.IsConflict(err) {
		return errConflict
	}
	return err
}

// observe notes the others' signs of life.
func (r *roster) observe(t table, now time.Time, round bool) {
	for id, m := range t.Workers {
		s, ok := r.seen[id]
		if !ok || s.beat != m.Beat {
			s = sign{beat: m.Beat, since: now}
		} else if round {
			s.rounds++
		}
		r.seen[id] = s
	}
	for id := range r.seen {
		if _, ok := t.Workers[id]; !ok {
			delete(r.seen, id)
		}
	}
}

// tell gives the dispatcher its share.
func (r *roster) tell(t table, until time.Time, anew bool) {
	s := share{until: until, anew: anew}
	for g, owner := range t.Owners {
		switch {
		case owner != r.id:
		case r.giving[g] > 0:
			s.giving = append(s.giving, handover{g, r.giving[g]})
		default:
			s.groups = append(s.groups, g)
		}
	}
	select {
	case old := <-r.shares: // out of date
		s.anew = s.anew || old.anew
	default:
	}
	r.shares <- s
}

// leave frees the worker's groups. It is called when nothing is worked on any more; the context
// of run may have ended.
func (r *roster) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	for range rosterTries {
		data, revision, err := streams.LatestValue(ctx, r.js, streams.WorkersBucket, r.kind)
		var t table
		if err == nil {
			t, err = parseTable(data, r.groups)
		}
		if err == nil {
			t.bury(r.id)
			err = r.write(ctx, t, revision)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, errConflict) {
			r.log.Debug().Err(err).Msg("did not leave the roster, others will notice")
			return
		}
	}
}
