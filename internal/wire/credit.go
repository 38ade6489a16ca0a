package wire

// Credit is what the receiver of a stream allows its sender to send in frames
// with [FlagCredited]. Each grant adds to those before.
type Credit struct {
	Messages uint64 // frames
	Bytes    uint64 // bytes of their bodies
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
