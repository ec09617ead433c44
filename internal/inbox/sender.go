package inbox

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/time/rate"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/keys"
)

// burst is how many seconds' worth of events may come at once; a batch may in any case.
const burst = 10

// senders are the CMSs that may send.
type senders struct {
	keys Keys
	rate float64
	cmss map[string]*sender // those that sign

	mu     sync.Mutex
	limits map[string]*rate.Limiter // by the ids of keys, of which there are as many as were used
}

// sender is who a request comes from.
type sender struct {
	name   string
	sites  []string
	proven bool // by a key; a signature proves it when the body is there
	limit  *rate.Limiter
	// verifier checks signatures; nil for senders with a key.
	verifier *events.Verifier
}

func newSenders(o Options) (*senders, error) {
	s := &senders{keys: o.Keys, rate: o.Rate, cmss: map[string]*sender{}, limits: map[string]*rate.Limiter{}}
	for _, c := range o.CMSs {
		verifier, err := events.NewVerifier(c.Secrets...)
		if err != nil {
			return nil, fmt.Errorf("secret of CMS %s: %w", c.Name, err)
		}
		s.cmss[c.Name] = &sender{name: c.Name, sites: c.Sites, verifier: verifier, limit: limiter(cmp.Or(c.Rate, o.Rate))}
	}
	return s, nil
}

func limiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(MaxBatch, int(perSecond*burst)))
}

// cmsParameter names, in the address, the CMS that signed the body.
const cmsParameter = "cms"

// identify tells who a request comes from, or says that it is nobody. Of one that signs, the
// signature is still to be verified.
func (s *senders) identify(r *http.Request) (*sender, *problem) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, text, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, unauthorized("Expected a key in the form: Authorization: Bearer loa_…")
		}
		key, err := s.keys.Verify(strings.TrimSpace(text), keys.KindCMS)
		if errors.Is(err, keys.ErrUnavailable) {
			return nil, later(http.StatusServiceUnavailable, retryAway, "Keys cannot be looked up at the moment.")
		}
		if err != nil {
			return nil, unauthorized("The key opens nothing here. It has to be one of a CMS: loa keys add --kind cms.")
		}
		return &sender{name: key.Name, sites: key.Sites, proven: true, limit: s.limitOf(key)}, nil
	}
	name := r.URL.Query().Get(cmsParameter)
	if name == "" || r.Header.Get(events.HeaderSignature) == "" {
		return nil, unauthorized("Expected a key (Authorization: Bearer loa_…), or the signature of a configured CMS (?cms=NAME, webhook-id, webhook-timestamp, webhook-signature).")
	}
	cms := s.cmss[name]
	if cms == nil {
		return nil, badSignature()
	}
	// All but the signature itself is known before the body is read.
	if err := cms.verifier.Verify(r.Header, nil); err != nil && !errors.Is(err, events.ErrSignature) {
		return nil, unauthorized("The signature does not hold: " + err.Error() + ".")
	}
	return cms, nil
}

func (s *senders) limitOf(key keys.Key) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits[key.ID]
	if l == nil {
		l = limiter(cmp.Or(key.Rate, s.rate))
		s.limits[key.ID] = l
	}
	return l
}

func unauthorized(detail string) *problem {
	return &problem{Status: http.StatusUnauthorized, Detail: detail, header: http.Header{"Www-Authenticate": {`Bearer realm="loa"`}}}
}

// badSignature is the same for a CMS that there is not: who it is that may send is nobody's business.
func badSignature() *problem {
	return unauthorized("The signature does not hold: expected one over this body, by a secret of the CMS that the address names.")
}

// verify holds the body against its signature, where there has to be one.
func (s *sender) verify(h http.Header, body []byte) *problem {
	if s.verifier == nil || s.verifier.Verify(h, body) == nil {
		return nil
	}
	return badSignature()
}

func (s *sender) covers(site string) bool { return slices.Contains(s.sites, site) }

// limited says when n events may come, if that is not now.
func (s *sender) limited(n int) *problem {
	missing := float64(n) - s.limit.Tokens()
	if missing <= 0 {
		return nil
	}
	wait := math.Ceil(missing / float64(s.limit.Limit()))
	return later(http.StatusTooManyRequests, int(min(wait, 3600)), fmt.Sprintf("At most %g events a second are taken from one CMS.", float64(s.limit.Limit())))
}

// spend counts n events against the sender's rate.
func (s *sender) spend(n int) *problem {
	if s.limit.AllowN(time.Now(), n) {
		return nil
	}
	if p := s.limited(n); p != nil {
		return p
	}
	return later(http.StatusTooManyRequests, 1, "Too many events at once.") // another request was faster
}

// messageID names an event's message: by its source and id, and by its article, so that nobody can
// have another CMS's event taken for a repeat.
func messageID(e events.Event) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{e.Source, e.ID, e.Site(), norm.NFC.String(e.ArticleID())}, "\x00")))
	return "http-" + hex.EncodeToString(sum[:16])
}
