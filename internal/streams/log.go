package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/article"
)

var (
	// ErrNotFound says that the log holds no such article.
	ErrNotFound = errors.New("article not found")
	// ErrConflict says that somebody else wrote the article in the meantime: read it again.
	ErrConflict = errors.New("article was written by another")
)

// Entry is an article with its place in the log.
type Entry struct {
	*article.Article
	Key Key
	// Seq is the log sequence of this version; it grows with every version of every article.
	Seq uint64
}

// Log is the stream of articles' current versions.
type Log struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// OpenLog opens the log that [Setup] made.
func OpenLog(ctx context.Context, js jetstream.JetStream) (*Log, error) {
	stream, err := js.Stream(ctx, Articles)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return &Log{js, stream}, nil
}

// Put writes a new version of the article over the one of sequence last (0: over none), and
// returns its sequence once it is stored. [ErrConflict] if the log holds another.
func (l *Log) Put(ctx context.Context, a *article.Article, last uint64) (uint64, error) {
	data, err := a.Encode()
	if err != nil {
		return 0, err
	}
	key := KeyOf(a.Site, a.ID)
	ack, err := l.js.Publish(ctx, ArticleSubject(key), data,
		jetstream.WithExpectStream(Articles), jetstream.WithExpectLastSequencePerSubject(last))
	if IsConflict(err) {
		return 0, fmt.Errorf("write article %s: %w", key, ErrConflict)
	}
	if err != nil {
		return 0, fmt.Errorf("write article %s: %w", key, err)
	}
	return ack.Sequence, nil
}

// Get reads the article as it is now. Replicas may lag: with atLeast, the sequence of a version
// known to exist, an older answer is not taken for the truth but asked of the leader again.
func (l *Log) Get(ctx context.Context, key Key, atLeast uint64) (Entry, error) {
	m, err := l.stream.GetLastMsgForSubject(ctx, ArticleSubject(key))
	if err == nil && m.Sequence < atLeast || errors.Is(err, jetstream.ErrMsgNotFound) && atLeast > 0 {
		return l.Latest(ctx, key)
	}
	return found(key, m, err)
}

// Latest reads the article from the stream's leader, which is never behind: for those who will
// write it.
func (l *Log) Latest(ctx context.Context, key Key) (Entry, error) {
	m, err := Leader(ctx, l.js, Articles, ArticleSubject(key))
	return found(key, m, err)
}

// After reads the article if it has a version later than that of sequence seq; [ErrNotFound] if
// it has none. To find out that there is none costs less than to read the article again.
func (l *Log) After(ctx context.Context, key Key, seq uint64) (Entry, error) {
	m, err := l.stream.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(ArticleSubject(key)))
	return found(key, m, err)
}

// LatestAfter is After, answered by the stream's leader.
func (l *Log) LatestAfter(ctx context.Context, key Key, seq uint64) (Entry, error) {
	m, err := leaderNext(ctx, l.js, Articles, ArticleSubject(key), seq+1)
	return found(key, m, err)
}

func found(key Key, m *jetstream.RawStreamMsg, err error) (Entry, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{}, fmt.Errorf("read article %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read article %s: %w", key, err)
	}
	return entry(m)
}

// maxBatchSubjects is how many subjects the server takes in one batched read.
const maxBatchSubjects = 1000

// GetMany reads the articles named, as they are now; those the log does not hold are missing
// from the result.
func (l *Log) GetMany(ctx context.Context, keys []Key) (map[Key]Entry, error) {
	found := make(map[Key]Entry, len(keys))
	for part := range slices.Chunk(keys, maxBatchSubjects) {
		subjects := make([]string, len(part))
		for i, k := range part {
			subjects[i] = ArticleSubject(k)
		}
		msgs, err := ReadLast(ctx, l.js, Articles, subjects)
		if err != nil {
			return nil, fmt.Errorf("read %d articles: %w", len(part), err)
		}
		for _, m := range msgs {
			e, err := entry(m)
			if err != nil {
				return nil, err
			}
			found[e.Key] = e
		}
	}
	return found, nil
}

// walkPage is how many articles Walk asks for at once, and walkBytes the most bytes of them.
const (
	walkPage  = 1000
	walkBytes = 8 << 20
)

// Walk gives the articles of one site, or of all ("*"), in the order of their latest change,
// from sequence from on. Articles that change during the walk are given again.
func (l *Log) Walk(ctx context.Context, site string, from uint64) iter.Seq2[Entry, error] {
	return Walk(ctx, l.js, Articles, Page{From: from, Subject: ArticlesOf(site), Count: walkPage, Bytes: walkBytes}, entry)
}

func entry(m *jetstream.RawStreamMsg) (Entry, error) {
	key, err := ArticleKey(m.Subject)
	if err != nil {
		return Entry{}, err
	}
	a, err := article.Parse(m.Data)
	if err != nil {
		return Entry{}, fmt.Errorf("log sequence %d, article %s: %w", m.Sequence, key, err)
	}
	return Entry{Article: a, Key: key, Seq: m.Sequence}, nil
}

// ReadEntry makes an entry of a message that a consumer of the log received.
func ReadEntry(m jetstream.Msg) (Entry, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Entry{}, fmt.Errorf("read log message: %w", err)
	}
	return entry(&jetstream.RawStreamMsg{Subject: m.Subject(), Data: m.Data(), Sequence: meta.Sequence.Stream})
}
