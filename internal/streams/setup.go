package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
)

const (
	// Partitions is into how many parts the flags are divided, by target. It is written into
	// the stream's configuration and must not change while flags wait.
	Partitions = 16

	// eventsAge is how long the inbox can be read again, to look into what was said.
	eventsAge = 30 * 24 * time.Hour
	// dedupe is the window in which an event of the same id is stored once.
	dedupe = 24 * time.Hour
	// MaxMessage is the largest message of any stream, in bytes. External servers have to
	// allow it (max_payload) if CMSs send pictures inside events.
	MaxMessage = 8 << 20
	// receiptsPerPair is how many outcomes are kept for one article at one portal.
	receiptsPerPair = 3
	// intentsBytes is ten times what is usually there: what a busy worker writes in some seconds.
	intentsBytes = 256 << 20
	// deadBytes bounds the dead letters. The stream refuses more rather than forget any:
	// work that cannot be set aside stays where it is.
	deadBytes = 1 << 30
	// auditAge and auditBytes bound the record of who changed what: an audit asks for the last
	// year, and people do not fill this much in it.
	auditAge   = 2 * 365 * 24 * time.Hour
	auditBytes = 64 << 20

	// AckWait is the time after which an unacknowledged message is given out again: what a
	// process held when it was killed is taken up within it. Readers renew it while they hold a
	// message; one given out twice is a duplicate, which does no harm.
	AckWait = 15 * time.Second
	// FlagAckWait is that of flags. It is long, since the engine leaves unanswered what it has no
	// room for, and fetches it itself, as it does with what was abandoned: to be given it again
	// is the last resort, and with a million flags waiting a flood.
	FlagAckWait = time.Hour
	// pinnedTTL is how long a reader may be silent before another takes its place.
	pinnedTTL = 8 * time.Second
	// PriorityGroup is the group under which the one reader of a flags consumer pulls.
	PriorityGroup = "loa"
)

// groups are the kinds of target, with the number of groups of partitions that their flags are
// read in: each group is read by one worker at a time, through one consumer for each class.
// Portals are many and slow, so every partition is a group.
// Subscribers of the hub are as many, but all their flags are those of a moment: few groups suffice.
var groups = map[string]int{"portal": Partitions, "feed": 4, "hub": 4, "subscriber": 4}

// Classes of flags: express ones overtake normal ones.
const (
	Express = "express"
	Normal  = "normal"
)

// Options of a deployment.
type Options struct {
	// Replicas of every stream: 1, or 3 on a cluster.
	Replicas int
	// EventsBytes bounds the inbox. Full of what has not been taken in yet, it refuses more.
	EventsBytes int64
}

// DefaultEventsBytes is the bound of the inbox where none is configured.
const DefaultEventsBytes = 8 << 30

// Setup creates what is missing and updates what differs. It is safe to run from several
// processes at once, and at every start.
func Setup(ctx context.Context, js jetstream.JetStream, o Options) error {
	if err := replaceOldFlags(ctx, js); err != nil {
		return err
	}
	for _, cfg := range streamConfigs(o) {
		if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("set up stream %s: %w", cfg.Name, err)
		}
	}
	for _, name := range []string{PortalsBucket, FeedsBucket, ArchivesBucket, MediaBucket, UsesBucket, HubsBucket, WorkersBucket, KeysBucket} {
		cfg := jetstream.KeyValueConfig{Bucket: name, History: 1, Replicas: max(o.Replicas, 1), MaxValueSize: 1 << 20}
		if name == UsesBucket { // whose keys come and go: deletions are not remembered for ever
			cfg.LimitMarkerTTL = KeyMarker
		}
		cfg.Compression = name == ArchivesBucket // seldom read, and by far the largest
		_, err := js.CreateOrUpdateKeyValue(ctx, cfg)
		if err != nil {
			return fmt.Errorf("set up bucket %s: %w", name, err)
		}
	}
	return nil
}

// bucketStream begins the names of the streams that are buckets.
const bucketStream = "KV_"

func streamConfigs(o Options) []jetstream.StreamConfig {
	if o.EventsBytes == 0 {
		o.EventsBytes = DefaultEventsBytes
	}
	configs := []jetstream.StreamConfig{{
		Name:        Events,
		Description: "What the CMSs said, in order.",
		Subjects:    []string{events.SubjectPrefix + "*.*"},
		MaxAge:      eventsAge,
		MaxBytes:    o.EventsBytes,
		Discard:     jetstream.DiscardNew, // intake makes room; nothing unread is dropped
		Duplicates:  dedupe,
	}, {
		Name:              Articles,
		Description:       "The log: the current version of every article.",
		Subjects:          []string{articlePrefix + "*.*"},
		MaxMsgsPerSubject: 1,
	}, {
		Name:        Flags,
		Description: "Which target may be behind on which article.",
		Subjects:    []string{flagPrefix + ">"},
		SubjectTransform: &jetstream.SubjectTransformConfig{
			Source:      flagPrefix + "*.*.*.>",
			Destination: fmt.Sprintf("%s{{partition(%d,3)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.>", storedFlags, Partitions),
		},
		// Not a work queue: there each acknowledgement is a tombstone, and with sync always an
		// fsync, one at a time. The engine removes many lowered flags at once instead.
		MaxMsgsPerSubject:  1,
		AllowAtomicPublish: true,
	}, {
		Name:               Receipts,
		Description:        "Which version of an article a portal holds.",
		Subjects:           []string{receiptPrefix + "*.*.*"},
		MaxMsgsPerSubject:  receiptsPerPair,
		AllowAtomicPublish: true,
	}, {
		Name:        Intents,
		Description: "What is being sent to portals for the first time, until a receipt says what became of it.",
		Subjects:    []string{AllIntents},
		MaxBytes:    intentsBytes,
		Discard:     jetstream.DiscardNew,
	}, {
		Name:              Schedules,
		Description:       "Embargoes, expiries, late retries, digests. No MaxAge: it would delete what waits.",
		Subjects:          []string{schedulePrefix + ">", duePrefix + ">"},
		Retention:         jetstream.WorkQueuePolicy,
		MaxMsgsPerSubject: 1,
		AllowMsgSchedules: true,
	}, {
		Name:        DeadLetters,
		Description: "Work set aside for a person.",
		Subjects:    []string{deadPrefix + ">"},
		MaxBytes:    deadBytes,
		Discard:     jetstream.DiscardNew,
	}, {
		// A bucket like the others below, but that many of its values may be stored at once.
		Name:                   bucketStream + SubscriptionsBucket,
		Description:            "Who gets which feeds from Loa's own hub, and what each got last.",
		Subjects:               []string{"$KV." + SubscriptionsBucket + ".>"},
		MaxMsgsPerSubject:      1,
		Discard:                jetstream.DiscardNew,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: KeyMarker,
		AllowAtomicPublish:     true,
	}, {
		Name:        Audit,
		Description: "Who changed what, and when.",
		Subjects:    []string{auditPrefix + "*.*"},
		MaxAge:      auditAge,
		MaxBytes:    auditBytes,
	}}
	for i := range configs {
		configs[i].Storage = jetstream.FileStorage
		configs[i].Replicas = max(o.Replicas, 1)
		configs[i].AllowDirect = true
		configs[i].MaxMsgSize = MaxMessage
	}
	return configs
}

// IntakeConsumer gives out events to the intake workers.
func IntakeConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Events, jetstream.ConsumerConfig{Durable: "intake", MaxAckPending: 1000})
}

// DueConsumer gives out what the scheduler found due for articles.
func DueConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Schedules, jetstream.ConsumerConfig{
		Durable: "due-articles", FilterSubjects: []string{dueSubject(Embargo, "*.*"), dueSubject(Expiry, "*.*"), dueSubject(Pictures, "*.*")}, MaxAckPending: 1000,
	})
}

// ErasureConsumer gives out the pictures that may have to be erased, when their grace is over.
func ErasureConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Schedules, jetstream.ConsumerConfig{
		Durable: "due-erasures", FilterSubjects: []string{dueSubject(Erasure, "*")}, MaxAckPending: 1000,
	})
}

// DigestConsumer gives out the portals whose digests the scheduler found due.
func DigestConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Schedules, jetstream.ConsumerConfig{
		Durable: "due-digests", FilterSubjects: []string{dueSubject(Digest, "*")}, MaxAckPending: 1000,
	})
}

// WithdrawnConsumer gives out the feeds that are to say less of a withdrawn article.
func WithdrawnConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Schedules, jetstream.ConsumerConfig{
		Durable: "due-feeds", FilterSubjects: []string{dueSubject(Withdrawn, "*")}, MaxAckPending: 1000,
	})
}

// RouterConsumer gives out the log's new versions.
func RouterConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return consumer(ctx, js, Articles, jetstream.ConsumerConfig{Durable: routerConsumer, MaxAckPending: 2000})
}

// replaceOldFlags removes a FLAGS stream that an earlier version made as a work queue, which
// cannot be changed into what it is now. The router is made to begin anew, and raises the flags of
// all articles again; most of them find their targets level.
func replaceOldFlags(ctx context.Context, js jetstream.JetStream) error {
	old, err := js.Stream(ctx, Flags)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Flags, err)
	}
	if old.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy {
		return nil
	}
	err = js.DeleteConsumer(ctx, Articles, routerConsumer) // first: a crash after it costs work, no flag
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("have the router begin anew: %w", err)
	}
	if err := js.DeleteStream(ctx, Flags); err != nil {
		return fmt.Errorf("replace stream %s: %w", Flags, err)
	}
	return nil
}

const routerConsumer = "router"

// FlagGroups is how many groups the flags of a kind are read in.
func FlagGroups(kind string) (int, error) {
	n, ok := groups[kind]
	if !ok {
		return 0, fmt.Errorf("flags of unknown kind %q", kind)
	}
	return n, nil
}

// FlagGroup is the group in which the target's flags are.
func FlagGroup(kind, target string) int { return partitionOf(target) % max(groups[kind], 1) }

// shared are the kinds of which many targets may have one flag together. Each target is worked on by
// itself, so that it pays only where they are many and an article concerns most of them.
var shared = map[string]bool{"portal": true}

// SharesFlags reports whether targets of a kind may have flags together.
func SharesFlags(kind string) bool { return shared[kind] }

// SharedTarget stands in a flag's subject for several targets of a group. It is in the same group, and
// no target's name.
func SharedTarget(kind string, group int) string {
	for i := 0; ; i++ {
		if target := sharedPrefix + strconv.Itoa(i); FlagGroup(kind, target) == group {
			return target
		}
	}
}

// IsShared reports whether a flag's target is a [SharedTarget].
func IsShared(kind, target string) bool {
	return shared[kind] && strings.HasPrefix(target, sharedPrefix)
}

const sharedPrefix = "_"

// partitionOf is what {{partition(…)}} of the stream's transform makes of the target.
func partitionOf(target string) int {
	h := fnv.New32a()
	h.Write([]byte(target))
	return int(h.Sum32() % Partitions)
}

// FlagFilters match the kept flags of one class in a group.
func FlagFilters(kind, class string, group int) []string {
	var filters []string
	for p := group; p < Partitions; p += groups[kind] {
		filters = append(filters, StoredFlags(strconv.Itoa(p), class, kind, "*"))
	}
	return filters
}

// FlagConsumerName names the consumer of a class in a group.
func FlagConsumerName(kind, class string, group int) string {
	return fmt.Sprintf("%s-%s-%d", kind, class, group)
}

// FlagConsumer gives out the flags of one class in a group. It has a single reader at a time:
// pulls name the [PriorityGroup].
func FlagConsumer(ctx context.Context, js jetstream.JetStream, kind, class string, group int) (jetstream.Consumer, error) {
	return consumer(ctx, js, Flags, jetstream.ConsumerConfig{
		Durable:        FlagConsumerName(kind, class, group),
		FilterSubjects: FlagFilters(kind, class, group),
		AckWait:        FlagAckWait,
		MaxAckPending:  -1,
		// What a flag is, is in the stream; what has been given out, and until when it is put off,
		// may be forgotten by a restart: it is given out again. Kept on disk, it would cost as
		// many fsyncs as all the rest.
		MemoryStorage:  true,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{PriorityGroup},
		PinnedTTL:      pinnedTTL,
	})
}

// consumer creates or updates a durable pull consumer with the settings that all have in
// common. A consumer that is as it should be is left alone: an update would disturb its reader.
func consumer(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cfg.AckPolicy = jetstream.AckExplicitPolicy
	cfg.AckWait = cmp.Or(cfg.AckWait, AckWait)
	cfg.MaxDeliver = -1
	c, err := js.Consumer(ctx, stream, cfg.Durable)
	if err == nil && sameConsumer(c.CachedInfo().Config, cfg) {
		return c, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("look up consumer %s of %s: %w", cfg.Durable, stream, err)
	}
	if err == nil && c.CachedInfo().Config.MemoryStorage != cfg.MemoryStorage { // an earlier version's, which cannot be changed
		if err := js.DeleteConsumer(ctx, stream, cfg.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, fmt.Errorf("replace consumer %s of %s: %w", cfg.Durable, stream, err)
		}
	}
	c, err = js.CreateOrUpdateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("set up consumer %s of %s: %w", cfg.Durable, stream, err)
	}
	return c, nil
}

func sameConsumer(have, want jetstream.ConsumerConfig) bool {
	return have.MemoryStorage == want.MemoryStorage && have.AckWait == want.AckWait && have.MaxAckPending == want.MaxAckPending &&
		have.PinnedTTL == want.PinnedTTL && have.PriorityPolicy == want.PriorityPolicy &&
		slices.Equal(have.FilterSubjects, want.FilterSubjects)
}
