// Package websub is what Loa's own WebSub hub consists of beside the worker that delivers (W3C
// Recommendation, 23 January 2018): topics, subscriptions, and the address that subscribers talk to.
//
//	subscriber ──POST──▶ Endpoint ──request──▶ bucket "subscriptions" ──flag──▶ workers/hub
//	           ◀──202──              Registry ◀── subscription, once the callback confirmed it
//
// The [Endpoint] writes down what is asked, raises a flag, and answers 202: it calls nobody.
// workers/hub takes the flag, asks the callback whether that is what it wants (§5.3), and makes the
// request a [Subscription]. So both survive restarts and are shared by all processes, and a forged
// or failed request changes nothing.
//
// A [Topic] is a document of one of Loa's own feeds, by its canonical address; there are no others.
// A subscription is the pair of a callback and a topic, of which the [ID] is made: asking again
// renews it.
//
// All of it is in one bucket, so that what is known of it has one order, that of the revisions:
//
//	request.<id>        what was asked last, until it is settled
//	subscription.<id>   what the callback confirmed, until the lease ends
//	delivery.<id>       what was delivered last, or why it was not
//	topic.<topic>       the state of the document that subscribers were flagged for last
package websub

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Kind of the flags about subscribers.
const Kind = "subscriber"

// The targets of that kind are what is called: a host by its name and port. What is due to one host
// is in one lane, so that its callbacks share its limits and its breaker; what has to be verified
// there is in another, so that a host which is down can be subscribed from once it is back. One
// more target stands for all subscribers of a feed.
const (
	// FanOut is the target whose keys are feeds that changed.
	FanOut    = "feeds"
	verifyAt  = "verify-"
	deliverAt = "deliver-"
)

// Formats are the documents of a feed, as their names end.
var Formats = []string{"rss", "atom", "json"}

// Topic is one document of a feed.
type Topic struct {
	Feed   string `json:"feed"`
	Format string `json:"format"` // one of [Formats]
}

// Object is where the document is stored, and the end of its address.
func (t Topic) Object() string { return "feeds/" + t.Feed + "/feed." + t.Format }

// String names the topic in keys: two tokens.
func (t Topic) String() string { return t.Feed + "." + t.Format }

// topicPath is the end of a topic's address. Archives are no topics: they do not change.
var topicPath = regexp.MustCompile(`^feeds/([A-Za-z0-9][A-Za-z0-9_-]{0,199})/feed\.(rss|atom|json)$`)

// Topics knows the addresses of topics.
type Topics struct {
	base string // ends with a slash
}

// TopicsOf are those of a Loa that the world reaches at publicURL.
func TopicsOf(publicURL string) Topics { return Topics{strings.TrimSuffix(publicURL, "/") + "/"} }

// Address is the topic's canonical address.
func (ts Topics) Address(t Topic) string { return ts.base + t.Object() }

// Hub is the address of the hub.
func (ts Topics) Hub() string { return ts.base + "hub" }

// Parse gives the topic of an address, which has to be the canonical one, byte for byte. Whether
// there is such a feed is another question.
func (ts Topics) Parse(address string) (Topic, bool) {
	path, ok := strings.CutPrefix(address, ts.base)
	parts := topicPath.FindStringSubmatch(path)
	if !ok || parts == nil {
		return Topic{}, false
	}
	return Topic{parts[1], parts[2]}, true
}

// ID names a subscription: the hash of its callback, and its topic. It is the end of its keys, and
// the key of its flags. It does not tell the callback, which is a secret between its owner and Loa.
type ID string

// callbackHash is how many bytes of a callback's SHA-256 stand for it.
const callbackHash = 16

// NewID is the name of the subscription of a callback to a topic.
func NewID(callback string, t Topic) ID {
	sum := sha256.Sum256([]byte(callback))
	return ID(hex.EncodeToString(sum[:callbackHash]) + "." + t.String())
}

// VerifyFlag has a request verified.
func VerifyFlag(callback string, id ID) reconcile.Flag {
	// Somebody waits for it.
	return reconcile.Flag{Class: streams.Express, Kind: Kind, Target: verifyAt + hostToken(callback), Key: string(id)}
}

// DeliverFlag has a subscription brought level with its topic, as it was at a revision of the
// bucket or later.
func DeliverFlag(callback string, id ID, revision uint64) reconcile.Flag {
	return reconcile.Flag{Class: streams.Normal, Kind: Kind, Target: deliverAt + hostToken(callback), Key: string(id), Seq: revision}
}

// FeedFlag has all subscribers of a feed flagged, if it changed.
func FeedFlag(feed string) reconcile.Flag {
	return reconcile.Flag{Class: streams.Normal, Kind: Kind, Target: FanOut, Key: feed}
}

// Verifies reports whether a target is one where requests are verified.
func Verifies(target string) bool { return strings.HasPrefix(target, verifyAt) }

// maxHostToken leaves room for a prefix within what a token may have.
const maxHostToken = 48

// hostToken names the host of a callback, with its port, in a target: so that a person who reads a
// log knows it, as long as it is an ordinary name.
func hostToken(callback string) string {
	u, err := url.Parse(callback)
	if err != nil {
		return events.Token(callback) // it was checked
	}
	host := strings.ToLower(u.Host)
	if len(host) > maxHostToken || strings.ContainsAny(host, "_[]") {
		return events.Token("host of callbacks: " + host)
	}
	return events.Token(strings.NewReplacer(".", "_", ":", "__").Replace(host))
}

// Host is the name of the host of a callback, without its port.
func Host(callback string) string {
	u, err := url.Parse(callback)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
