package hub

import (
	"container/list"
	"context"
	"sync"

	"github.com/loa-syndication/loa/internal/websub"
)

const (
	// maxContent is the largest document that is delivered, in bytes: more than any feed has.
	maxContent = 8 << 20
	// maxContents is how much all documents in memory take, in bytes: some thousand feeds.
	maxContents = 128 << 20
)

// content is a document as it was at some moment. It does not change.
type content struct {
	etag, contentType string
	body              []byte
}

// contents are documents as they were read last. However many subscribers one is delivered to, it
// is in memory once.
type contents struct {
	objects Objects

	mu     sync.Mutex
	slots  map[websub.Topic]*slot
	unused *list.List // slots nobody uses, the one that was used last at the front
	size   int        // of all bodies
	freed  chan struct{}
}

// slot is the place of one topic's document.
type slot struct {
	topic websub.Topic
	// reading is held by whoever looks whether the document has changed.
	reading chan struct{}
	content *content
	// known is the revision of the bucket up to which the document is known to be as it was, or
	// later.
	known uint64
	users int
	place *list.Element // among the unused ones
}

func newContents(o Objects) *contents {
	return &contents{objects: o, slots: map[websub.Topic]*slot{}, unused: list.New(), freed: make(chan struct{})}
}

// get gives the document as it was when the revision of a flag was stored, or later. The caller
// releases it when there is no error; meanwhile it takes its part of what all may take.
func (c *contents) get(ctx context.Context, t websub.Topic, atLeast uint64) (*content, func(), error) {
	s := c.enter(t)
	select {
	case s.reading <- struct{}{}:
	case <-ctx.Done():
		c.leave(s)
		return nil, nil, ctx.Err()
	}
	defer func() { <-s.reading }()
	if s.content == nil || s.known < atLeast {
		if err := c.read(ctx, s); err != nil {
			c.leave(s)
			return nil, nil, err
		}
		s.known = max(s.known, atLeast)
	}
	return s.content, func() { c.leave(s) }, nil
}

// read brings a slot up to date.
func (c *contents) read(ctx context.Context, s *slot) error {
	info, err := c.objects.Stat(ctx, s.topic.Object())
	if err != nil {
		return err
	}
	if s.content != nil && s.content.etag == info.ETag {
		return nil
	}
	if err := c.makeRoom(ctx, int(info.Size)); err != nil {
		return err
	}
	o, err := c.objects.Get(ctx, s.topic.Object(), maxContent)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size -= int(info.Size)
	if err != nil {
		return err
	}
	if s.content != nil {
		c.size -= len(s.content.body)
	}
	s.content = &content{o.ETag, o.ContentType, o.Body}
	c.size += len(o.Body)
	return nil
}

// makeRoom waits until there is room for a body, and takes it.
func (c *contents) makeRoom(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		for c.size+n > maxContents && c.unused.Len() > 0 {
			c.drop(c.unused.Back().Value.(*slot))
		}
		if c.size+n <= maxContents || c.size == 0 {
			c.size += n
			c.mu.Unlock()
			return nil
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter gives the slot of a topic to one more user.
func (c *contents) enter(t websub.Topic) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[t]
	if s == nil {
		s = &slot{topic: t, reading: make(chan struct{}, 1)}
		c.slots[t] = s
	}
	if s.place != nil {
		c.unused.Remove(s.place)
		s.place = nil
	}
	s.users++
	return s
}

// leave lets go of a slot. What it holds is kept for the next, as long as there is room.
func (c *contents) leave(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	s.place = c.unused.PushFront(s)
	if s.content == nil {
		c.drop(s)
	}
	close(c.freed)
	c.freed = make(chan struct{})
}

func (c *contents) drop(s *slot) {
	c.unused.Remove(s.place)
	delete(c.slots, s.topic)
	if s.content != nil {
		c.size -= len(s.content.body)
	}
}
