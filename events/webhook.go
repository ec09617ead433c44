package events

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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

	// A secret is written with one of these before its base64 (Standard Webhooks 1.0): a shared
	// key for HMAC-SHA256, or the private or public half of an ed25519 key.
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
	// One of these comes before a signature: by a shared key, or by a private one.
	sharedScheme  = "v1"
	ed25519Scheme = "v1a"

	// Standard Webhooks asks for shared keys of 24 to 64 bytes.
	minSecret, maxSecret = 24, 64
	newSecret            = 32 // as long as the HMAC-SHA256 that it keys
	// maxSignatures bounds the signatures of one request that are tried.
	maxSignatures = 16
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

// NewSecret is a random shared secret for one portal ("whsec_…"): both sides know it.
func NewSecret() string {
	key := make([]byte, newSecret)
	rand.Read(key) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// NewSigningKey is a random private key for one portal ("whsk_…"). The portal is given its
// [PublicKey], with which it can verify bulletins, and forge none.
func NewSigningKey() string {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // never fails
	}
	return privatePrefix + base64.StdEncoding.EncodeToString(key)
}

// PublicKey is the public half ("whpk_…") of a signing key.
func PublicKey(signingKey string) (string, error) {
	key, err := privateKey(signingKey)
	if err != nil {
		return "", err
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)), nil
}

// IsSigningKey reports whether a secret is a private key, whose public half is given away, and
// not one that is shared.
func IsSigningKey(secret string) bool { return strings.HasPrefix(secret, privatePrefix) }

// CheckSecret reports what is wrong with a secret that is to sign bulletins. Its errors do not
// tell the secret.
func CheckSecret(secret string) error {
	if IsSigningKey(secret) {
		_, err := privateKey(secret)
		return err
	}
	_, err := sharedKey(secret)
	return err
}

// sharedKey reads a shared secret. Its errors do not tell the secret.
func sharedKey(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("webhook secret: expected %s and the base64 of %d to %d bytes", secretPrefix, minSecret, maxSecret)
	}
	return key, nil
}

// privateKey reads a private key: a seed of 32 bytes, or, as libsodium writes it, the seed and the
// public key.
func privateKey(secret string) (ed25519.PrivateKey, error) {
	encoded, ok := strings.CutPrefix(secret, privatePrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if ok && err == nil {
		switch len(key) {
		case ed25519.SeedSize:
			return ed25519.NewKeyFromSeed(key), nil
		case ed25519.PrivateKeySize:
			// A public key that is not the seed's would let the private one be reckoned.
			if whole := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]); whole.Equal(ed25519.PrivateKey(key)) {
				return whole, nil
			}
		}
	}
	return nil, fmt.Errorf("webhook signing key: expected %s and the base64 of an ed25519 key of %d or %d bytes",
		privatePrefix, ed25519.SeedSize, ed25519.PrivateKeySize)
}

// signed is the text that is signed.
func signed(id, timestamp string, body []byte) []byte {
	return fmt.Appendf(make([]byte, 0, len(id)+len(timestamp)+len(body)+2), "%s.%s.%s", id, timestamp, body)
}

// Sign gives one signature of a bulletin over id, time in whole seconds and body: with a shared
// secret "v1,…" (HMAC-SHA256), with a signing key "v1a,…" (ed25519). The header carries one for each
// secret of the portal, separated by spaces: two while one replaces the other.
func Sign(secret, id string, t time.Time, body []byte) (string, error) {
	// The signed text is "<id>.<time>.<body>": a dot in the id would let it be read otherwise.
	if id == "" || strings.Contains(id, ".") {
		return "", fmt.Errorf("webhook id %q: expected text without a dot", id)
	}
	if IsSigningKey(secret) {
		key, err := privateKey(secret)
		if err != nil {
			return "", err
		}
		sum := ed25519.Sign(key, signed(id, strconv.FormatInt(t.Unix(), 10), body))
		return ed25519Scheme + "," + base64.StdEncoding.EncodeToString(sum), nil
	}
	key, err := sharedKey(secret)
	if err != nil {
		return "", err
	}
	// The library would copy the body twice, which takes longer than the signing.
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, t.Unix())
	mac.Write(body)
	return sharedScheme + "," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// Verifier checks that bulletins come from Loa. It is safe for concurrent use.
type Verifier struct {
	// Now is the receiver's clock; time.Now when nil.
	Now func() time.Time

	webhooks []*standardwebhooks.Webhook
	public   []ed25519.PublicKey
}

// NewVerifier makes a verifier of a portal's secrets, shared ones ("whsec_…") or public keys
// ("whpk_…"): one, or more while one replaces the other. One of them must match.
func NewVerifier(secrets ...string) (*Verifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("webhook secret: expected at least one")
	}
	v := &Verifier{}
	for _, secret := range secrets {
		if encoded, ok := strings.CutPrefix(secret, publicPrefix); ok {
			key, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || len(key) != ed25519.PublicKeySize {
				return nil, fmt.Errorf("webhook public key: expected %s and the base64 of %d bytes", publicPrefix, ed25519.PublicKeySize)
			}
			v.public = append(v.public, key)
			continue
		}
		key, err := sharedKey(secret)
		if err != nil {
			return nil, err
		}
		wh, err := standardwebhooks.NewWebhookRaw(key)
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
	if len(v.public) > 0 && v.signedByKey(header, body) {
		return nil
	}
	return ErrSignature
}

// signedByKey looks for a signature by one of the public keys.
func (v *Verifier) signedByKey(header http.Header, body []byte) bool {
	text := signed(header.Get(HeaderID), header.Get(HeaderTimestamp), body)
	tried := 0
	for one := range strings.FieldsSeq(header.Get(HeaderSignature)) {
		encoded, ok := strings.CutPrefix(one, ed25519Scheme+",")
		if !ok {
			continue
		}
		if tried++; tried > maxSignatures {
			return false
		}
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		for _, key := range v.public {
			if ed25519.Verify(key, text, sum) {
				return true
			}
		}
	}
	return false
}
