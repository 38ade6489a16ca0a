// Package table finds values by number. It is for numbers that are dense and are
// mostly removed in the order in which they were added: pages of values are then
// several times cheaper than a map of values.
package table

const pageSize = 256

// Table holds values by number. The zero value is empty. It is not safe for
// concurrent use.
type Table[T any] struct {
	pages map[uint64]*page[T]
	// last caches the page that was used last.
	last *page[T]
	n    int
}

type page[T any] struct {
	number uint64
	n      int
	values [pageSize]*T
}

func (t *Table[T]) page(number uint64) *page[T] {
	if t.last != nil && t.last.number == number {
		return t.last
	}
	p := t.pages[number]
	if p != nil {
		t.last = p
	}
	return p
}

// Len returns how many values there are.
func (t *Table[T]) Len() int { return t.n }

// Get returns the value with a number, or nil if there is none.
func (t *Table[T]) Get(number uint64) *T {
	if p := t.page(number / pageSize); p != nil {
		return p.values[number%pageSize]
	}
	return nil
}

// Put sets the value with a number. v must not be nil.
func (t *Table[T]) Put(number uint64, v *T) {
	p := t.page(number / pageSize)
	if p == nil {
		p = &page[T]{number: number / pageSize}
		if t.pages == nil {
			t.pages = make(map[uint64]*page[T])
		}
		t.pages[p.number] = p
		t.last = p
	}
	if p.values[number%pageSize] == nil {
		p.n++
		t.n++
	}
	p.values[number%pageSize] = v
}

// Remove removes the value with a number, if there is one.
func (t *Table[T]) Remove(number uint64) {
	p := t.page(number / pageSize)
	if p == nil || p.values[number%pageSize] == nil {
		return
	}
	p.values[number%pageSize] = nil
	t.n--
	if p.n--; p.n == 0 {
		delete(t.pages, p.number)
		if t.last == p {
			t.last = nil
		}
	}
}

// All yields all values. Only the values within a page are in order.
func (t *Table[T]) All(yield func(v *T) bool) {
	for _, p := range t.pages {
		for _, v := range p.values {
			if v != nil && !yield(v) {
				return
			}
		}
	}
}
