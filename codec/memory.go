package codec

import (
	"encoding/binary"
	"math/bits"
)

// What the library and the runtime allocate and retain besides the values themselves, in bytes on a 64-bit
// machine. TestEstimatesHold compares the sums with the memory in use.
const (
	sliceHeader = 24 // a slice in an interface
	textHeader  = 16 // a string, also in an interface
	boxed       = 8  // a number in an interface
	mapHeader   = 48
	mapGroup    = 8   // the least number of slots of a map; each has a control byte
	unknownKeys = 256 // the first unknown key of a struct
	unknownKey  = 128 // each unknown key, which is kept to detect duplicates
)

// leastBytes is the length of the shortest body of a map or struct that is not empty.
const leastBytes = 3

// mapMemory returns how many bytes a map of n pairs takes. The number of slots is a power of two, of which at
// most 7 of 8 are used. The runtime stores a value of more than 128 bytes outside of its slot; the estimate is the
// same.
func mapMemory(n, slot int64) int64 {
	if n == 0 {
		return mapHeader
	}
	slots := int64(mapGroup)
	if n > mapGroup {
		slots = 1 << bits.Len64(uint64((n*8+6)/7-1))
	}
	return mapHeader + rounded(uint64(slots*(slot+1)))
}

func (l *layout) slot() int64 { return l.key.size + l.elem.size }

// anySlot is the size of a slot in a map[string]any, which a map in an any becomes.
const anySlot = textHeader + 16

// most returns how many bytes of memory one byte of a body may become in l or in its parts: the cost of the
// shortest item of each layout, divided by the bytes of that item.
func (l *layout) most(seen map[*layout]bool) int64 {
	if seen[l] {
		return 0
	}
	seen[l] = true
	// most is what an item takes; share is what each byte of its parts takes in addition.
	most, share := l.size, int64(0)
	switch l.form {
	case formText, formRaw, formScalar:
		most += boxed
	case formPointer:
		// Null allocates nothing, so only a byte of the value counts.
		share = rounded(uint64(l.elem.size))
	case formMap:
		most += mapMemory(0, 0)
		share = (l.size+mapMemory(1, l.slot()))/leastBytes + 1
	case formStruct:
		most = max(most, (most+unknownKeys+unknownKey)/leastBytes+1)
		for i := range l.fields {
			most = max(most, l.fields[i].through)
		}
	case formAny:
		most = max(most+mapMemory(0, 0), (l.size+mapMemory(1, anySlot))/leastBytes+1+boxed)
	case formList:
	}
	most += share
	for _, part := range l.parts() {
		most = max(most, part.most(seen)+share)
	}
	return most
}

// meter adds up how much memory a body becomes. It stops where the body is malformed or nests too deep: the
// library refuses such a body before it allocates.
type meter struct {
	data  []byte
	bytes int64
	// levels is how many more levels are allowed.
	levels int
}

// memoryOf estimates what Decode allocates for a body in a destination of layout l.
func memoryOf(data []byte, l *layout, levels int) int64 {
	m := meter{data: data, levels: levels}
	m.item(l)
	return m.bytes
}

// rounded returns the size class of n bytes: in steps of 8, of 16, and then of an eighth of the size.
func rounded(n uint64) int64 {
	step := uint64(8)
	switch {
	case n > 256:
		step = 1 << (bits.Len64(n-1) - 4)
	case n > 32:
		step = 16
	}
	return int64((n + step - 1) &^ (step - 1))
}

// item adds the next item, which is decoded into l. It reports whether to continue.
func (m *meter) item(l *layout) bool {
	for l.form == formPointer {
		if len(m.data) > 0 && m.data[0] != encodedNull && m.data[0] != encodedUndefined {
			m.bytes += rounded(uint64(l.elem.size))
		}
		l = l.elem
	}
	before := len(m.data)
	major, n, ok := m.head()
	if !ok {
		return false
	}
	switch major {
	case majorText, majorBytes:
		return m.text(l, n)
	case majorArray, majorMap:
		return m.nested(l, major, n)
	case majorTag:
		return false
	}
	switch l.form { //nolint:exhaustive // the others have room for it
	case formRaw:
		m.bytes += rounded(uint64(before - len(m.data)))
	case formAny:
		m.bytes += boxed
	}
	return true
}

func (m *meter) text(l *layout, n uint64) bool {
	if n > uint64(len(m.data)) {
		return false
	}
	m.data = m.data[n:]
	m.bytes += rounded(n)
	if l.form == formAny {
		m.bytes += sliceHeader
	}
	return true
}

// nested adds a list of n elements or a map of n pairs, one level down.
func (m *meter) nested(l *layout, major byte, n uint64) (ok bool) {
	if m.levels == 0 || n > uint64(len(m.data)) {
		return false
	}
	m.levels--
	if major == majorArray {
		ok = m.array(l, n)
	} else {
		ok = m.pairs(l, n)
	}
	m.levels++
	return ok
}

func (m *meter) array(l *layout, n uint64) bool {
	switch l.form { //nolint:exhaustive // the others take no array
	case formAny:
		m.bytes += sliceHeader + int64(n)*l.size
		return m.times(n, l)
	case formList:
		if l.length >= 0 {
			in := min(n, uint64(l.length))
			return m.times(in, l.elem) && m.skip(n-in)
		}
		m.bytes += rounded(n * uint64(l.elem.size))
		return m.times(n, l.elem)
	case formStruct:
		if !l.tuple || n != uint64(len(l.fields)) {
			return m.skip(n)
		}
		for i := range l.fields {
			m.bytes += l.fields[i].through
			if !m.item(l.fields[i].layout) {
				return false
			}
		}
		return true
	default:
		return m.opaque(l, n)
	}
}

func (m *meter) times(n uint64, l *layout) bool {
	for range n {
		if !m.item(l) {
			return false
		}
	}
	return true
}

// opaque skips n items. It adds their copy if l decodes itself.
func (m *meter) opaque(l *layout, n uint64) bool {
	before := len(m.data)
	ok := m.skip(n)
	if l.form == formRaw {
		m.bytes += rounded(uint64(before - len(m.data)))
	}
	return ok
}

func (m *meter) pairs(l *layout, n uint64) bool {
	switch l.form { //nolint:exhaustive // the others take no map
	case formAny:
		m.bytes += mapMemory(int64(n), anySlot)
		for range n {
			if !m.item(&textLayout) || !m.item(l) {
				return false
			}
		}
		return true
	case formMap:
		m.bytes += mapMemory(int64(n), l.slot())
		for range n {
			if !m.item(l.key) || !m.item(l.elem) {
				return false
			}
		}
		return true
	case formStruct:
		return m.structure(l, n)
	default:
		return m.opaque(l, 2*n)
	}
}

// textLayout is the layout of the keys of a map[string]any.
var textLayout = layout{form: formText, size: textHeader} //nolint:gochecknoglobals // immutable

// structure adds the pairs of a struct.
func (m *meter) structure(l *layout, n uint64) bool {
	unknown := false
	for range n {
		f, known, ok := m.key(l)
		switch {
		case !ok:
			return false
		case known:
			m.bytes += f.through
			if !m.item(f.layout) {
				return false
			}
			continue
		case !unknown:
			unknown = true
			m.bytes += unknownKeys
		}
		m.bytes += unknownKey
		if !m.skip(1) {
			return false
		}
	}
	return true
}

// key reads the key of a pair and finds its field.
func (m *meter) key(l *layout) (f *element, known, ok bool) {
	major, n, ok := m.head()
	if !ok {
		return nil, false, false
	}
	at := 0
	switch major {
	case majorUint:
		at, known = l.byInt[int64(n&^(1<<63))]
	case majorNegInt:
		at, known = l.byInt[^int64(n&^(1<<63))]
	case majorText, majorBytes:
		if n > uint64(len(m.data)) {
			return nil, false, false
		}
		if at, known = l.byName[string(m.data[:n])]; !known {
			m.bytes += rounded(n)
		}
		m.data = m.data[n:]
	case majorArray, majorMap:
		return nil, false, m.nested(&anyLayout, major, n)
	case majorTag:
		return nil, false, false
	}
	if !known {
		return nil, false, true
	}
	return &l.fields[at], true, true
}

// anyLayout is the layout of keys that are arrays or maps, which no struct has.
var anyLayout = layout{form: formAny, size: 16} //nolint:gochecknoglobals // immutable

// skip reads past n items. It does not limit their depth, because they take no memory.
func (m *meter) skip(n uint64) bool {
	for ; n > 0; n-- {
		major, arg, ok := m.head()
		if !ok {
			return false
		}
		switch major {
		case majorTag:
			return false
		case majorText, majorBytes:
			if arg > uint64(len(m.data)) {
				return false
			}
			m.data = m.data[arg:]
		case majorArray, majorMap:
			if arg > uint64(len(m.data)) {
				return false
			}
			n += arg * (1 + uint64(major>>5&1))
		}
	}
	return true
}

// head reads the head of an item, in any width.
func (m *meter) head() (major byte, n uint64, ok bool) {
	if len(m.data) == 0 {
		return 0, 0, false
	}
	major, low := m.data[0]&^0x1f, m.data[0]&0x1f
	m.data = m.data[1:]
	if low < head8 {
		return major, uint64(low), true
	}
	size := 1 << (low - head8)
	if low > head64 || len(m.data) < size {
		return 0, 0, false
	}
	var wide [8]byte
	copy(wide[8-size:], m.data)
	m.data = m.data[size:]
	return major, binary.BigEndian.Uint64(wide[:]), true
}

// affordable returns a [*LimitError] for a body that becomes too large in memory. For most messages the length
// and the type alone show that it does not.
func (c *cborCodec) affordable(data []byte, k *compiled) error {
	allowed := c.limits.memory(len(data))
	if int64(len(data))*k.most <= allowed {
		return nil
	}
	got := memoryOf(data, k.layout, c.limits.MaxNesting)
	if got <= allowed {
		return nil
	}
	return &LimitError{limitExpansion, c.limits.MaxExpansion, (got + int64(len(data)) - 1) / int64(len(data))}
}
