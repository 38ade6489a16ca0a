package wire

// FrameHeader precedes every frame.
type FrameHeader struct {
	Kind  Kind
	Flags Flags
	// Length is the length of the body in bytes.
	Length uint64
}

// AppendFrameHeader appends h.
func AppendFrameHeader(b []byte, h FrameHeader) []byte {
	b = AppendVarint(b, uint64(h.Kind))
	b = append(b, byte(h.Flags))
	return AppendVarint(b, h.Length)
}

// ParseFrameHeader parses a frame header at the start of b and returns it with
// the number of bytes it takes. The error is [ErrShort] if b ends first. The
// length of the body is not checked: limits depend on the kind and the stream.
func ParseFrameHeader(b []byte) (h FrameHeader, n int, err error) {
	kind, k, err := ParseVarint(b)
	if err != nil {
		return FrameHeader{}, 0, err
	}
	if len(b) < k+2 {
		return FrameHeader{}, 0, ErrShort
	}
	length, m, err := ParseVarint(b[k+1:])
	if err != nil {
		return FrameHeader{}, 0, err
	}
	return FrameHeader{Kind: Kind(kind), Flags: Flags(b[k]), Length: length}, k + 1 + m, nil
}

// AppendEnd appends a whole END frame.
func AppendEnd(b []byte) []byte {
	return AppendFrameHeader(b, FrameHeader{Kind: KindEnd, Flags: FlagCritical})
}

// MaxOpenFrame is the largest body of a frame begun with [BeginFrame].
const MaxOpenFrame = 1<<30 - 1

// BeginFrame appends the header of a frame whose length is not known yet. The
// caller appends the body and then calls [EndFrame] with the offset that
// BeginFrame returned. The length is written in the four-byte form.
func BeginFrame(b []byte, kind Kind, flags Flags) (out []byte, body int) {
	b = AppendVarint(b, uint64(kind))
	b = append(b, byte(flags), 0, 0, 0, 0)
	return b, len(b)
}

// EndFrame fills in the length of the body that starts at offset body. It
// returns a [*LimitError] if the body is longer than [MaxOpenFrame].
func EndFrame(b []byte, body int) error {
	n := len(b) - body
	if n > MaxOpenFrame {
		return &LimitError{What: "frame body", Limit: MaxOpenFrame, Got: uint64(n)}
	}
	putVarint4(b[body-4:], uint64(n))
	return nil
}
