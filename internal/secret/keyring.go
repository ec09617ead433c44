package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	// keyBytes is the length of a key: AES-256.
	keyBytes = 32
	// idBytes of a key's hash name it in what it sealed.
	idBytes = 4
	// maxKeys bounds the keys of a ring: the current one, and some that it replaced.
	maxKeys = 16
	// sealed begins what a ring sealed. What does not begin so is in clear.
	sealed = "sealed:1:"
)

// Keyring seals secrets for storage, by AES-256-GCM (NIST SP 800-38D) with a random nonce. The
// first key seals; all of them open, so that a key can be replaced while what it sealed is
// still there.
//
//	sealed:1:<the key's name, hex>:<nonce and ciphertext, base64>
type Keyring struct {
	keys []key
}

type key struct {
	id   string
	aead cipher.AEAD
}

// ErrNoKey says that what was sealed cannot be opened with the keys at hand.
var ErrNoKey = errors.New("sealed with a key that is not at hand")

// NewKey makes a key, in the form that ParseKeyring reads.
func NewKey() Secret {
	b := make([]byte, keyBytes)
	rand.Read(b) // never fails
	return Secret(base64.StdEncoding.EncodeToString(b))
}

// ParseKeyring reads keys: the base64 of 32 bytes each, one a line, the newest first. Empty lines
// and those that begin with "#" are passed over. Its errors do not tell the keys.
func ParseKeyring(text Secret) (*Keyring, error) {
	var ring Keyring
	for i, line := range strings.Split(text.Reveal(), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != keyBytes {
			return nil, fmt.Errorf("line %d: expected the base64 of %d random bytes, as of openssl rand -base64 %d", i+1, keyBytes, keyBytes)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(raw)
		ring.keys = append(ring.keys, key{hex.EncodeToString(sum[:idBytes]), aead})
	}
	switch {
	case len(ring.keys) == 0:
		return nil, fmt.Errorf("expected a key: the base64 of %d random bytes, as of openssl rand -base64 %d", keyBytes, keyBytes)
	case len(ring.keys) > maxKeys:
		return nil, fmt.Errorf("found %d keys, expected at most %d", len(ring.keys), maxKeys)
	}
	return &ring, nil
}

// Seal seals a secret for a place, such as a portal and one of its fields: moved to another, it
// cannot be opened.
func (r *Keyring) Seal(s Secret, place string) string {
	k := r.keys[0]
	return sealed + k.id + ":" + base64.StdEncoding.EncodeToString(k.aead.Seal(nil, nil, []byte(s.Reveal()), []byte(place)))
}

// IsSealed reports whether stored is what some ring sealed.
func IsSealed(stored string) bool { return strings.HasPrefix(stored, sealed) }

// Open opens what was sealed for the place. What is in clear it gives as it is. current says that
// it need not be sealed anew: it is not in clear, nor sealed with a former key.
func (r *Keyring) Open(stored, place string) (s Secret, current bool, err error) {
	rest, ok := strings.CutPrefix(stored, sealed)
	if !ok {
		return Secret(stored), false, nil
	}
	id, text, _ := strings.Cut(rest, ":")
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", false, errors.New("not what was sealed: it is damaged")
	}
	for i, k := range r.keys {
		if k.id != id {
			continue
		}
		plain, err := k.aead.Open(nil, nil, raw, []byte(place))
		if err != nil {
			return "", false, errors.New("not what was sealed here: it is damaged, or comes from elsewhere")
		}
		return Secret(plain), i == 0, nil
	}
	return "", false, fmt.Errorf("%w (%s)", ErrNoKey, id)
}
