package bulletins

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

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

	loading singleflight.Group

	mu    sync.Mutex
	byKey map[streams.Key]*list.Element // of *prepared
	order list.List                     // the most recently used first
	bytes int
}

func newArticles(log *streams.Log, tree *site.Tree, base string) *articles {
	return &articles{log: log, tree: tree, base: base, byKey: map[streams.Key]*list.Element{}}
}

// get gives the article as it is in the log, in a version not older than sequence atLeast.
func (as *articles) get(ctx context.Context, key streams.Key, atLeast uint64) (*prepared, error) {
	if p := as.cached(key, atLeast); p != nil {
		return p, nil
	}
	// One reads for all the portals that were flagged together. It must not be called off when
	// one of them is; each read has a deadline of its own.
	v, err, _ := as.loading.Do(fmt.Sprint(key, " ", atLeast), func() (any, error) {
		if p := as.cached(key, atLeast); p != nil {
			return p, nil
		}
		e, err := as.log.Get(context.WithoutCancel(ctx), key, atLeast)
		if err != nil {
			return nil, err
		}
		p := as.prepare(e)
		as.add(p)
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*prepared), nil
}

func (as *articles) cached(key streams.Key, atLeast uint64) *prepared {
	as.mu.Lock()
	defer as.mu.Unlock()
	el := as.byKey[key]
	if el == nil || el.Value.(*prepared).seq < atLeast {
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
