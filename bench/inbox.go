package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A message of a burst begins with its number, which starts at 0, and the time
// it was published in nanoseconds since 1970, or 0. Both are 8 bytes big-endian;
// the rest is the same in all messages. Publisher and subscribers share the
// clock of one machine.
const (
	numberEnd  = 8
	messageMin = 16
)

// An inbox checks and counts the messages of one subscription.
type inbox struct {
	// size is the size that every message must have, in bytes.
	size int
	// received counts messages.
	received atomic.Uint64
	// next is the number after that of the last message.
	next atomic.Uint64

	mu   sync.Mutex // guards the fields below
	took []time.Duration
	err  error
}

// deliver takes one message. It does not keep body. Missing messages are not an
// error and show in received; a message of the wrong length, a duplicate and a
// message after a later one are errors.
func (b *inbox) deliver(body []byte) {
	if len(body) != b.size {
		b.fail(fmt.Errorf("a message of %d bytes has %d bytes", b.size, len(body)))
		return
	}
	number := binary.BigEndian.Uint64(body)
	if want := b.next.Load(); number < want {
		b.fail(fmt.Errorf("message %d came after message %d", number, want-1))
		return
	}
	if at := binary.BigEndian.Uint64(body[numberEnd:]); at != 0 {
		took := time.Duration(time.Now().UnixNano() - int64(at))
		b.mu.Lock()
		b.took = append(b.took, took)
		b.mu.Unlock()
	}
	b.next.Store(number + 1)
	b.received.Add(1)
}

// fail records err if it is the first error.
func (b *inbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

// take returns the times from publish to delivery since the last take, and the
// first error of the inbox.
func (b *inbox) take() ([]time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := b.took
	b.took = nil
	return took, b.err
}
