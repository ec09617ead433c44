package websub

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/loa-syndication/loa/internal/secret"
)

// Modes of a request.
const (
	ModeSubscribe   = "subscribe"
	ModeUnsubscribe = "unsubscribe"
	// ModeDenied is a message of the hub's own: that a subscription was refused, or ended (§5.2).
	ModeDenied = "denied"
	// ModePublish is what publishers tell hubs, and is done at once.
	ModePublish = "publish"
)

// Request is what was asked about a callback and a topic, until the callback has been asked.
type Request struct {
	Mode     string        `json:"mode"` // one of the first three
	Callback string        `json:"callback"`
	Topic    Topic         `json:"topic"`
	Lease    time.Duration `json:"lease,omitempty"`
	Secret   string        `json:"secret,omitempty"` // sealed
	Method   Method        `json:"method,omitempty"`
	// Seen is the ETag of the topic's document when it was asked: what has changed since is due to
	// the subscriber, who may have read it just before.
	Seen   string    `json:"seen,omitempty"`
	Reason string    `json:"reason,omitempty"` // of a denial
	At     time.Time `json:"at"`

	revision uint64
}

// ID of the subscription that it is about.
func (r Request) ID() ID { return NewID(r.Callback, r.Topic) }

// Subscription is a callback that has confirmed that it wants a topic.
type Subscription struct {
	Callback string `json:"callback"`
	Topic    Topic  `json:"topic"`
	Secret   string `json:"secret,omitempty"` // sealed; empty for none
	Method   Method `json:"method,omitempty"`
	// Address is the callback's IP address when it confirmed.
	Address string    `json:"address,omitempty"`
	Since   time.Time `json:"since"`
	Renewed time.Time `json:"renewed,omitzero"`
	// Expires is when the lease ends. Nothing is delivered from then on, and nobody is told.
	Expires time.Time `json:"expires"`

	revision uint64
}

// ID names the subscription.
func (s Subscription) ID() ID { return NewID(s.Callback, s.Topic) }

// Live reports whether the lease has not ended.
func (s Subscription) Live(now time.Time) bool { return now.Before(s.Expires) }

// Delivery is how the last delivery to a subscription went.
type Delivery struct {
	// ETag is that of the document which the subscriber has: delivered at At, or, where At is zero,
	// as it was when the subscription was asked for.
	ETag string    `json:"etag,omitempty"`
	At   time.Time `json:"at,omitzero"`
	// FailingSince is when the first of the failures was that came since; zero without any.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Failures     int       `json:"failures,omitempty"`
	Error        string    `json:"error,omitempty"`
}

// topicState is what subscribers were flagged for last.
type topicState struct {
	ETag string `json:"etag"`
}

// place is what a subscription's secret is sealed for. A request's is sealed for the same, so that
// it is moved as it is.
func place(id ID) string { return "subscription/" + string(id) }

func seal(keys *secret.Keyring, s secret.Secret, id ID) string {
	if s == "" {
		return ""
	}
	if keys == nil {
		return s.Reveal()
	}
	return keys.Seal(s, place(id))
}

func open(keys *secret.Keyring, stored string, id ID) (secret.Secret, error) {
	switch {
	case stored == "":
		return "", nil
	case keys == nil && secret.IsSealed(stored):
		return "", fmt.Errorf("open the secret of subscription %s: %w", id, secret.ErrNoKey)
	case keys == nil:
		return secret.Secret(stored), nil
	}
	s, _, err := keys.Open(stored, place(id))
	if err != nil {
		return "", fmt.Errorf("open the secret of subscription %s: %w", id, err)
	}
	return s, nil
}

func decode[T any](what string, data []byte) (v T, err error) {
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", what, err)
	}
	return v, nil
}
