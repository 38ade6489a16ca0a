package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// The subset of deterministic CBOR (RFC 8949, section 4.2.1) that frames use:
// unsigned integers, byte and text strings, arrays, maps, booleans.

const (
	majorUint   = 0 << 5
	majorBytes  = 2 << 5
	majorText   = 3 << 5
	majorArray  = 4 << 5
	majorMap    = 5 << 5
	majorTag    = 6 << 5
	majorSimple = 7 << 5
	cborFalse   = 0xf4
	cborTrue    = 0xf5
)

func appendHead(b []byte, major byte, v uint64) []byte {
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v < 1<<8:
		return append(b, major|24, byte(v))
	case v < 1<<16:
		return append(b, major|25, byte(v>>8), byte(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), v)
	}
}

func appendUint(b []byte, v uint64) []byte { return appendHead(b, majorUint, v) }

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, cborTrue)
	}
	return append(b, cborFalse)
}

// reader decodes one CBOR item. Its first error sticks: later calls return zero
// values, so parsers check err once at the end of a loop.
type reader struct {
	b []byte
	// what names the item in errors.
	what string
	err  error
}

// bounded fails if the body exceeds [MaxControl]. Parsers of CONTROL frames call
// it before they read anything.
func (r *reader) bounded() {
	if len(r.b) > MaxControl {
		r.err = &LimitError{What: r.what + " body", Limit: MaxControl, Got: uint64(len(r.b))}
	}
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &SyntaxError{What: r.what, Reason: reason}
	}
}

func (r *reader) limit(what string, limit, got uint64) {
	if r.err == nil {
		r.err = &LimitError{What: r.what + ": " + what, Limit: limit, Got: got}
	}
}

// head reads the head of an item and insists on the shortest form.
func (r *reader) head() (major byte, v uint64) {
	if r.err != nil {
		return 0, 0
	}
	if len(r.b) == 0 {
		r.fail("ends early")
		return 0, 0
	}
	first := r.b[0]
	major, info := first&0xe0, first&0x1f
	r.b = r.b[1:]
	if info < 24 {
		return major, uint64(info)
	}
	if info > 27 {
		r.fail("indefinite length or reserved value")
		return 0, 0
	}
	n := 1 << (info - 24)
	if len(r.b) < n {
		r.fail("ends early")
		return 0, 0
	}
	var least uint64
	switch n {
	case 1:
		v, least = uint64(r.b[0]), 24
	case 2:
		v, least = uint64(binary.BigEndian.Uint16(r.b)), 1<<8
	case 4:
		v, least = uint64(binary.BigEndian.Uint32(r.b)), 1<<16
	default:
		v, least = binary.BigEndian.Uint64(r.b), 1<<32
	}
	switch {
	case major == majorSimple && n == 1 && v < 32:
		r.fail("simple value in a form that RFC 8949 reserves")
		return 0, 0
	// The longer heads of major type 7 are floats, whose width is not checked.
	case major != majorSimple && v < least:
		r.fail("integer or length not in its shortest form")
		return 0, 0
	}
	r.b = r.b[n:]
	return major, v
}

func (r *reader) expect(major byte, name string) uint64 {
	m, v := r.head()
	if r.err == nil && m != major {
		r.fail("expected " + name)
	}
	if r.err != nil {
		return 0
	}
	return v
}

func (r *reader) uint() uint64 { return r.expect(majorUint, "an unsigned integer") }

// uint62 reads an unsigned integer of at most [MaxVarint].
func (r *reader) uint62() uint64 {
	v := r.uint()
	if r.err == nil && v > MaxVarint {
		r.limit("an integer", MaxVarint, v)
		return 0
	}
	return v
}

func (r *reader) boolean() bool {
	if r.err == nil && len(r.b) > 0 && (r.b[0] == cborFalse || r.b[0] == cborTrue) {
		v := r.b[0] == cborTrue
		r.b = r.b[1:]
		return v
	}
	if r.err == nil && len(r.b) == 0 {
		r.fail("ends early")
	}
	r.fail("expected a boolean")
	return false
}

func (r *reader) str(major byte, name string, limit int) []byte {
	n := r.expect(major, name)
	if r.err != nil {
		return nil
	}
	if n > uint64(limit) {
		r.limit(name, uint64(limit), n)
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail("ends early")
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// text returns a view of a text string of at most limit bytes.
func (r *reader) text(limit int) []byte {
	s := r.str(majorText, "a text string", limit)
	if !utf8.Valid(s) {
		r.fail("text is not valid UTF-8")
		return nil
	}
	return s
}

// bytes returns a view of a byte string of at most limit bytes.
func (r *reader) bytes(limit int) []byte { return r.str(majorBytes, "a byte string", limit) }

// array returns the count of an array of at most limit elements. Every element
// takes at least one byte, so a count that the input cannot hold fails here,
// before anything is allocated for it.
func (r *reader) array(limit int) int { return r.count(majorArray, "an array", limit, 1) }

// mapping returns the count of a map of at most limit pairs.
func (r *reader) mapping(limit int) int { return r.count(majorMap, "a map", limit, 2) }

func (r *reader) count(major byte, name string, limit, least int) int {
	n := r.expect(major, name)
	if r.err != nil {
		return 0
	}
	if n > uint64(limit) {
		r.limit(name, uint64(limit), n)
		return 0
	}
	if n*uint64(least) > uint64(len(r.b)) {
		r.fail("ends early")
		return 0
	}
	return int(n)
}

// fields calls f for each integer key of a map. The keys must be strictly
// ascending. f reports whether it knows the key and has read its value; the
// values of unknown keys are skipped.
func (r *reader) fields(f func(key uint64) bool) {
	n := r.mapping(maxSkipElements)
	for i, last := 0, uint64(0); i < n && r.err == nil; i++ {
		key := r.uint()
		if r.err == nil && i > 0 && key <= last {
			r.fail("keys twice or out of order")
			return
		}
		last = key
		if r.err == nil && !f(key) {
			r.skip()
		}
	}
}

// skip reads past one item of any type. It fails beyond [maxNesting] levels or
// [maxSkipElements] elements.
func (r *reader) skip() {
	elements := maxSkipElements
	r.skipItem(maxNesting, &elements)
}

func (r *reader) skipItem(depth int, elements *int) {
	if *elements--; depth == 0 || *elements < 0 {
		r.fail("unknown field nests too deep or has too many elements")
	}
	major, v := r.head()
	if r.err != nil {
		return
	}
	switch major {
	case majorBytes, majorText:
		if v > uint64(len(r.b)) {
			r.fail("ends early")
			return
		}
		if major == majorText && !utf8.Valid(r.b[:v]) {
			r.fail("text is not valid UTF-8")
			return
		}
		r.b = r.b[v:]
	case majorArray, majorMap:
		if v > uint64(len(r.b)) {
			r.fail("ends early")
			return
		}
		if major == majorMap {
			v *= 2
		}
		for ; v > 0 && r.err == nil; v-- {
			r.skipItem(depth-1, elements)
		}
	case majorTag:
		r.fail("tags are not used")
	}
}

// end fails if bytes are left over and returns the error of the whole parse.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("bytes after the end")
	}
	return r.err
}
