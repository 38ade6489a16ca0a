package balance

// pool is a mutable set of endpoints to pick from. It is written under the ward's
// lock.
type pool[T any] struct {
	census

	slots     editor[slot]
	endpoints editor[*Endpoint[T]]
}

// part is an immutable snapshot of a pool. A pick inspects slots; endpoints has the
// same order.
type part[T any] struct {
	slots     vector[slot]
	endpoints vector[*Endpoint[T]]
}

func slotOf[T any](e *Endpoint[T]) slot {
	return slot{load: e.load, perWeight: 1 / float64(e.weight)}
}

func (p *pool[T]) len() int { return p.slots.n }

func (p *pool[T]) has(l *load) bool {
	_, ok := p.at[l]
	return ok
}

func (p *pool[T]) endpoint(l *load) *Endpoint[T] { return *p.endpoints.at(int(p.at[l])) }

// add adds e, which must not be in the pool, with the standing s.
func (p *pool[T]) add(e *Endpoint[T], s standing) {
	if p.at == nil {
		p.at = make(map[*load]int32)
	}
	p.at[e.load] = int32(p.len())
	p.slots.push(slotOf(e))
	p.endpoints.push(e)
	p.count(s, 1)
}

// replace replaces the endpoint that has the same load with e.
func (p *pool[T]) replace(e *Endpoint[T]) {
	i := int(p.at[e.load])
	if *p.slots.at(i) != slotOf(e) {
		p.slots.set(i, slotOf(e))
	}
	p.endpoints.set(i, e)
}

// remove removes the endpoint of l, which has the standing s. The last endpoint takes its
// place.
func (p *pool[T]) remove(l *load, s standing) {
	i, last := int(p.at[l]), p.len()-1
	if i != last {
		moved := *p.slots.at(last)
		p.slots.set(i, moved)
		p.endpoints.set(i, *p.endpoints.at(last))
		p.at[moved.load] = int32(i)
	}
	p.slots.pop()
	p.endpoints.pop()
	delete(p.at, l)
	p.count(s, -1)
}

// clear empties the pool without changing its snapshots.
func (p *pool[T]) clear() {
	p.slots, p.endpoints = editor[slot]{}, editor[*Endpoint[T]]{}
	clear(p.at)
	p.barred.Store(0)
	p.ejected.Store(0)
}

func (p *pool[T]) share() part[T] {
	return part[T]{slots: p.slots.share(), endpoints: p.endpoints.share()}
}
