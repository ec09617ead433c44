package events

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Headers of a bulletin (Standard Webhooks 1.0).
const (
	// HeaderID is the bulletin's id: the same in every retry, another for every version of an
	// article and every portal.
	HeaderID = "webhook-id"
	// HeaderTimestamp is when this attempt was signed, in Unix seconds.
	HeaderTimestamp = "webhook-timestamp"
	// HeaderSignature holds one signature or several, separated by spaces.
	HeaderSignature = "webhook-signature"
)

// Content types of a bulletin, by the format that the portal's configuration names.
const (
	// JSONType is that of the formats "bulletin" and "ninjs", and of every ping and digest.
	JSONType = "application/json"
	// AtomEntryType and AtomDeletedType are those of the format "atom" (RFC 5023 §12.2, RFC 6721
	// §6.1): an entry, and the tombstone of one that was withdrawn.
	AtomEntryType   = "application/atom+xml;type=entry;charset=utf-8"
	AtomDeletedType = "application/atomdeleted+xml;charset=utf-8"
)

const (
	// Tolerance is how far a signature's time may lie from the receiver's clock: a recorded
	// request cannot be played again after it.
	Tolerance = 5 * time.Minute

	secretPrefix = "whsec_"
	// Standard Webhooks asks for secrets of 24 to 64 bytes.
	minSecret, maxSecret = 24, 64
	newSecret            = 32 // as long as the HMAC-SHA256 that it keys
)

// What [Verifier.Verify] may find.
var (
	// ErrUnsigned says that one of the three headers is missing.
	ErrUnsigned = errors.New("webhook headers are missing")
	// ErrTimestamp says that the timestamp is not a number.
	ErrTimestamp = errors.New("webhook-timestamp is not a Unix time")
	// ErrTooOld and ErrTooNew say that the timestamp lies outside of [Tolerance]: the request is
	// a replay, or one of the clocks is wrong.
	ErrTooOld = errors.New("webhook-timestamp is too old")
	ErrTooNew = errors.New("webhook-timestamp is in the future")
	// ErrSignature says that no signature was made with one of the secrets over these bytes.
	ErrSignature = errors.New("no signature matches")
)

// NewSecret is a random secret for one portal.
func NewSecret() string {
	key := make([]byte, newSecret)
	rand.Read(key) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// webhook checks a secret's form. Its errors do not tell the secret.
func webhook(secret string) (*standardwebhooks.Webhook, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("webhook secret: expected %s and the base64 of %d to %d bytes", secretPrefix, minSecret, maxSecret)
	}
	return standardwebhooks.NewWebhookRaw(key)
}

// Sign gives one signature of a bulletin ("v1,…": HMAC-SHA256 over id, time in whole seconds and
// body). While a secret is being replaced, the header carries one for each, separated by a space.
func Sign(secret, id string, t time.Time, body []byte) (string, error) {
	wh, err := webhook(secret)
	if err != nil {
		return "", err
	}
	// The signed text is "<id>.<time>.<body>": a dot in the id would let it be read otherwise.
	if id == "" || strings.Contains(id, ".") {
		return "", fmt.Errorf("webhook id %q: expected text without a dot", id)
	}
	return wh.Sign(id, t, body)
}

// Verifier checks that bulletins come from Loa. It is safe for concurrent use.
type Verifier struct {
	// Now is the receiver's clock; time.Now when nil.
	Now func() time.Time

	webhooks []*standardwebhooks.Webhook
}

// NewVerifier makes a verifier of a portal's secrets: one, or two while one replaces the other.
func NewVerifier(secrets ...string) (*Verifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("webhook secret: expected at least one")
	}
	v := &Verifier{}
	for _, secret := range secrets {
		wh, err := webhook(secret)
		if err != nil {
			return nil, err
		}
		v.webhooks = append(v.webhooks, wh)
	}
	return v, nil
}

// Verify checks that body, byte for byte as it was received, and header were signed with one of
// the secrets within [Tolerance] of now. Its errors are [ErrUnsigned], [ErrTimestamp],
// [ErrTooOld], [ErrTooNew] and [ErrSignature].
func (v *Verifier) Verify(header http.Header, body []byte) error {
	if header.Get(HeaderID) == "" || header.Get(HeaderTimestamp) == "" || header.Get(HeaderSignature) == "" {
		return ErrUnsigned
	}
	seconds, err := strconv.ParseInt(header.Get(HeaderTimestamp), 10, 64)
	if err != nil {
		return ErrTimestamp
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	oldest, newest := now().Add(-Tolerance).Unix(), now().Add(Tolerance).Unix()
	switch {
	case seconds < oldest:
		return ErrTooOld
	case seconds > newest:
		return ErrTooNew
	}
	for _, wh := range v.webhooks {
		if wh.VerifyIgnoringTimestamp(body, header) == nil {
			return nil
		}
	}
	return ErrSignature
}
