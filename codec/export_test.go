package codec

// Library returns c, made by [NewCBOR], without its plans: every value goes
// through the CBOR library.
func Library(c Codec) Codec { return library{own(c)} }

type library struct{ *cborCodec }

func (l library) Append(dst []byte, v any) ([]byte, error) { return l.libraryAppend(dst, v) }
func (l library) Decode(data []byte, v any) error          { return l.libraryDecode(data, v) }

// HasPlan reports whether c, made by [NewCBOR], has a plan for v.
func HasPlan(c Codec, v any) bool {
	p, _ := own(c).plans.of(v)
	return p != nil
}

// DecodeByPlan reports whether the plan of c for v reads data by itself.
func DecodeByPlan(c Codec, data []byte, v any) bool {
	p, s := own(c).plans.of(v)
	return p != nil && p.decode(data, s)
}

func own(c Codec) *cborCodec {
	found, _ := c.(*cborCodec)
	return found
}
