package wire

// Credit is what the receiver of a stream allows its sender to send in frames
// with [FlagCredited]: the number of frames and the bytes of their bodies. Each
// grant adds to the previous ones.
type Credit struct {
	Messages uint64
	Bytes    uint64
}

// AppendCredit appends a whole CREDIT frame.
func AppendCredit(b []byte, c Credit) []byte {
	b, body := BeginFrame(b, KindCredit, FlagCritical)
	b = AppendVarint(AppendVarint(b, c.Messages), c.Bytes)
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseCredit parses the body of a CREDIT frame.
func ParseCredit(body []byte) (Credit, error) {
	messages, n, err := ParseVarint(body)
	if err != nil {
		return Credit{}, &SyntaxError{What: "CREDIT", Reason: "ends early"}
	}
	size, m, err := ParseVarint(body[n:])
	if err != nil || n+m != len(body) {
		return Credit{}, &SyntaxError{What: "CREDIT", Reason: "not two varints"}
	}
	return Credit{Messages: messages, Bytes: size}, nil
}
