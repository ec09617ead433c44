// Package keys holds the keys by which partners read the API and CMSs publish over HTTP.
//
// A key is shown once, when it is made:
//
//	loa_<id>_<secret>      id: 12 characters, which name it; secret: 32 random bytes in base32
//
// What is stored, in the bucket [streams.KeysBucket], is its SHA-256 with what it allows:
//
//	key.<id>    the hash, whose the key is, its scope, and when and by whom it was revoked
//	used.<id>   when it was used last, to the minute
//
// The secret has 256 random bits, so a plain hash is as good as a slow one, and costs each request
// a microsecond. A revoked key stays on record, and opens as little as one that never was: whoever
// tries is not told the difference, by the answer or by its time.
//
// A [Registry] follows the bucket: a revocation holds in every process within the moment that it
// takes NATS to tell it. A process that has lost NATS, and so cannot know what was revoked, lets
// nobody in until it has read the bucket again.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/site"
)

// Kinds of keys: what they open.
const (
	// KindPartner reads the partner API.
	KindPartner = "partner"
	// KindCMS publishes over HTTP.
	KindCMS = "cms"
)

// What a partner's key shows of an article.
const (
	ContentFull    = "full"
	ContentSummary = "summary"
)

const (
	prefix      = "loa_"
	idLength    = 12 // characters of base32: 60 bits, so none is made twice
	secretBytes = 32
	// maxText is longer than any key, in bytes: nothing longer is hashed.
	maxText = 128
	// maxName bounds what a key's owner is called, in characters.
	maxName = 100
	// maxSites bounds the sites that one key names.
	maxSites = 1000
	// maxRate bounds a key's rate, in requests a second: more is no limit.
	maxRate = 10_000
	// maxKeys bounds the keys that there are, revoked ones included: each is held in memory by
	// every process, at less than a kilobyte.
	maxKeys = 50_000
)

var (
	// ErrUnknown says that a text is no key of the kind that is wanted: there never was one, it is
	// revoked, or it opens something else.
	ErrUnknown = errors.New("no such key")
	// ErrNotFound says that there is no key with that id.
	ErrNotFound = errors.New("no key with this id")
	// ErrUnavailable says that it cannot be told now what is a key: NATS is away.
	ErrUnavailable = errors.New("keys cannot be told while NATS is away")
)

// Key is what is known of a key. The key itself is not.
type Key struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // [KindPartner] or [KindCMS]
	Name string `json:"name"` // whose it is, for people
	// Sites are those whose articles a partner's key reads, and those that lie under them; all,
	// when there are none. A CMS's key publishes for exactly these.
	Sites []string `json:"sites,omitempty"`
	// Content is what a partner is shown: [ContentFull] or [ContentSummary].
	Content string `json:"content,omitempty"`
	// Rate is in requests a second; the default of what the key opens when 0.
	Rate    float64   `json:"rate,omitempty"`
	Created time.Time `json:"created"`
	By      string    `json:"by"`
	// Revoked is there when the key opens nothing any more.
	Revoked *Revocation `json:"revoked,omitempty"`
}

// Revocation is the end of a key.
type Revocation struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Covers reports whether the key is for the site: of a partner's key, whether it is, or lies under,
// one of its sites; of a CMS's, whether it is one.
func (k Key) Covers(tree *site.Tree, id string) bool {
	if k.Kind == KindCMS {
		return slices.Contains(k.Sites, id)
	}
	return len(k.Sites) == 0 || slices.ContainsFunc(k.Sites, func(root string) bool { return tree.Under(id, root) })
}

// stored is a key in the bucket.
type stored struct {
	Key
	Hash string `json:"hash"` // SHA-256 of the whole text, hex
	hash [sha256.Size]byte
}

var (
	encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	idForm   = regexp.MustCompile(`^[a-z2-7]{12}$`)
)

// random makes the id and the text of a key.
func random() (id string, text secret.Secret) {
	b := make([]byte, 8+secretBytes)
	rand.Read(b) // never fails
	id = encoding.EncodeToString(b[:8])[:idLength]
	return id, secret.Secret(prefix + id + "_" + encoding.EncodeToString(b[8:]))
}

// idOf is the id within the text of a key.
func idOf(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	id, _, ok2 := strings.Cut(rest, "_")
	return id, ok && ok2 && len(text) <= maxText && idForm.MatchString(id)
}

// opens reports whether text is the key, in a time that does not depend on the text.
func (s stored) opens(text string) bool {
	hash := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(hash[:], s.hash[:]) == 1
}

// decode reads an entry of the bucket.
func decode(id string, data []byte) (stored, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return stored{}, fmt.Errorf("read key %s: %w", id, err)
	}
	hash, err := hex.DecodeString(s.Hash)
	if err != nil || len(hash) != len(s.hash) {
		return stored{}, fmt.Errorf("read key %s: found a hash of %d characters, expected a SHA-256 in hex", id, len(s.Hash))
	}
	copy(s.hash[:], hash)
	if s.ID != id {
		return stored{}, fmt.Errorf("read key %s: found the id %q", id, s.ID)
	}
	if err := s.validate(nil); err != nil {
		return stored{}, fmt.Errorf("read key %s: %w", id, err)
	}
	return s, nil
}

// validate checks what a key allows; with a tree, that its sites exist.
func (k Key) validate(tree *site.Tree) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := utf8.RuneCountInString(k.Name); n == 0 || n > maxName {
		fault("name: found %d characters, expected 1 to %d", n, maxName)
	}
	switch k.Kind {
	case KindPartner:
		if k.Content != ContentFull && k.Content != ContentSummary {
			fault("content: found %q, expected %s or %s", k.Content, ContentSummary, ContentFull)
		}
	case KindCMS:
		if k.Content != "" {
			fault("content: found %q, expected none: it is for partners", k.Content)
		}
		if len(k.Sites) == 0 {
			fault("sites: missing, expected those that the CMS publishes")
		}
	default:
		fault("kind: found %q, expected %s or %s", k.Kind, KindPartner, KindCMS)
	}
	if len(k.Sites) > maxSites {
		fault("sites: found %d, expected at most %d", len(k.Sites), maxSites)
	}
	if tree != nil {
		for _, s := range k.Sites {
			if _, ok := tree.Get(s); !ok {
				fault("sites: %q is not one of the sites: %s", s, strings.Join(firstOf(tree.Names()), ", "))
			}
		}
	}
	if math.IsNaN(k.Rate) || k.Rate < 0 || k.Rate > maxRate {
		fault("rate: found %g a second, expected at most %d", k.Rate, maxRate)
	}
	return errors.Join(faults...)
}

// namedSites is how many sites a message to people names.
const namedSites = 20

func firstOf(names []string) []string {
	if len(names) > namedSites {
		return append(names[:namedSites:namedSites], "…")
	}
	return names
}

// canonical is the key as it is stored: names in NFC, sites sorted.
func (k Key) canonical() Key {
	k.Name = norm.NFC.String(strings.Join(strings.Fields(strings.ToValidUTF8(k.Name, "")), " "))
	k.Sites = slices.Compact(slices.Sorted(slices.Values(k.Sites)))
	if k.Kind == KindPartner && k.Content == "" {
		k.Content = ContentSummary
	}
	return k
}
