package frame

const (
	// ReservedHeader is the prefix of headers that users cannot set.
	ReservedHeader = "_link."
	// DeadHeader is the header of a dead letter that holds an encoded [DeadLetter].
	DeadHeader = ReservedHeader + "dead"
)

// DeadLetter says why a message was given up. Its keys are never renumbered. Times here and in
// [DeadAttempt] are in microseconds since 1970. Package journal knows these facts, package serve
// writes them into a message, and pubsub.DeadLetter tells them.
type DeadLetter struct {
	Seq       uint64        `cbor:"1,keyasint"`
	Published int64         `cbor:"2,keyasint"`
	Reason    string        `cbor:"3,keyasint"`
	Group     string        `cbor:"4,keyasint,omitempty"`
	History   []DeadAttempt `cbor:"5,keyasint,omitempty"`
}

// DeadAttempt is one delivery of a dead letter that failed.
type DeadAttempt struct {
	Sent    int64  `cbor:"1,keyasint"`
	Ended   int64  `cbor:"2,keyasint"`
	Outcome string `cbor:"3,keyasint"`
	Cause   string `cbor:"4,keyasint,omitempty"`
}
