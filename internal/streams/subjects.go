// Package streams names everything that Loa keeps in NATS JetStream, in one place: streams,
// subjects, key-value buckets and consumers, with their limits.
//
//	EVENTS     loa.event.<site>.<article>                     the CMS's inbox
//	ARTICLES   loa.article.<site>.<article>                   the log: current versions
//	FLAGS      loa.flag.<class>.<kind>.<target>.<key>         who may be behind on what
//	           (kept as loa.flags.<partition>.<class>.<kind>.<target>.<key>;
//	           the target may stand for many: [SharedTarget])
//	RECEIPTS   loa.receipt.<portal>.<site>.<article>          what each portal holds
//	INTENTS    loa.intent.<writer>                            what is being sent to portals just now
//	SCHEDULE   loa.schedule.<what>.<key>, loa.due.<what>.<key>  what has a time
//	DEAD       loa.dead.<stage>.<key>                         what waits for a person
//	AUDIT      loa.audit.portal.<name>                        who changed what, and when
//
// One subject is in no stream: loa.changed.feed.<feed> tells whoever listens just then.
//
// Beside the names it holds the small types through which the streams are used: [Log],
// [Schedule] and [Dead]. Flags are the business of internal/reconcile, receipts of
// internal/portal.
package streams

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/loa-syndication/loa/events"
)

// Streams.
const (
	Events      = "EVENTS"
	Articles    = "ARTICLES"
	Flags       = "FLAGS"
	Receipts    = "RECEIPTS"
	Intents     = "INTENTS"
	Schedules   = "SCHEDULE"
	DeadLetters = "DEAD"
	Audit       = "AUDIT"
)

// Key-value buckets.
const (
	PortalsBucket  = "portals"  // portals' configuration and state
	FeedsBucket    = "feeds"    // each feed's index
	ArchivesBucket = "archives" // what is in each feed's archives
	MediaBucket    = "media"    // source address → stored picture
	UsesBucket     = "uses"     // which articles use a stored picture, and which were erased
	HubsBucket     = "hubs"     // what each WebSub hub elsewhere was told last
	WorkersBucket  = "workers"  // which worker reads which flags
	KeysBucket     = "keys"     // hashes of the keys of partners and CMSs

	SubscriptionsBucket = "subscriptions" // who gets which feeds from Loa's own hub
)

const (
	articlePrefix  = "loa.article."
	flagPrefix     = "loa.flag."
	storedFlags    = "loa.flags."
	receiptPrefix  = "loa.receipt."
	intentPrefix   = "loa.intent."
	schedulePrefix = "loa.schedule."
	duePrefix      = "loa.due."
	deadPrefix     = "loa.dead."
	auditPrefix    = "loa.audit."
	changedFeed    = "loa.changed.feed."
)

// Key names an article in subjects: "<site>.<article>", both as tokens.
type Key string

// KeyOf is the key of the article that site publishes as id.
func KeyOf(site, id string) Key {
	return Key(events.Token(site) + "." + events.Token(id))
}

// Site is the key's site.
func (k Key) Site() string { site, _, _ := strings.Cut(string(k), "."); return site }

// Article is the token of the key's article.
func (k Key) Article() string { _, a, _ := strings.Cut(string(k), "."); return a }

// Object is where an article's canonical JSON is kept in the object store.
func (k Key) Object() string { return "articles/" + k.Site() + "/" + k.Article() + ".json" }

// ParseKey reads "<site>.<article>".
func ParseKey(s string) (Key, error) {
	if site, id, ok := strings.Cut(s, "."); !ok || events.Token(site) != site || !isToken(id) {
		return "", fmt.Errorf("article key %q: expected <site>.<article>", s)
	}
	return Key(s), nil
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, ".*> \t\r\n")
}

// ArticleSubject is where the log keeps the article.
func ArticleSubject(k Key) string { return articlePrefix + string(k) }

// ArticlesOf matches the articles of one site in the log; of all, if site is "*".
func ArticlesOf(site string) string { return articlePrefix + site + ".>" }

// ArticleKey is the key of an article's subject in the log.
func ArticleKey(subject string) (Key, error) {
	rest, ok := strings.CutPrefix(subject, articlePrefix)
	if !ok {
		return "", fmt.Errorf("subject %q is not in the log", subject)
	}
	return ParseKey(rest)
}

// ReceiptSubject is where the receipts of one portal for one article are kept.
func ReceiptSubject(portal string, k Key) string { return receiptPrefix + portal + "." + string(k) }

// ReceiptsFor matches every portal's receipts for the article.
func ReceiptsFor(k Key) string { return receiptPrefix + "*." + string(k) }

// ReceiptsOf matches all of a portal's receipts.
func ReceiptsOf(portal string) string { return receiptPrefix + portal + ".>" }

// ReceiptParts gives the portal and the article of a receipt's subject.
func ReceiptParts(subject string) (portal string, k Key, err error) {
	rest, ok := strings.CutPrefix(subject, receiptPrefix)
	portal, key, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return "", "", fmt.Errorf("subject %q is not a receipt's", subject)
	}
	k, err = ParseKey(key)
	return portal, k, err
}

// AllIntents matches every [IntentSubject].
const AllIntents = intentPrefix + "*"

// IntentSubject is where one process writes what it is about to send to portals.
func IntentSubject(writer string) string { return intentPrefix + writer }

// FlagSubject is where a flag is raised.
func FlagSubject(class, kind, target, key string) string {
	return flagPrefix + class + "." + kind + "." + target + "." + key
}

// StoredFlag is where one flag is kept. The partition is the one into which the stream's subject
// transform puts the target: the FNV-1a hash of its token.
func StoredFlag(class, kind, target, key string) string {
	return storedFlags + strconv.Itoa(partitionOf(target)) + "." + class + "." + kind + "." + target + "." + key
}

// StoredFlags matches kept flags; any of the parts may be "*".
func StoredFlags(partition, class, kind, target string) string {
	return storedFlags + partition + "." + class + "." + kind + "." + target + ".>"
}

// FlagsOf matches a target's kept flags; class may be "*".
func FlagsOf(class, kind, target string) string {
	return StoredFlags(strconv.Itoa(partitionOf(target)), class, kind, target)
}

// FlagParts are the tokens of a kept flag's subject.
type FlagParts struct {
	Partition, Class, Kind, Target, Key string
}

// ParseFlag reads the subject of a kept flag.
func ParseFlag(subject string) (FlagParts, error) {
	rest, ok := strings.CutPrefix(subject, storedFlags)
	t := strings.SplitN(rest, ".", 5)
	if !ok || len(t) != 5 {
		return FlagParts{}, fmt.Errorf("subject %q is not a flag's", subject)
	}
	return FlagParts{Partition: t[0], Class: t[1], Kind: t[2], Target: t[3], Key: t[4]}, nil
}

// AuditSubject is where the changes of a thing of one kind are recorded; of all, if name is "*".
func AuditSubject(kind, name string) string { return auditPrefix + kind + "." + name }

// ChangedFeeds matches [ChangedFeed] of every feed.
const ChangedFeeds = changedFeed + "*"

// ChangedFeed is where it is said that a feed's objects were stored anew, by core NATS: what holds
// copies of them may miss it, and has to ask now and then besides. The body is the revision of the
// feed's index, in decimal.
func ChangedFeed(feed string) string { return changedFeed + feed }

// ChangedFeedID reads the subject of [ChangedFeed].
func ChangedFeedID(subject string) (string, error) {
	feed, ok := strings.CutPrefix(subject, changedFeed)
	if !ok || !isToken(feed) {
		return "", fmt.Errorf("subject %q is not of a feed that changed", subject)
	}
	return feed, nil
}
