// Package flow has what the streams of all messaging patterns share: frames longer than the
// credit of a stream, and the credit that a node's streams to one instance divide.
//
// # Overview
//
// A credited frame needs as much credit as it has bytes, so a frame longer than all the
// credit of its stream would never be sent. Senders cut such frames into parts of
// [FrameFor] bytes, and a [Joiner] joins them on the other side. The parts take memory there until the end of the
// frame is sent; [Parts] bounds that memory.
//
// The streams of one connection have a bounded credit together, so that a stream that is
// not read does not stop the others. [Shares] counts the streams that a node has to each
// instance, and gives each less credit when there are many.
//
// # Concurrency
//
// A Joiner and a Credit belong to one goroutine. Shares and Parts are safe for concurrent use.
package flow

import (
	"context"
	"sync"

	"github.com/linkmesh/link"
)

const (
	// MaxFrame is the longest frame of records that is made, in bytes.
	MaxFrame = 60 << 10
	// MinFrame is the shortest length to which frames are cut for a peer with little room, in
	// bytes.
	MinFrame = 4 << 10
	// Frames is how many credited frames may be in flight that have not been read.
	Frames = 64
)

// FrameFor returns the length of frames for a peer that has room for credit bytes. It is
// half of that, within MinFrame and MaxFrame, so that one frame can be in flight while
// another is read.
func FrameFor(credit uint64) int {
	return int(min(max(credit/2, MinFrame), MaxFrame))
}

// Credit grants the credit of read frames again to the peer of a stream, in as few frames as
// possible: the peer always has at least three quarters of the credit.
type Credit struct {
	Stream interface {
		Grant(messages, bytes int) error
	}
	Credit int // bytes that the stream has

	frames, bytes int // read and not granted again yet
}

// Read notes that a frame was read. It may grant credit.
func (f *Credit) Read(frame link.Frame) error {
	if !frame.Credited {
		return nil
	}
	return f.Count(1, len(frame.Body), true)
}

// Count notes that credited frames with so many bytes were read. It may grant credit, and grants all
// that is due unless there is more to read: a grant costs both sides as much as hundreds of messages,
// but whoever has nothing to read has time for it.
func (f *Credit) Count(frames, bytes int, more bool) error {
	f.frames += frames
	f.bytes += bytes
	if f.frames == 0 || more && f.frames < Frames/4 && f.bytes < f.Credit/4 {
		return nil
	}
	frames, bytes = f.frames, f.bytes
	f.frames, f.bytes = 0, 0
	return f.Stream.Grant(frames, bytes)
}

// Shares counts the streams that a node has to each instance.
type Shares struct {
	mu      sync.Mutex // guards the field below
	streams map[string]int
}

// ration is the credit of a stream, in bytes, while there are at most upTo streams to an
// instance.
type ration struct{ upTo, bytes int }

// MaxStreams bounds the streams of [Shares.Open] to one instance at a time. It is half of
// the streams of a connection.
const MaxStreams = 512

// rations returns the rations. Together they give out less than the 24 MiB that the streams
// of a connection may have.
func rations() []ration {
	return []ration{{8, 1 << 20}, {32, 256 << 10}, {96, 64 << 10}, {MaxStreams, 8 << 10}}
}

// Open opens a stream to an instance with the credit of its share. [Shares.Leave] must be
// called when the stream has ended. The errors are those of [link.Host.Open], and
// ResourceExhausted beyond [MaxStreams].
func (s *Shares) Open(ctx context.Context, node *link.Node, r link.Route, instance string) (st *link.Stream, credit int, err error) {
	n := s.enter(instance)
	err = link.Errorf(link.ResourceExhausted, "open %s: this node has %d streams to %s already, at most %d are allowed", r, n-1, instance, MaxStreams)
	for _, c := range rations() {
		if n > c.upTo {
			continue
		}
		st, err = link.HostOf(node).Open(ctx, r, link.OnInstance(instance), link.StreamCredit(Frames, c.bytes))
		if err == nil {
			return st, c.bytes, nil
		}
		if link.CodeOf(err) != link.ResourceExhausted {
			break
		}
	}
	s.Leave(instance)
	return nil, 0, err
}

func (s *Shares) enter(instance string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		s.streams = make(map[string]int)
	}
	s.streams[instance]++
	return s.streams[instance]
}

// Leave notes that a stream to an instance has ended.
func (s *Shares) Leave(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[instance]--; s.streams[instance] == 0 {
		delete(s.streams, instance)
	}
}

type sharesKey struct{}

// SharesOf returns the shares of a node. All patterns have the same, because their streams
// are on one connection.
func SharesOf(node *link.Node) *Shares {
	s, _ := link.HostOf(node).Extension(sharesKey{}, func() any { return new(Shares) }).(*Shares)
	return s
}
