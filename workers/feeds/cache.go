package feeds

import (
	"container/list"
	"sync"
)

// cache remembers what was used last, up to a total cost. It may be used by many goroutines.
type cache[K comparable, V any] struct {
	most int
	cost func(V) int

	mu    sync.Mutex
	total int
	used  list.List // of slot[K, V], what was used last in front
	at    map[K]*list.Element
}

type slot[K comparable, V any] struct {
	key   K
	value V
}

func newCache[K comparable, V any](most int, cost func(V) int) *cache[K, V] {
	return &cache[K, V]{most: most, cost: cost, at: map[K]*list.Element{}}
}

// get gives what was put last under the key, or the zero value.
func (c *cache[K, V]) get(key K) (v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.at[key]; el != nil {
		c.used.MoveToFront(el)
		v = el.Value.(slot[K, V]).value
	}
	return v
}

func (c *cache[K, V]) put(key K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.at[key]; el != nil {
		c.remove(el)
	}
	c.at[key] = c.used.PushFront(slot[K, V]{key, v})
	c.total += c.cost(v)
	for c.total > c.most && c.used.Len() > 1 {
		c.remove(c.used.Back())
	}
}

func (c *cache[K, V]) remove(el *list.Element) {
	s := c.used.Remove(el).(slot[K, V])
	delete(c.at, s.key)
	c.total -= c.cost(s.value)
}
