package events

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// BulletinDigest says that the bulletin is a [Digest].
const BulletinDigest = "loa.digest"

// Digest is what a portal that asked for one receives at set times, in place of a [Bulletin] for
// each article: the summaries of all that changed since the last.
type Digest struct {
	Type string `json:"type"` // BulletinDigest
	// Timestamp is when the newest of these versions entered Loa's log; the same in every retry.
	Timestamp time.Time  `json:"timestamp"`
	Data      DigestData `json:"data"`
}

// DigestData are the articles of a digest.
type DigestData struct {
	// Articles are those that changed, each in its newest version, the one that changed first
	// before the others. Withdrawn ones are among them, with the status [StatusWithdrawn].
	Articles []BulletinArticle `json:"articles"`
	// More is how many articles wait besides, at most. They follow in further digests right away.
	More int `json:"more"`
}

// MaxDigestArticles is how many articles a digest holds at most.
const MaxDigestArticles = 200

// ParseDigest reads a digest. Like [ParseBulletin] it ignores fields that it does not know.
func ParseDigest(body []byte) (Digest, error) {
	var d Digest
	if len(body) > MaxBulletinBytes {
		return d, fmt.Errorf("parse digest: %d bytes, expected at most %d", len(body), MaxBulletinBytes)
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return Digest{}, fmt.Errorf("parse digest: %w", err)
	}
	if d.Type != BulletinDigest {
		return Digest{}, fmt.Errorf("parse digest: type %q, expected %s", cut(d.Type), BulletinDigest)
	}
	if len(d.Data.Articles) == 0 {
		return Digest{}, errors.New("parse digest: no articles")
	}
	for i, a := range d.Data.Articles {
		if err := a.identified(); err != nil {
			return Digest{}, fmt.Errorf("parse digest: article %d: %w", i, err)
		}
	}
	return d, nil
}

// Bulletins takes the digest apart: a bulletin for each article, as if they had come singly.
func (d Digest) Bulletins() []Bulletin {
	all := make([]Bulletin, len(d.Data.Articles))
	for i, a := range d.Data.Articles {
		all[i] = Bulletin{Type: BulletinPublished, Timestamp: d.Timestamp, Data: a}
		if a.Status == StatusWithdrawn {
			all[i].Type = BulletinWithdrawn
		}
	}
	return all
}
