// Package frame defines the layout of the frames of a pipeline's stream. It only
// encodes and decodes bytes, and knows no connection.
//
// # The stream
//
// A producer opens one stream to each instance of the stage's service, on the
// stage's own route (kind stage). Its first frame is HELLO and the worker's first
// is WELCOME; after that both send their frames in any order. Integers are QUIC's
// variable-length integers (RFC 9000, section 16), "bytes" is such an integer as a
// length followed by as many bytes, and HELLO and WELCOME are CBOR maps with small
// integer keys. A receiver skips frames of unknown kinds, and ends the stream with
// InvalidArgument on a frame that it cannot parse.
//
//	kind  name      sent by   credited  body
//	0x50  HELLO     producer  no        CBOR: 1 queue, 2 fence base, 3 held (list of numbers), 4 first, 5 last
//	0x51  WELCOME   worker    no        CBOR: 1 epoch, 2 slots, 3 unknown (list of numbers), 4 running (number, delivery, …)
//	0x52  TASKS     producer  yes       one or more TASK records
//	0x53  OUTCOMES  worker    yes       one or more OUTCOME records
//	0x54  WINDOW    worker    no        tasks, bytes
//	0x55  BACKLOG   producer  no        tasks pending, age of the oldest in microseconds
//	0x56  RECALL    producer  no        numbers of tasks
//	0x57  CANCEL    producer  no        numbers of tasks
//	0x58  ALIVE     worker    no        numbers of tasks
//	0x59  PING      worker    no        opaque bytes, at most 8
//	0x5a  PONG      producer  no        the bytes of the PING
//	0x5b  LEAVING   worker    no        empty
//	0x5c  PART      both      yes       a part of a TASKS or OUTCOMES frame that is too long, to be
//	                                    put in front of the next PART, TASKS or OUTCOMES
//	0x5d  BESIDE    producer  yes       a complete TASKS frame, sent between the parts of another one
//
// # Records
//
// A TASK record is
//
//	length   of all that follows
//	number   of the task at its queue, from 1
//	delivery how many times the task was sent, including this one
//	attempt  which attempt this is, from 1; deliveries that were given back do not count
//	fence    to be added to the fence base of HELLO
//	left     microseconds until its deadline, plus 1; 0 means none
//	start    microseconds until it must have begun, plus 1; 0 means none
//	flags    one byte: 1 key, 2 trace, 4 headers, 8 identifier
//	[key]    bytes
//	[trace]  a count, and as many pairs of bytes
//	[headers] a count, and as many pairs of bytes
//	[identifier] bytes
//	payload  the rest
//
// An OUTCOME record is
//
//	verb      one byte
//	number    of the task
//	delivery  that it is about
//	ACK 1     microseconds that the handler ran
//	RESULT 2  microseconds, bytes
//	RETRY 3   microseconds of delay plus 1, or 0 for the producer's backoff; cause as bytes
//	RELEASE 4 cause as bytes
//	REJECT 5  cause as bytes; causes have at most 1 KiB, results 4 MiB
//	STARTED 6 nothing: the answer to RECALL or CANCEL for a task whose handler runs
//
// # Rules
//
// WINDOW is how many tasks, and how many bytes of them, the producer may have at the
// worker without an outcome. It is absolute, and 0 until the first WINDOW. A producer
// sends nothing beyond it; a smaller window takes effect as tasks end. A worker gives
// back with RELEASE what has been beyond its window for long, what RECALL asks for if
// its handler has not begun, and all that has not begun when it drains. After LEAVING
// no new tasks must be sent.
//
// The worker subtracts 1 from BACKLOG for each task that arrives. The producer sends
// BACKLOG when it differs from what the worker knows, at the earliest 10 ms after the
// last one; if there are tasks again after there were none, it is sent at once. A worker
// grants its producer as much link credit as the producer gave it, from 8 KiB to 1 MiB,
// and 64 frames; neither side makes frames longer than half of the credit.
//
// HELLO's "held" lists the tasks from an earlier stream to the same instance for which
// the producer has no outcome. The worker answers for each of them: in "unknown" if it
// has never seen or has forgotten the task, with an outcome if the task is done, and
// otherwise by still running it.
//
// A producer that was restarted asks with "first" and "last" about the tasks between these
// numbers, which an earlier run of its queue may have sent. The worker lists in "running"
// those whose handlers have not returned, and sends the outcomes of those that it has
// done, as far as it remembers them.
package frame

import "errors"

// ErrMalformed is returned for a body that cannot be parsed.
var ErrMalformed = errors.New("the frame is malformed")

// The kinds of frames.
const (
	KindHello    uint8 = 0x50
	KindWelcome  uint8 = 0x51
	KindTasks    uint8 = 0x52
	KindOutcomes uint8 = 0x53
	KindWindow   uint8 = 0x54
	KindBacklog  uint8 = 0x55
	KindRecall   uint8 = 0x56
	KindCancel   uint8 = 0x57
	KindAlive    uint8 = 0x58
	KindPing     uint8 = 0x59
	KindPong     uint8 = 0x5a
	KindLeaving  uint8 = 0x5b
	KindPart     uint8 = 0x5c
	KindBeside   uint8 = 0x5d
)

// MaxBody bounds the bytes of records in one frame. A larger record is sent in parts.
const MaxBody = 60 << 10

// MaxList bounds the numbers in one RECALL, CANCEL, ALIVE or HELLO.
const MaxList = 8192
