package bulletins

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/portal"
)

// Pong is what came of a ping.
type Pong struct {
	Delivery string // the webhook-id
	Outcome  string // as of any bulletin, such as [portal.OutcomeDelivered]
	Status   int    // 0 if there was no answer
	Line     string // the first line of the answer that says something
	Took     time.Duration
	// Err says why a bulletin would have failed.
	Err error
}

// Ping sends a portal one bulletin that concerns no article, just as a worker sends the others:
// signed by all its secrets, with its headers, within its time-out, to no address that it may not
// have. Nothing is noted of it, whatever comes of it.
func Ping(ctx context.Context, p portal.Portal, version string) (Pong, error) {
	body, err := json.Marshal(events.Bulletin{Type: events.BulletinPing, Timestamp: time.Now().UTC()})
	if err != nil {
		return Pong{}, fmt.Errorf("make a ping: %w", err)
	}
	w := &Worker{opts: Options{Version: version}, clients: newClients()}
	defer w.clients.close()
	id := "ping_" + rand.Text()
	began := time.Now()
	a := w.push(ctx, p, id, body, events.JSONType)
	took := time.Since(began)
	if err := ctx.Err(); err != nil {
		return Pong{}, fmt.Errorf("ping portal %q: %w", p.Name, err)
	}
	r := classify(p, a)
	return Pong{Delivery: id, Outcome: r.outcome, Status: a.status, Line: firstLine(a.body, p), Took: took, Err: r.err}, nil
}

// Advice says what to do about the failure; empty if there is none.
func (p Pong) Advice() string {
	var transport *fault
	if errors.As(p.Err, &transport) {
		return transport.advice
	}
	switch s := p.Status; {
	case p.Err == nil:
		return ""
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return "compare the secret here and there, and the clock there; then what else it asks for, such as a header"
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		return "see that the address is the one that takes bulletins"
	case s == http.StatusGone:
		return "it says that it is no more, and a bulletin so answered pauses it: ask who runs it"
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		return "it asks for time: what is due to it waits; a lower --rate may help"
	case s < 200, s >= 300 && s <= 399:
		return "redirects are not followed: enter the address to which it leads, if that is to have the bulletins"
	case s <= 499:
		return "it takes this for a wrong request: loa receive --check tells who runs it what is to be accepted"
	default:
		return "the fault is there: ask who runs it to look for the webhook-id " + p.Delivery
	}
}
