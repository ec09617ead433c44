package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/listing"
)

const (
	changesPath = "/v1/changes"
	streamPath  = "/v1/changes/stream"
	eventStream = "text/event-stream"

	// maxWait is for how long a request may wait for a change. Proxies cut off what is silent for
	// a minute.
	maxWait = 30 * time.Second
	// keepAlive is how often a stream without changes says that it is there.
	keepAlive = 15 * time.Second
	// checkKey is how often it is looked whether the key of somebody who waits is still valid.
	checkKey = 500 * time.Millisecond
	// maxStream is how long a stream lasts. Its reader comes again, perhaps to another process.
	maxStream = time.Hour
	// streamPage is how many changes of a stream are read at once; each page counts as a request.
	streamPage = 50
	// retryMillis is when the reader of a stream that broke tries again.
	retryMillis = 3000
)

// changeView is one change.
type changeView struct {
	Type    string `json:"type" enum:"article.published,article.withdrawn" doc:"published: show it as it is now, be it new, updated or corrected. withdrawn: remove it."`
	Cursor  string `json:"cursor" doc:"From where to go on after this change."`
	Article item   `json:"article" doc:"The article as it is now; of a withdrawn one, what is left of it."`
}

// ChangesInput is what both ways of following the changes take. huma finds it only if it is exported.
type ChangesInput struct {
	Cursor  string `query:"cursor" maxLength:"64" doc:"The next, or a change's cursor, of a former answer. Without it, from the beginning: every article there is. With now, from now on."`
	Site    string `query:"site" maxLength:"64" doc:"Only changes of this site's articles."`
	Subtree string `query:"subtree" maxLength:"64" doc:"Only changes of the articles of this site and of those under it."`
	Fields  string `query:"fields" maxLength:"500" doc:"Which members of each article, with commas between; all for everything. Without it, everything but the body."`
}

type pollInput struct {
	ChangesInput
	Limit int `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"How many changes an answer has at most."`
	Wait  int `query:"wait" minimum:"0" maximum:"30" default:"0" doc:"For how many seconds to wait for a change, when there is none yet."`
}

type changesOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Changes []changeView `json:"changes" doc:"In the order of the log."`
		Next    string       `json:"next" doc:"The cursor to go on with. It stays good for ever."`
		More    bool         `json:"more" doc:"Whether there is more at once."`
	}
}

type streamInput struct {
	ChangesInput
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last event that was received; it goes before cursor."`
}

func (a *API) registerChanges() {
	huma.Register(a.huma, withGone(operation("list-changes", changesPath, "Follow the changes",
		"Every change and withdrawal, in order: of each article its newest version, once. Keep next, and ask again with it as cursor; with wait, an answer comes as soon as there is a change. A copy that does so is level, however long it was away.")),
		a.changes)
	stream := withGone(operation("stream-changes", streamPath, "Follow the changes as a stream",
		"The same as Server-Sent Events: /v1/changes with Accept: text/event-stream is the same address. Each event's id is a cursor, its event the type, its data the change. An EventSource goes on by itself where it was cut off."))
	stream.Responses = map[string]*huma.Response{"200": {Description: "Events", Content: map[string]*huma.MediaType{
		eventStream: {Schema: &huma.Schema{Type: huma.TypeString, Description: "id: a cursor; event: article.published or article.withdrawn; data: a change as JSON"}}}}}
	huma.Register(a.huma, stream, a.stream)
}

// withGone adds the answer to a cursor of a log that is no more.
func withGone(op huma.Operation) huma.Operation {
	op.Errors = append(op.Errors, http.StatusGone)
	return op
}

// follower goes through the changes for one caller.
type follower struct {
	a      *API
	who    caller
	sites  []string
	fields []string
	at     uint64
	born   time.Time
}

// follow begins where the input says; from is where it has its cursor from.
func (a *API) follow(ctx context.Context, in *ChangesInput, from string) (*follower, error) {
	f := &follower{a: a, who: callerOf(ctx)}
	var err error
	if f.sites, err = a.sitesOf(f.who, in.Site, in.Subtree); err != nil {
		return nil, err
	}
	if f.fields, err = parseFields(in.Fields); err != nil {
		return nil, err
	}
	if err := a.o.Index.Ready(); err != nil {
		return nil, a.fault(ctx, "changes", err)
	}
	last, born := a.o.Index.Last()
	f.born = born
	switch in.Cursor {
	case "":
		return f, nil
	case now:
		f.at = last
		return f, nil
	}
	seq, other, ok := parseChangesCursor(in.Cursor, born)
	if !ok {
		return nil, invalid(from, in.Cursor, "expected the next or the cursor of an answer, unchanged; or now; or none, to begin anew")
	}
	if !other && seq > last {
		// Another process, from which it may come, may be ahead by a moment; by more, no log.
		other, err = a.beyond(ctx, seq)
		if err != nil {
			return nil, a.fault(ctx, "changes", err)
		}
	}
	if other {
		return nil, huma.Error410Gone("This cursor is of a log that is no more: it was restored since. Begin anew, without a cursor.",
			&huma.ErrorDetail{Location: from, Value: in.Cursor, Message: "of another log"})
	}
	f.at = seq
	return f, nil
}

// aheadWait is for how long this process may be behind another.
const aheadWait = 3 * time.Second

// beyond waits until the index is at a sequence, and reports whether it does not come there.
func (a *API) beyond(ctx context.Context, seq uint64) (bool, error) {
	timeout := time.NewTimer(aheadWait)
	defer timeout.Stop()
	for {
		changed := a.o.Index.Changed()
		if last, _ := a.o.Index.Last(); last >= seq {
			return false, nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// next gives at most n changes that there are, and goes behind them. more says that there may be
// others already.
func (f *follower) next(ctx context.Context, n int) (changes []changeView, more bool, err error) {
	hits, upTo, err := f.a.o.Index.Changes(listing.Query{Sites: f.sites}, f.at, n)
	if err != nil {
		return nil, false, err
	}
	size := 0
	for i, e := range f.a.read(ctx, hits, &err) {
		// One that changed again, or is gone, since the index was asked, comes later or not at all.
		if e.Article == nil || e.Seq != hits[i].Seq || !f.who.covers(e.Site) {
			continue
		}
		one, err := f.a.item(f.who, e.Article, f.fields, false)
		if err != nil {
			return nil, false, err
		}
		kind := events.BulletinPublished
		if !e.Live() {
			kind = events.BulletinWithdrawn
		}
		changes = append(changes, changeView{kind, changesCursor(f.born, e.Seq), one})
		if size += len(one); size >= pageBytes {
			upTo = min(upTo, e.Seq)
			break
		}
	}
	if err != nil {
		return nil, false, err
	}
	f.at = upTo
	last, born := f.a.o.Index.Last()
	if !born.Equal(f.born) {
		return nil, false, errAnotherLog
	}
	return changes, upTo < last, nil
}

var errAnotherLog = errors.New("the log was restored")

// valid reports whether the caller still may see what it could when it came.
func (f *follower) valid() bool { return f.who.key == "" || f.a.o.Keys.Valid(f.who.key) }

func (a *API) changes(ctx context.Context, in *pollInput) (*changesOutput, error) {
	f, err := a.follow(ctx, &in.ChangesInput, "query.cursor")
	if err != nil {
		return nil, err
	}
	out := &changesOutput{CacheControl: "no-store"}
	out.Body.Changes = []changeView{}
	wait := time.Duration(in.Wait) * time.Second
	var leave func()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	check := time.NewTicker(checkKey)
	defer check.Stop()
	for {
		changed := a.o.Index.Changed()
		changes, more, err := f.next(ctx, in.Limit)
		if err != nil {
			return nil, a.fault(ctx, "changes", err)
		}
		if len(changes) > 0 || wait == 0 {
			out.Body.Changes, out.Body.More = append(out.Body.Changes, changes...), more
			break
		}
		if more {
			continue
		}
		if leave == nil {
			if leave = a.waiting.enter(f.who); leave == nil {
				return nil, unavailable("Too many wait for changes already.")
			}
			defer leave()
		}
		for waiting := true; waiting; {
			select {
			case <-changed:
				waiting = false
			case <-check.C:
				if !f.valid() {
					return nil, huma.Error401Unauthorized("This key is not valid.")
				}
			case <-deadline.C:
				wait, waiting = 0, false
			case <-a.stopping:
				wait, waiting = 0, false
			case <-ctx.Done():
				panic(http.ErrAbortHandler) // nobody is there any more
			}
		}
	}
	out.Body.Next = changesCursor(f.born, f.at)
	return out, nil
}

func (a *API) stream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	from := "query.cursor"
	if in.LastEventID != "" {
		in.Cursor, from = in.LastEventID, "header.Last-Event-ID"
	}
	f, err := a.follow(ctx, &in.ChangesInput, from)
	if err != nil {
		return nil, err
	}
	leave := a.waiting.enter(f.who)
	if leave == nil {
		return nil, unavailable("Too many wait for changes already.")
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		r, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Type", eventStream)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx would keep events back
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		s := eventWriter{w: w, c: http.NewResponseController(w)}
		if err := f.pour(ctx, &s); err != nil && ctx.Err() == nil {
			a.o.Log.Debug().Err(err).Str("caller", f.who.id()).Msg("stream of changes ended")
		}
	}}, nil
}

// pour writes the changes as events, until the stream's time is over, its reader goes, or may not
// read it any longer.
func (f *follower) pour(ctx context.Context, s *eventWriter) error {
	end := time.NewTimer(maxStream)
	defer end.Stop()
	check := time.NewTicker(checkKey)
	defer check.Stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	// The cursor is told at once: who is cut off before the first change goes on from here.
	if err := s.write("retry: %d\nid: %s\n:\n\n", retryMillis, changesCursor(f.born, f.at)); err != nil {
		return err
	}
	for {
		changed := f.a.o.Index.Changed()
		changes, more, err := f.next(ctx, streamPage)
		if err != nil {
			return err // its reader comes again
		}
		for _, c := range changes {
			data, err := json.Marshal(c)
			if err != nil {
				return err
			}
			if err := s.write("id: %s\nevent: %s\ndata: %s\n\n", c.Cursor, c.Type, data); err != nil {
				return err
			}
		}
		if more {
			if !f.valid() {
				return errors.New("the key was revoked")
			}
			if err := f.who.limiter.wait(ctx); err != nil { // who reads all of the log is not to read it faster than page by page
				return err
			}
			continue
		}
		for waiting := true; waiting; {
			select {
			case <-changed:
				waiting = false
			case <-alive.C:
				if err := s.write(":\n\n"); err != nil {
					return err
				}
			case <-check.C:
				if !f.valid() {
					return errors.New("the key was revoked")
				}
			case <-end.C:
				return nil
			case <-f.a.stopping:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// eventWriter writes to a stream's reader, who must take each event within the time for an answer.
type eventWriter struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (s *eventWriter) write(form string, args ...any) error {
	// A connection that knows no deadlines has none.
	_ = s.c.SetReadDeadline(time.Time{})
	_ = s.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := fmt.Fprintf(s.w, form, args...); err != nil {
		return fmt.Errorf("write to a stream: %w", err)
	}
	if err := s.c.Flush(); err != nil {
		return fmt.Errorf("write to a stream: %w", err)
	}
	return nil
}
