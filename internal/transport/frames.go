package transport

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// byteStream is a source of frames: the receiving side of a QUIC stream.
type byteStream interface {
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}

// readBuffer is the size in bytes of the buffer that a parked reader holds: one
// packet's worth of a request.
const readBuffer = 2 << 10

// frameReader reads frames from one stream. Bodies that fit its buffer are
// views of it, larger ones take a pooled buffer; both are valid until the next
// call of header.
type frameReader struct {
	src    byteStream
	limits *Limits
	// bodies counts the bytes of large bodies. If it is nil, they are not counted.
	bodies *share.Holder

	buf  []byte
	r, w int
	// guard means that a frame that has begun must arrive in time.
	guard bool
	// guarded means that a read deadline is set, and awaiting that it is for the first
	// byte of a frame.
	guarded    bool
	awaiting   bool
	started    time.Time
	large      []byte
	largeTaken int
}

func newFrameReader(src byteStream, limits *Limits, bodies *share.Holder, guard bool) frameReader {
	return frameReader{src: src, limits: limits, bodies: bodies, guard: guard}
}

// release recycles the buffer of the last large body.
func (f *frameReader) release() {
	if f.large != nil {
		if f.bodies != nil {
			f.bodies.Give(int64(f.largeTaken))
		}
		PutBuffer(f.large)
		f.large = nil
	}
}

// fill reads more bytes. It moves unread bytes to the front of the buffer only if
// there is no room behind them.
func (f *frameReader) fill() error {
	if f.buf == nil {
		f.buf = make([]byte, readBuffer)
	}
	if f.r == f.w {
		f.r, f.w = 0, 0
	} else if f.w == len(f.buf) {
		if f.r == 0 {
			return &wire.LimitError{What: "frame header", Limit: readBuffer, Got: readBuffer + 1}
		}
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	n, err := f.src.Read(f.buf[f.w:])
	f.w += n
	// The next read returns the error again.
	if n > 0 {
		return nil
	}
	return err
}

// partial sets the deadline for the rest of a frame that has begun.
func (f *frameReader) partial() error {
	if !f.guard || f.guarded && !f.awaiting {
		return nil
	}
	f.guarded, f.awaiting, f.started = true, false, time.Now()
	return f.src.SetReadDeadline(f.started.Add(f.limits.Streams.FirstHeader))
}

// await sets the deadline for the first byte of a frame.
func (f *frameReader) await(deadline time.Time) error {
	f.guarded, f.awaiting = true, true
	return f.src.SetReadDeadline(deadline)
}

func (f *frameReader) whole() error {
	if !f.guarded {
		return nil
	}
	f.guarded, f.awaiting = false, false
	return f.src.SetReadDeadline(time.Time{})
}

// header returns the header of the next frame. The error is io.EOF if the
// stream ended between two frames.
func (f *frameReader) header() (wire.FrameHeader, error) {
	f.release()
	return f.next()
}

// next is like header, but does not recycle the buffer of the last large body.
func (f *frameReader) next() (wire.FrameHeader, error) {
	for {
		h, n, err := wire.ParseFrameHeader(f.buf[f.r:f.w])
		if err == nil {
			f.r += n
			return h, nil
		}
		if f.r < f.w {
			if err := f.partial(); err != nil {
				return wire.FrameHeader{}, err
			}
		}
		if err := f.fill(); err != nil {
			if errors.Is(err, io.EOF) && f.r < f.w {
				err = io.ErrUnexpectedEOF
			}
			return wire.FrameHeader{}, err
		}
	}
}

// buffered reports whether the buffer holds all of the next frame and the frame is
// of the given kind, so that reading it does not move the contents of the buffer.
func (f *frameReader) buffered(kind wire.Kind) bool {
	h, n, err := wire.ParseFrameHeader(f.buf[f.r:f.w])
	return err == nil && h.Kind == kind && uint64(f.w-f.r-n) >= h.Length
}

// body returns the n bytes after the header.
func (f *frameReader) body(n uint64) ([]byte, error) {
	if n > uint64(len(f.buf)) {
		return f.largeBody(int(n))
	}
	for uint64(f.w-f.r) < n {
		if uint64(len(f.buf)-f.r) < n {
			f.w = copy(f.buf, f.buf[f.r:f.w])
			f.r = 0
		}
		if err := f.partial(); err != nil {
			return nil, err
		}
		if err := f.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
	b := f.buf[f.r : f.r+int(n) : f.r+int(n)]
	f.r += int(n)
	return b, f.whole()
}

// noRoom returns the error for a message that a pool has no room for. why is the error of
// the pool.
func noRoom(why error) error {
	return &Error{Reason: ReasonOverloaded, Err: fmt.Errorf("messages in flight exceed Limits.InFlightBytes: %w", why)}
}

const firstChunk = 64 << 10

// largeBody reads a body that does not fit the buffer. It makes room for all of it
// only once the first 64 KiB have arrived, so that a length alone costs no more.
func (f *frameReader) largeBody(n int) ([]byte, error) {
	if err := f.grow(min(n, firstChunk)); err != nil {
		return nil, err
	}
	f.large = append(f.large, f.buf[f.r:f.w]...)
	f.r, f.w = 0, 0
	start := time.Now()
	for len(f.large) < n {
		if len(f.large) == cap(f.large) {
			if err := f.grow(n); err != nil {
				return nil, err
			}
		}
		if f.guard {
			f.guarded = true
			due := max(f.limits.Streams.BodyGrace, time.Duration(len(f.large)+1)*time.Second/time.Duration(f.limits.Streams.BodyRate))
			if err := f.src.SetReadDeadline(start.Add(due)); err != nil {
				return nil, err
			}
		}
		m, err := f.src.Read(f.large[len(f.large):min(n, cap(f.large))])
		f.large = f.large[:len(f.large)+m]
		if err != nil && len(f.large) < n {
			return nil, unexpected(err)
		}
	}
	return f.large, f.whole()
}

// grow gives the large body room for n bytes. It fails if bodies has no room for them.
func (f *frameReader) grow(n int) error {
	if f.large == nil {
		f.largeTaken = 0
	}
	if f.bodies != nil {
		if err := f.bodies.Take(int64(n - f.largeTaken)); err != nil {
			return noRoom(err)
		}
	}
	f.largeTaken = n
	old := f.large
	f.large = append(GetBuffer(n), old...)
	if old != nil {
		PutBuffer(old)
	}
	return nil
}

// own returns body, the last one read, as a slice that the caller owns: the buffer
// of a large body, unless much of it is unused, and otherwise a copy.
func (f *frameReader) own(body []byte) []byte {
	if f.large == nil || cap(f.large)-len(f.large) > len(f.large)/4 {
		return append([]byte(nil), body...)
	}
	if f.bodies != nil {
		f.bodies.Give(int64(f.largeTaken))
	}
	body, f.large = f.large, nil
	return body
}

// keep returns body, the last one read, such that it survives reading the next frame
// with next. It copies body unless body has a buffer of its own or the next frame is
// of the given kind and completely in the buffer.
func (f *frameReader) keep(body []byte, next wire.Kind) []byte {
	if f.large != nil || f.buffered(next) {
		return body
	}
	f.large, f.largeTaken = append(GetBuffer(len(body)), body...), 0
	return f.large
}

// small returns the n bytes after a header. It leaves a body that keep returned
// untouched.
func (f *frameReader) small(n uint64) ([]byte, error) {
	if n <= uint64(len(f.buf)) {
		return f.body(n)
	}
	b := make([]byte, n)
	have := copy(b, f.buf[f.r:f.w])
	f.r, f.w = 0, 0
	for have < len(b) {
		m, err := f.src.Read(b[have:])
		if have += m; err != nil && have < len(b) {
			return nil, unexpected(err)
		}
	}
	return b, f.whole()
}

// skip discards the n bytes after a header.
func (f *frameReader) skip(n uint64) error {
	for {
		have := min(uint64(f.w-f.r), n)
		f.r += int(have)
		if n -= have; n == 0 {
			return f.whole()
		}
		if err := f.partial(); err != nil {
			return err
		}
		if err := f.fill(); err != nil {
			return unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
