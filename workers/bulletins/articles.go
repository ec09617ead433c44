package bulletins

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// prepared is an article with its bulletin, shared by all portals; it does not change.
type prepared struct {
	*article.Article // without body and images, which are the large part
	key              streams.Key
	seq              uint64 // of the log
	bulletin         []byte // as it is signed and sent
	fault            error  // why there is no bulletin
}

const (
	// cacheBytes bounds the bulletins kept: thousands of ordinary ones, of some 4 KiB.
	cacheBytes = 32 << 20
	// articleBytes is what an entry takes beside its bulletin, roughly.
	articleBytes = 2 << 10
)

// articles reads articles and prepares their bulletins, once per version.
type articles struct {
	log  *streams.Log
	tree *site.Tree
	base string // for pictures

	mu    sync.Mutex
	looks map[streams.Key]*looks        // under way or waiting
	byKey map[streams.Key]*list.Element // of *prepared
	order list.List                     // the most recently used first
	bytes int

	looking sync.WaitGroup
}

// looks are those at one article: one that is under way, which nobody joins any more, since it
// may have missed what was written after it began; and one that follows it, for all who ask
// meanwhile.
type looks struct{ next *look }

// look is a look at the log, whose outcome is there once done is closed.
type look struct {
	atLeast uint64
	leader  bool // only it may answer
	done    chan struct{}
	found   *prepared
	err     error
}

func newArticles(log *streams.Log, tree *site.Tree, base string) *articles {
	return &articles{log: log, tree: tree, base: base, looks: map[streams.Key]*looks{}, byKey: map[streams.Key]*list.Element{}}
}

// get gives the article as it is in the log at the time of the call or later; sequence atLeast
// is known to be there. A flag's sequence does not tell that a version kept here is the current
// one: a flag that is raised again, late, replaces a newer one together with its sequence. So
// the log is asked each time, in one question for all who have it at the same time.
func (as *articles) get(ctx context.Context, key streams.Key, atLeast uint64) (*prepared, error) {
	return as.join(key, atLeast, false).wait(ctx)
}

// latest is get, answered by the stream's leader, which no replica is ahead of.
func (as *articles) latest(ctx context.Context, key streams.Key) (*prepared, error) {
	return as.join(key, 0, true).wait(ctx)
}

func (l *look) wait(ctx context.Context) (*prepared, error) {
	select {
	case <-l.done:
		return l.found, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join gives a look that has not begun.
func (as *articles) join(key streams.Key, atLeast uint64, leader bool) *look {
	as.mu.Lock()
	defer as.mu.Unlock()
	ls := as.looks[key]
	if ls == nil {
		ls = &looks{}
		as.looks[key] = ls
		as.looking.Go(func() { as.lookWhileAsked(key, ls) })
	}
	if ls.next == nil {
		ls.next = &look{done: make(chan struct{})}
	}
	ls.next.atLeast = max(ls.next.atLeast, atLeast)
	ls.next.leader = ls.next.leader || leader
	return ls.next
}

func (as *articles) lookWhileAsked(key streams.Key, ls *looks) {
	for {
		as.mu.Lock()
		l := ls.next
		ls.next = nil
		if l == nil {
			delete(as.looks, key)
			as.mu.Unlock()
			return
		}
		as.mu.Unlock()
		// It must not be called off when one of those who wait for it is; each read has a
		// deadline of its own.
		l.found, l.err = as.look(context.Background(), key, l.atLeast, l.leader)
		close(l.done)
	}
}

func (as *articles) look(ctx context.Context, key streams.Key, atLeast uint64, leader bool) (*prepared, error) {
	have := as.cached(key)
	var e streams.Entry
	var err error
	switch {
	case have != nil && have.seq >= atLeast:
		after := as.log.After
		if leader {
			after = as.log.LatestAfter
		}
		if e, err = after(ctx, key, have.seq); errors.Is(err, streams.ErrNotFound) {
			return have, nil
		}
	case leader:
		e, err = as.log.Latest(ctx, key)
	default:
		e, err = as.log.Get(ctx, key, atLeast)
	}
	if err != nil {
		return nil, err
	}
	p := as.prepare(e)
	as.add(p)
	return p, nil
}

// close returns when nothing is being read any more.
func (as *articles) close() { as.looking.Wait() }

func (as *articles) cached(key streams.Key) *prepared {
	as.mu.Lock()
	defer as.mu.Unlock()
	el := as.byKey[key]
	if el == nil {
		return nil
	}
	as.order.MoveToFront(el)
	return el.Value.(*prepared)
}

func (as *articles) add(p *prepared) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if el := as.byKey[p.key]; el != nil {
		if el.Value.(*prepared).seq >= p.seq {
			return
		}
		as.remove(el)
	}
	as.byKey[p.key] = as.order.PushFront(p)
	as.bytes += p.size()
	for as.bytes > cacheBytes && as.order.Len() > 1 {
		as.remove(as.order.Back())
	}
}

func (as *articles) remove(el *list.Element) {
	p := as.order.Remove(el).(*prepared)
	delete(as.byKey, p.key)
	as.bytes -= p.size()
}

func (p *prepared) size() int { return len(p.bulletin) + articleBytes }

// prepare makes the article's bulletin.
func (as *articles) prepare(e streams.Entry) *prepared {
	slim := *e.Article
	slim.Body, slim.Images = "", nil
	p := &prepared{Article: &slim, key: e.Key, seq: e.Seq}
	s, _ := as.tree.Get(e.Site)
	body, err := json.Marshal(bulletin(e.WithMedia(as.base), s.Name))
	switch {
	case err != nil:
		p.fault = fmt.Errorf("make bulletin of article %s, version %s: %w", e.Key, e.Version, err)
	case len(body) > events.MaxBulletinBytes:
		p.fault = fmt.Errorf("bulletin of article %s, version %s: %d bytes, at most %d can be sent",
			e.Key, e.Version, len(body), events.MaxBulletinBytes)
	default:
		p.bulletin = body
	}
	return p
}

// bulletin summarises the article, whose pictures have absolute addresses.
func bulletin(a *article.Article, siteName string) events.Bulletin {
	b := events.Bulletin{Type: events.BulletinPublished, Timestamp: a.Accepted, Data: events.BulletinArticle{
		GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Number, Revision: a.Revision, Status: a.Status,
		Title: a.Title, Summary: a.Summary, URL: a.URL, Language: a.Language, SiteName: siteName,
		Authors: a.Authors, Categories: a.Categories, Tags: a.Tags, Urgency: a.Urgency,
		Published: a.Published, Updated: a.Updated, ExpiresAt: a.ExpiresAt, Correction: a.Correction,
		Source: a.Source, Places: a.Places, Rights: a.Rights,
	}}
	if !a.Live() {
		b.Type = events.BulletinWithdrawn
		b.Data.Withdrawal = a.Withdrawal
		b.Data.Summary, b.Data.Correction = "", ""
		b.Data.Authors, b.Data.Source, b.Data.Places, b.Data.Rights = nil, nil, nil, nil
		return b
	}
	if lead := a.Lead(); lead != nil {
		b.Data.Image = &events.BulletinImage{Rendition: lead.Original, Alt: lead.Alt, Caption: lead.Caption,
			Credit: lead.Credit, Renditions: lead.Renditions}
	}
	return b
}

// webhookBytes of the hash make a webhook-id: 128 bits, at which no two ever meet.
const webhookBytes = 16

// webhookID is the bulletin's id: the same in every attempt, another for every portal and
// version.
func webhookID(portal string, a *article.Article) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", portal, a.GUID, a.Number, a.Revision))
	return "msg_" + hex.EncodeToString(sum[:webhookBytes])
}
