package events

import (
	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/text/unicode/norm"
)

const (
	// Stream is the JetStream stream that stores events.
	Stream = "EVENTS"
	// SubjectPrefix begins the subject of every event; site and article follow as tokens.
	SubjectPrefix = "loa.event."
)

// Subject is the NATS subject on which an article's events are published.
func Subject(site, id string) string {
	return SubjectPrefix + Token(site) + "." + Token(id)
}

const (
	// maxToken is the length, in bytes, up to which an id serves as its own token.
	maxToken = 64
	// hashedToken begins the token of an id that cannot serve as its own. No literal token
	// begins with it, so the two never meet.
	hashedToken = "h--"
	// hashedBytes of the SHA-256 are kept: 128 bits, at which nobody finds two ids that meet.
	hashedBytes = 16
)

// Token turns an id into one token of a NATS subject, which is a safe path segment as well:
// an id of 1 to 64 characters out of A-Z, a-z, 0-9, "_" and "-", which does not begin with
// "h--", stays as it is; any other becomes "h--" and the first 128 bits of the SHA-256 of its
// NFC form, in hex.
func Token(id string) string {
	if safeToken(id) {
		return id
	}
	sum := sha256.Sum256([]byte(norm.NFC.String(id)))
	return hashedToken + hex.EncodeToString(sum[:hashedBytes])
}

func safeToken(id string) bool {
	if id == "" || len(id) > maxToken || len(id) >= len(hashedToken) && id[:len(hashedToken)] == hashedToken {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
