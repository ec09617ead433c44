package bulletins

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// prepared is an article with its bulletin, shared by all portals; it does not change.
type prepared struct {
	*article.Article // without body and images, which are the large part
	key              streams.Key
	form             bulletin.Form
	seq              uint64 // of the log
	bulletin         []byte // as it is signed and sent
	contentType      string // of bulletin
	fault            error  // why there is no bulletin
}

// wanted is what portals are sent: an article in a form.
type wanted struct {
	key  streams.Key
	form bulletin.Form
}

const (
	// cacheBytes bounds the bulletins kept: thousands of ordinary ones, of some 4 KiB.
	cacheBytes = 32 << 20
	// articleBytes is what an entry takes beside its bulletin, roughly.
	articleBytes = 2 << 10
)

// articles reads articles and prepares their bulletins, once per version and form.
type articles struct {
	log  *streams.Log
	tree *site.Tree
	base string // for pictures

	mu    sync.Mutex
	looks map[wanted]*looks        // under way or waiting
	byKey map[wanted]*list.Element // of *prepared
	order list.List                // the most recently used first
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
	return &articles{log: log, tree: tree, base: base, looks: map[wanted]*looks{}, byKey: map[wanted]*list.Element{}}
}

// get gives the article as it is in the log at the time of the call or later; sequence atLeast
// is known to be there. A flag's sequence does not tell that a version kept here is the current
// one: a flag that is raised again, late, replaces a newer one together with its sequence. So
// the log is asked each time, in one question for all who have it at the same time.
func (as *articles) get(ctx context.Context, w wanted, atLeast uint64) (*prepared, error) {
	return as.join(w, atLeast, false).wait(ctx)
}

// recent is the article as it was when it was last read, if that was no earlier than atLeast; nil otherwise.
func (as *articles) recent(w wanted, atLeast uint64) *prepared {
	if a := as.cached(w); a != nil && a.seq >= atLeast {
		return a
	}
	return nil
}

// latest is get, answered by the stream's leader, which no replica is ahead of.
func (as *articles) latest(ctx context.Context, w wanted) (*prepared, error) {
	return as.join(w, 0, true).wait(ctx)
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
func (as *articles) join(w wanted, atLeast uint64, leader bool) *look {
	as.mu.Lock()
	defer as.mu.Unlock()
	ls := as.looks[w]
	if ls == nil {
		ls = &looks{}
		as.looks[w] = ls
		as.looking.Go(func() { as.lookWhileAsked(w, ls) })
	}
	if ls.next == nil {
		ls.next = &look{done: make(chan struct{})}
	}
	ls.next.atLeast = max(ls.next.atLeast, atLeast)
	ls.next.leader = ls.next.leader || leader
	return ls.next
}

func (as *articles) lookWhileAsked(w wanted, ls *looks) {
	for {
		as.mu.Lock()
		l := ls.next
		ls.next = nil
		if l == nil {
			delete(as.looks, w)
			as.mu.Unlock()
			return
		}
		as.mu.Unlock()
		// It must not be called off when one of those who wait for it is; each read has a
		// deadline of its own.
		l.found, l.err = as.look(context.Background(), w, l.atLeast, l.leader)
		close(l.done)
	}
}

func (as *articles) look(ctx context.Context, w wanted, atLeast uint64, leader bool) (*prepared, error) {
	have := as.recent(w, atLeast)
	var e streams.Entry
	var err error
	switch {
	case have != nil:
		after := as.log.After
		if leader {
			after = as.log.LatestAfter
		}
		if e, err = after(ctx, w.key, have.seq); errors.Is(err, streams.ErrNotFound) {
			return have, nil
		}
	case leader:
		e, err = as.log.Latest(ctx, w.key)
	default:
		e, err = as.log.Get(ctx, w.key, atLeast)
	}
	if err != nil {
		return nil, err
	}
	p := as.prepare(e, w.form)
	as.add(p)
	return p, nil
}

// close returns when nothing is being read any more.
func (as *articles) close() { as.looking.Wait() }

func (as *articles) cached(w wanted) *prepared {
	as.mu.Lock()
	defer as.mu.Unlock()
	el := as.byKey[w]
	if el == nil {
		return nil
	}
	as.order.MoveToFront(el)
	return el.Value.(*prepared)
}

func (as *articles) add(p *prepared) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if el := as.byKey[p.wanted()]; el != nil {
		if el.Value.(*prepared).seq >= p.seq {
			return
		}
		as.remove(el)
	}
	as.byKey[p.wanted()] = as.order.PushFront(p)
	as.bytes += p.size()
	for as.bytes > cacheBytes && as.order.Len() > 1 {
		as.remove(as.order.Back())
	}
}

func (as *articles) remove(el *list.Element) {
	p := as.order.Remove(el).(*prepared)
	delete(as.byKey, p.wanted())
	as.bytes -= p.size()
}

func (p *prepared) size() int { return len(p.bulletin) + articleBytes }

func (p *prepared) wanted() wanted { return wanted{p.key, p.form} }

// prepare makes the article's bulletin.
func (as *articles) prepare(e streams.Entry, form bulletin.Form) *prepared {
	slim := *e.Article
	slim.Body, slim.Images = "", nil
	p := &prepared{Article: &slim, key: e.Key, form: form, seq: e.Seq}
	of, _ := as.tree.Get(e.Site)
	var d bulletin.Document
	d, p.fault = bulletin.Render(e.WithMedia(as.base), of, form)
	p.bulletin, p.contentType = d.Body, d.ContentType
	return p
}

// FormOf is what the portal has chosen.
func FormOf(p portal.Portal) bulletin.Form {
	switch {
	case p.Format == portal.FormatNinjs:
		return bulletin.Ninjs
	case p.Format == portal.FormatAtom:
		return bulletin.Atom
	case p.Content == portal.ContentFull:
		return bulletin.Full
	}
	return bulletin.Summary
}

// webhookBytes of the hash make a webhook-id: 128 bits, at which no two ever meet.
const webhookBytes = 16

// webhookID is the bulletin's id: the same in every attempt, another for every portal, version
// and form. A portal whose form is changed while a bulletin is under way must not get two bodies
// under one id. A repair has its own: whoever knows the former may drop it unread.
func webhookID(portal string, a *prepared, again int) string {
	hashed := fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", portal, a.GUID, a.Number, a.Revision)
	if a.form != bulletin.Summary { // whose ids are as old as the receipts that hold them
		hashed = fmt.Appendf(hashed, "\x00%s", a.form)
	}
	if again > 0 {
		hashed = fmt.Appendf(hashed, "\x00again %d", again)
	}
	sum := sha256.Sum256(hashed)
	return "msg_" + hex.EncodeToString(sum[:webhookBytes])
}
