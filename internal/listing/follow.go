package listing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// pullBytes is how much of the log is under way to the process at once: more than two of the
	// largest messages.
	pullBytes = 2*streams.MaxMessage + 1<<20
	// lookEvery is how often it is looked whether the log went on without us, or is another; after
	// two times without progress it is read through a new consumer.
	lookEvery = 3 * time.Second
	// pause is between two attempts to read the log while NATS is away.
	pause = time.Second
)

// Run reads the log and follows it until the context ends.
func (x *Index) Run(ctx context.Context) error {
	for {
		err := x.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		x.log.Warn().Err(err).Msg("index of articles does not follow the log, trying again")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// follow reads the log from where the index is.
func (x *Index) follow(ctx context.Context) error {
	stream, err := x.js.Stream(ctx, streams.Articles)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	info := stream.CachedInfo()
	x.mu.Lock()
	if !info.Created.Equal(x.born) || info.State.LastSeq < x.last { // another log, or one that was restored
		x.reset(info.Created)
	}
	next := x.last + 1
	x.mu.Unlock()
	began := time.Now()
	_, err = stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(streams.ArticlesOf("*")))
	if errors.Is(err, jetstream.ErrMsgNotFound) { // what came after it is gone again, or nothing did
		x.caughtUp(info.State.LastSeq, began)
		next = info.State.LastSeq + 1
	} else if err != nil {
		return fmt.Errorf("read the log from %d: %w", next, err)
	}
	consumer, err := x.js.OrderedConsumer(ctx, streams.Articles, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next})
	if err != nil {
		return fmt.Errorf("follow the log from %d: %w", next, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(pullBytes))
	if err != nil {
		return fmt.Errorf("follow the log from %d: %w", next, err)
	}
	ended := make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	go func() {
		ended <- x.watch(watching, stream)
		messages.Stop()
	}()
	for {
		m, err := messages.Next()
		if err != nil {
			stop()
			return errors.Join(err, <-ended)
		}
		meta, err := m.Metadata()
		if err != nil {
			stop()
			return errors.Join(fmt.Errorf("read log message: %w", err), <-ended)
		}
		if err := x.take(m.Subject(), m.Data(), meta.Sequence.Stream); err != nil {
			x.log.Error().Err(err).Uint64("seq", meta.Sequence.Stream).Msg("article cannot be listed")
		}
		if meta.NumPending == 0 {
			x.caughtUp(info.State.LastSeq, began)
		}
	}
}

// watch returns, with the reason, when the log has to be read anew; nil at the end of the context.
func (x *Index) watch(ctx context.Context, stream jetstream.Stream) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	still := 0
	for before, born := x.Last(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		info, err := stream.Info(ctx)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("the log is gone: %w", err)
		}
		if err != nil {
			continue // NATS is away: the consumer waits for it
		}
		last, _ := x.Last()
		switch {
		case !info.Created.Equal(born) || info.State.LastSeq < last:
			return errors.New("the log is another")
		case last != before || info.State.LastSeq == last:
			still = 0
		default:
			still++
		}
		if still == 2 {
			return fmt.Errorf("nothing came for %s, though the log is at %d and not at %d", 2*lookEvery, info.State.LastSeq, last)
		}
		before = last
	}
}

// caughtUp makes the index ready, once the log is read up to where it was when it was begun.
func (x *Index) caughtUp(last uint64, began time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = max(x.last, last)
	if x.ready {
		return
	}
	x.places = make([]place, 0, len(x.articles))
	for _, r := range x.articles {
		x.places = append(x.places, place{r.published, r, 0, always})
	}
	slices.SortFunc(x.places, func(a, b place) int { return a.compare(b.published, b.rec.key) })
	x.trim()
	x.ready = true
	x.tell()
	x.log.Info().Int("articles", len(x.articles)).Dur("took", time.Since(began)).Msg("index of articles filled")
}

func (x *Index) tell() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// said is what the index reads of an article.
type said struct {
	Site       string `json:"site"`
	Status     string `json:"status"`
	URL        string `json:"url"`
	Language   string `json:"language"`
	Categories []struct {
		ID string `json:"id"`
	} `json:"categories"`
	Tags      []string  `json:"tags"`
	Urgency   int       `json:"urgency"`
	Published time.Time `json:"published"`
}

// take takes the version of an article in that has a sequence.
func (x *Index) take(subject string, data []byte, seq uint64) error {
	key, err := streams.ArticleKey(subject)
	if err != nil {
		return err
	}
	var a said
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("read article %s: %w", key, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if seq <= x.last && x.ready {
		return nil
	}
	r := x.articles[key]
	known := r != nil
	if !known {
		r = &record{key: streams.Key(strings.Clone(string(key)))} // not a part of the message
		x.articles[r.key] = r
	}
	former := r.published
	r.seq, r.published, r.url = seq, a.Published.UnixNano(), urlHash(a.URL)
	r.urgency, r.live = uint8(a.Urgency), a.Status == events.StatusLive
	r.site = x.site(a.Site)
	r.selections = make([]uint32, 0, len(a.Categories)+len(a.Tags)+1)
	for _, c := range a.Categories {
		r.selections = append(r.selections, selection(ofCategory, c.ID))
	}
	for _, t := range a.Tags {
		r.selections = append(r.selections, selection(ofTag, t))
	}
	r.selections = append(r.selections, selection(ofLanguage, a.Language))
	x.changes = append(x.changes, change{seq, r})
	x.last = max(x.last, seq)
	if !x.ready {
		return nil // places are made at once, when all are there
	}
	if known && former != r.published {
		x.leave(former, r, seq)
	}
	if !known || former != r.published {
		x.settle(place{r.published, r, seq, always})
	}
	x.trim()
	x.tell()
	return nil
}

func (x *Index) site(id string) uint32 {
	n, ok := x.sites[id]
	if !ok {
		n = uint32(len(x.sites))
		x.sites[strings.Clone(id)] = n
	}
	return n
}

// find gives the first of the places of an article at a time.
func (x *Index) find(published int64, key streams.Key) int {
	i, _ := slices.BinarySearchFunc(x.places, published, func(p place, t int64) int { return p.compare(t, key) })
	return i
}

// settle adds a place. Articles that are published now come last, so that little has to be moved.
func (x *Index) settle(p place) {
	x.places = slices.Insert(x.places, x.find(p.published, p.rec.key), p)
}

// leave makes the present place of an article a former one.
func (x *Index) leave(published int64, r *record, seq uint64) {
	for i := x.find(published, r.key); i < len(x.places) && x.places[i].rec == r && x.places[i].published == published; i++ {
		if x.places[i].until == always {
			x.places[i].until = seq
			x.former++
		}
	}
	if x.former <= maxFormer {
		return
	}
	// The older half goes.
	var ends []uint64
	for _, p := range x.places {
		if p.until != always {
			ends = append(ends, p.until)
		}
	}
	slices.Sort(ends)
	limit := ends[len(ends)/2]
	x.places = slices.DeleteFunc(x.places, func(p place) bool { return p.until < limit })
	x.former = len(ends) - len(ends)/2
}

// trim removes superseded changes when they are many.
func (x *Index) trim() {
	if len(x.changes) > 2*len(x.articles)+slack {
		x.changes = slices.DeleteFunc(x.changes, func(c change) bool { return c.rec.seq != c.seq })
	}
}
