package events

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"
)

// Event types: the CloudEvents "type" attribute (CloudEvents 1.0.2, §3.1.1).
const (
	// TypePublished carries a full [Article] snapshot: a first publication, an update or a
	// correction alike.
	TypePublished = "loa.article.published.v1"
	// TypeWithdrawn carries a [Withdrawal].
	TypeWithdrawn = "loa.article.withdrawn.v1"
)

// Event says what happened to one article: a CloudEvents 1.0 event, read or to be written.
// [NewPublished], [NewWithdrawn] and [Parse] make one.
type Event struct {
	// ID identifies the event; a repeat has the same.
	ID string
	// Source is the CMS, as a URI reference.
	Source string
	// Type is [TypePublished] or [TypeWithdrawn].
	Type string
	// Subject is "<site>/<article id>", or empty.
	Subject string
	// Time is when it happened; zero when the sender did not say.
	Time time.Time
	// Article is the data of a TypePublished event, and nil in any other.
	Article *Article
	// Withdrawal is the data of a TypeWithdrawn event, and nil in any other.
	Withdrawal *Withdrawal
	// Digest is the hex SHA-256 of the data in canonical form: two events with the same digest
	// say the same, whatever their order of keys, white space, time zones and Unicode
	// composition.
	Digest string
}

// NewPublished is the event that says that a was published, updated or corrected, with an id
// that depends on nothing but source and a: sent again, it is recognised as a repeat.
func NewPublished(source string, a Article) Event {
	e := Event{Source: source, Type: TypePublished, Time: a.Published, Article: &a}
	if a.Updated != nil {
		e.Time = *a.Updated
	}
	return e.identified()
}

// NewWithdrawn is the event that says that an article was withdrawn, with an id that depends on
// nothing but source and w.
func NewWithdrawn(source string, w Withdrawal) Event {
	return Event{Source: source, Type: TypeWithdrawn, Time: w.WithdrawnAt, Withdrawal: &w}.identified()
}

// eventSpace is the name space of event ids (RFC 9562 §5.5).
var eventSpace = uuid.MustParse("6f1e6c1e-5d0b-5b0e-9a3c-6c6f61000002")

func (e Event) identified() Event {
	e.Subject = e.Site() + "/" + e.ArticleID()
	e.Digest = e.digest()
	name := fmt.Sprintf("%s\x00%s\x00%s\x00%d\x00%s", e.Source, e.Site(), norm.NFC.String(e.ArticleID()), e.Version(), e.Digest)
	e.ID = uuid.NewSHA1(eventSpace, []byte(name)).String()
	return e
}

// Site is the id of the site that the event concerns.
func (e Event) Site() string {
	switch {
	case e.Article != nil:
		return e.Article.Site
	case e.Withdrawal != nil:
		return e.Withdrawal.Site
	}
	return ""
}

// ArticleID is the CMS's id of the article that the event concerns.
func (e Event) ArticleID() string {
	switch {
	case e.Article != nil:
		return e.Article.ID
	case e.Withdrawal != nil:
		return e.Withdrawal.ID
	}
	return ""
}

// Version is the version that the event carries.
func (e Event) Version() int64 {
	switch {
	case e.Article != nil:
		return e.Article.Version
	case e.Withdrawal != nil:
		return e.Withdrawal.Version
	}
	return 0
}

// envelope is a CloudEvent in structured mode (CloudEvents JSON format 1.0.2, §3).
type envelope struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time,omitzero"`
	DataContentType string    `json:"datacontenttype"`
	Data            any       `json:"data"`
}

// MarshalJSON gives the event as CloudEvents has it in structured mode, the form in which
// [Publisher] sends it. It does not check it against the contract, but refuses what JSON cannot
// say: text that is not UTF-8 is an *[InvalidError].
func (e Event) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(envelope{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time,
		DataContentType: "application/json", Data: e.data(),
	})
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		return nil, invalid(string(syntax.JSONPointer), syntax.Err.Error(), strictly)
	case errors.As(err, &semantic) && semantic.Err != nil:
		return nil, invalid(string(semantic.JSONPointer), semantic.Err.Error(), "a value that JSON can hold")
	}
	return data, err
}

func (e Event) data() any {
	switch {
	case e.Article != nil && e.Type != TypeWithdrawn:
		return e.Article
	case e.Withdrawal != nil:
		return e.Withdrawal
	}
	return nil
}

// digest is empty for what cannot be encoded, which [Parse] never gives and [Publisher] refuses.
func (e Event) digest() string {
	var data any
	switch {
	case e.Article != nil:
		data = canonicalArticle(*e.Article)
	case e.Withdrawal != nil:
		data = canonicalWithdrawal(*e.Withdrawal)
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return ""
	}
	// No character outside a string takes part in a composition, so that this is the JSON of
	// the normalised strings.
	sum := sha256.Sum256(norm.NFC.Bytes(encoded))
	return hex.EncodeToString(sum[:])
}
