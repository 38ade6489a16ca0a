package spell

import (
	"sync"
	"time"
)

// CacheTime is how long a [Cache] keeps what was proposed.
const CacheTime = 5 * time.Second

// Cache remembers what was proposed in place of each word, because errors may come by the thousand and a search has a
// cost. The zero value is empty and ready for use. It is safe for concurrent use.
type Cache struct {
	mu    sync.Mutex // guards the fields below
	since time.Time
	texts map[string]string
}

// Propose returns what was proposed in place of word in the last [CacheTime], or calls search if fewer than most
// searches were made in that time. Beyond that many it returns "".
func (c *Cache) Propose(word string, most int, search func() string) string {
	c.mu.Lock()
	if now := time.Now(); c.texts == nil || now.Sub(c.since) >= CacheTime {
		c.since, c.texts = now, make(map[string]string)
	}
	texts := c.texts
	text, known := texts[word]
	if known || len(texts) >= most {
		c.mu.Unlock()
		return text
	}
	// The search counts from now on, and only this caller makes it.
	texts[word] = ""
	c.mu.Unlock()
	text = search()
	c.mu.Lock()
	defer c.mu.Unlock()
	texts[word] = text
	return text
}

// Forget removes everything that was proposed.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts = nil
}
