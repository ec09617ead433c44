// Package inbox takes events over HTTP, for a CMS that cannot speak NATS.
//
//	POST /v1/events
//	Authorization: Bearer loa_…            or a signature of Standard Webhooks, with ?cms=NAME
//	Content-Type: application/cloudevents+json          one event, structured
//	              application/cloudevents-batch+json    several, in a list
//	              application/json, with headers ce-*   one event, binary
//
// 202 says that JetStream has stored all of them, and nothing else does. An event sent again is
// stored once, by its source and id; another event under the same id is a conflict. A CMS publishes
// for its own sites alone.
//
// A batch is taken or refused as a whole as far as it depends on what is in it: one fault in one
// event, and none is stored, but every fault is listed. If NATS goes away or becomes full in the middle, or
// an event has the id of another that was stored before, the first ones are stored and the answer says
// which. The same request sent again is right after any answer of 429 or 503, and after none at all.
//
// Whoever calls is a stranger until the key or the signature says otherwise: what can be refused
// is refused before the body is read, and all bodies together have a bound.
package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Path is where events are posted.
const Path = "/v1/events"

const (
	// MaxBody bounds a request's body, in bytes: what one event may have, and a batch altogether.
	MaxBody = streams.MaxMessage
	// MaxBatch bounds a batch, in events: stored one after the other, they take half a second on a slow disk.
	MaxBatch = 500
	// maxBodies bounds what all requests together hold of bodies, in bytes. Who comes when there is
	// no room is told to come again.
	maxBodies = 64 << 20
	// bodyTimeout is for a body: 8 MiB take a minute at 1 Mbit/s.
	bodyTimeout = 70 * time.Second
	// waitDefault is how long an event waits for NATS: a cluster that lost a leader takes 4 to 7 s to
	// choose another. storeTimeout is for all events of a request.
	waitDefault  = 12 * time.Second
	storeTimeout = 45 * time.Second
	// answerTimeout is for sending the answer, after all that.
	answerTimeout = 10 * time.Second

	// DefaultRate is how many events a second one CMS may send where nothing else is configured:
	// a whole district's day in a minute.
	DefaultRate = 50

	// What a CMS is told, in seconds, when to come again: NATS is back, room is made in the log, and
	// another request has ended, respectively.
	retryAway, retryFull, retryBusy = 5, 30, 2
)

// Keys are the keys of CMSs. [*keys.Registry] is one.
type Keys interface {
	// Verify gives the key of the kind whose text is given.
	Verify(text, kind string) (keys.Key, error)
}

// CMS is one that signs what it sends.
type CMS struct {
	Name string
	// Secrets are shared ones ("whsec_…") or public keys ("whpk_…"), of which one must match.
	Secrets []string
	Sites   []string
	Rate    float64 // events a second; Options.Rate when 0
}

// Options are what an [Inbox] works with. JS, Keys and Sites are required.
type Options struct {
	JS    jetstream.JetStream
	Keys  Keys
	CMSs  []CMS
	Sites *site.Tree
	// Rate is how many events a second one CMS may send; [DefaultRate] when 0.
	Rate float64
	// Wait is how long one event waits for NATS; 12 s when 0.
	Wait    time.Duration
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Inbox answers requests on [Path].
type Inbox struct {
	o       Options
	senders *senders
	bodies  *semaphore.Weighted
	events  *prometheus.CounterVec
}

// New makes an inbox.
func New(o Options) (*Inbox, error) {
	o.Rate, o.Wait = cmp.Or(o.Rate, DefaultRate), cmp.Or(o.Wait, waitDefault)
	in := &Inbox{o: o, bodies: semaphore.NewWeighted(maxBodies), events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loa_inbox_events_total",
		Help: "Events that came over HTTP: stored or repeated (stored before); and requests that were refused."}, []string{"outcome"})}
	var err error
	if in.senders, err = newSenders(o); err != nil {
		return nil, err
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(in.events); err != nil {
			return nil, fmt.Errorf("register metrics of the inbox: %w", err)
		}
	}
	return in, nil
}

// ServeHTTP answers one request.
func (in *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// These can only fail where there is no connection, as in tests of handlers.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(bodyTimeout + storeTimeout + answerTimeout))
	stored, sender, p := in.take(r)
	if p != nil {
		p.Stored = stored
		in.refuse(w, r, sender, p)
		return
	}
	in.o.Log.Debug().Str("cms", sender).Int("events", len(stored)).Msg("events taken over HTTP")
	writeJSON(w, http.StatusAccepted, "application/json", struct {
		Stored []receipt `json:"stored"`
	}{stored})
}

// receipt says where an event is stored.
type receipt struct {
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"`
	// Duplicate is set when it had been stored before.
	Duplicate bool `json:"duplicate,omitempty"`
}

// take stores what a request brings, or gives what is wrong with it, and what was stored nevertheless.
func (in *Inbox) take(r *http.Request) (stored []receipt, name string, p *problem) {
	if r.Method != http.MethodPost {
		return nil, "", &problem{Status: http.StatusMethodNotAllowed, Detail: "Events are posted here.", header: http.Header{"Allow": {http.MethodPost}}}
	}
	s, p := in.senders.identify(r)
	if p != nil {
		return nil, "", p
	}
	mode, p := modeOf(r.Header)
	if p != nil {
		return nil, s.name, p
	}
	if p := s.limited(1); p != nil && s.proven {
		return nil, s.name, p
	}
	body, release, p := in.read(r)
	if p != nil {
		return nil, s.name, p
	}
	defer release()
	if p := s.verify(r.Header, body); p != nil {
		return nil, s.name, p
	}
	list, p := parse(mode, r.Header, body)
	if p == nil {
		p = in.admit(s, list)
	}
	if p == nil {
		p = contradictions(list)
	}
	if p == nil {
		p = s.spend(len(list))
	}
	if p != nil {
		return nil, s.name, p
	}
	stored, p = in.store(r.Context(), list)
	return stored, s.name, p
}

// read reads the body, if there is room for it.
func (in *Inbox) read(r *http.Request) (body []byte, release func(), p *problem) {
	weight := r.ContentLength
	if weight > MaxBody {
		return nil, nil, tooLarge()
	}
	if weight < 0 {
		weight = MaxBody
	}
	if !in.bodies.TryAcquire(weight) {
		return nil, nil, later(http.StatusServiceUnavailable, retryBusy, "There are too many large requests at the moment.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
	if err == nil {
		return body, func() { in.bodies.Release(weight) }, nil
	}
	in.bodies.Release(weight)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, nil, tooLarge()
	}
	return nil, nil, &problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("The body could not be read: it ended, or did not come within %s.", bodyTimeout)}
}

func tooLarge() *problem {
	return &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("At most %d bytes are taken: send images by address rather than inline, and a batch in parts.", MaxBody)}
}

// contentMode is how a request carries events (CloudEvents HTTP binding 1.0.2, §3).
type contentMode int

const (
	single contentMode = iota // structured or binary: package events tells which
	batch
)

const batchType = "application/cloudevents-batch+json"

func modeOf(h http.Header) (contentMode, *problem) {
	accepted := http.Header{"Accept": {"application/cloudevents+json, " + batchType + ", application/json"}}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return 0, &problem{Status: http.StatusUnsupportedMediaType, Detail: "Bodies are taken uncompressed.", header: http.Header{"Accept-Encoding": {"identity"}},
			Errors: []events.Fault{{Path: "Content-Encoding", Value: short(coding), Expected: "none"}}}
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err == nil && media == batchType:
		return batch, nil
	case err == nil && (media == "application/cloudevents+json" || media == "application/json"):
		return single, nil
	}
	return 0, &problem{Status: http.StatusUnsupportedMediaType, Detail: "Events are CloudEvents 1.0 in JSON.", header: accepted,
		Errors: []events.Fault{{Path: "Content-Type", Value: short(h.Get("Content-Type")),
			Expected: "application/cloudevents+json, " + batchType + ", or application/json with the attributes in headers ce-*"}}}
}

// admit holds events against what their sender may publish, and whether there are such sites.
func (in *Inbox) admit(s *sender, list []events.Event) *problem {
	foreign, unknown := &problem{Status: http.StatusForbidden, Detail: "The key or secret is for other sites."}, &problem{Status: http.StatusUnprocessableEntity, Detail: "There is no such site."}
	for i, e := range list {
		path := "/data/site"
		if len(list) > 1 {
			path = fmt.Sprintf("/%d%s", i, path)
		}
		switch _, known := in.o.Sites.Get(e.Site()); {
		case !s.covers(e.Site()):
			foreign.add(events.Fault{Path: path, Value: short(e.Site()), Expected: "one of " + strings.Join(s.sites, ", ")})
		case !known:
			unknown.add(events.Fault{Path: path, Value: short(e.Site()), Expected: "one of the configured sites"})
		}
	}
	switch {
	case len(foreign.Errors) > 0:
		return foreign
	case len(unknown.Errors) > 0:
		return unknown
	}
	return nil
}

// contradictions finds events of a batch that have the id of another one before them.
func contradictions(list []events.Event) *problem {
	var p *problem
	first := make(map[string]events.Event, len(list))
	for i, e := range list {
		id := messageID(e)
		was, seen := first[id]
		switch {
		case !seen:
			first[id] = e
		case was.Digest != e.Digest || was.Type != e.Type:
			if p == nil {
				p = &problem{Status: http.StatusConflict, Detail: "Events of the batch about one article have the same source and id. Nothing of it was stored."}
			}
			p.add(idFault(fmt.Sprintf("/%d", i), e.ID))
		}
	}
	return p
}

func idFault(path, id string) events.Fault {
	return events.Fault{Path: path + "/id", Value: short(id), Expected: "an id of its own for each event; a repeat is the same byte for byte"}
}

// errFull ends the attempts to store an event when there is no room for it: waiting for room is the CMS's.
var errFull = errors.New("no room in the log")

// store publishes events in their order, and stops at the first that it cannot.
func (in *Inbox) store(ctx context.Context, list []events.Event) (stored []receipt, p *problem) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	publisher := events.NewPublisher(in.o.JS, events.WithRetryFor(in.o.Wait), events.WithMessageID(messageID),
		events.WithOnRetry(func(err error, _ time.Duration) {
			if streams.IsFull(err) || streams.IsDiskFull(err) {
				stop(fmt.Errorf("%w: %w", errFull, err))
			}
		}))
	stored = []receipt{}
	for i, e := range list {
		ack, err := in.publish(ctx, publisher, e)
		if err != nil {
			path := ""
			if len(list) > 1 {
				path = fmt.Sprintf("/%d", i)
			}
			return stored, in.failed(err, path)
		}
		outcome := "stored"
		if ack.Duplicate {
			outcome = "repeated"
		}
		in.events.WithLabelValues(outcome).Inc()
		stored = append(stored, receipt{e.ID, ack.Sequence, ack.Duplicate})
	}
	return stored, nil
}

// publish publishes one event, and makes sure that a repeat is one.
func (in *Inbox) publish(ctx context.Context, publisher *events.Publisher, e events.Event) (events.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, in.o.Wait)
	defer cancel()
	ack, err := publisher.Publish(ctx, e)
	if err == nil && ack.Duplicate {
		err = in.same(ctx, ack.Sequence, e)
	}
	return ack, err
}

// conflict says that another event was stored under the same id.
type conflict struct{ id string }

func (c *conflict) Error() string { return fmt.Sprintf("another event has the id %q", c.id) }

// same makes sure that what was stored under an event's id says the same. If it is gone by now, it
// was taken in; what decides then is the version.
func (in *Inbox) same(ctx context.Context, seq uint64, e events.Event) error {
	stream, err := in.o.JS.Stream(ctx, streams.Events)
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	m, err := stream.GetMsg(ctx, seq)
	if streams.IsGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	was, err := events.Parse(m.Header, m.Data)
	if err != nil || was.Digest != e.Digest || was.Type != e.Type {
		return &conflict{e.ID}
	}
	return nil
}

func tooLong(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// failed tells the sender why an event was not stored.
func (in *Inbox) failed(err error, path string) *problem {
	var other *conflict
	var refused *events.RefusedError
	var invalid *events.InvalidError
	switch {
	case errors.As(err, &other):
		return &problem{Status: http.StatusConflict, Detail: "Another event about this article was stored under the same source and id.", Errors: []events.Fault{idFault(path, other.id)}}
	case errors.Is(err, errFull):
		in.o.Log.Error().Err(err).Msg("no room for events that come over HTTP")
		return later(http.StatusTooManyRequests, retryFull, "The log is full. Nothing is wrong with the event: send it again.")
	case errors.As(err, &refused) && errors.As(err, &invalid):
		return invalidEvent(invalid, path)
	case errors.As(err, &refused) && tooLong(refused.Err):
		return &problem{Status: http.StatusRequestEntityTooLarge, Detail: "The event is too large: " + refused.Reason + "."}
	case errors.As(err, &refused): // by permissions, or a stream that is not set up as it should be
		in.o.Log.Error().Err(err).Msg("event that came over HTTP was refused by NATS")
		return &problem{Status: http.StatusInternalServerError, Detail: "Loa cannot store events as it is set up. Its log says more."}
	}
	in.o.Log.Warn().Err(err).Msg("event that came over HTTP could not be stored")
	return later(http.StatusServiceUnavailable, retryAway, "The event could not be stored at the moment. Send the same again: it is stored once.")
}
