package websub

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"

	"github.com/loa-syndication/loa/internal/secret"
)

// Method is how deliveries are signed (§8: the digest methods that subscribers must know).
type Method string

// Methods. A subscriber may ask for one in the parameter hub.signature, which is Loa's own: the
// Recommendation leaves the choice to the hub.
const (
	SHA1   Method = "sha1" // only for hosts that the configuration names
	SHA256 Method = "sha256"
	SHA384 Method = "sha384"
	SHA512 Method = "sha512"
)

var hashes = map[Method]func() hash.Hash{SHA1: sha1.New, SHA256: sha256.New, SHA384: sha512.New384, SHA512: sha512.New}

// Sign gives the value of X-Hub-Signature for a body.
func (m Method) Sign(key secret.Secret, body []byte) string {
	mac := hmac.New(hashes[m], []byte(key.Reveal()))
	mac.Write(body)
	return string(m) + "=" + hex.EncodeToString(mac.Sum(nil))
}
