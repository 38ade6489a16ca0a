// Package lane is what streams of patterns have in common: frames longer than the
// credit of a stream, and the credit that a node's streams to one instance share.
//
// # Overview
//
// A credited frame needs as much credit as it has bytes, so one that is longer than all
// the credit of its stream would never be sent. [Send] cuts such frames into parts, and a
// [Joiner] puts them together on the other side. Whoever has sent parts keeps memory there until
// it sends the end; [Parts] bounds that.
//
// The credit that the streams of one connection give out is bounded, so that a stream
// that nobody reads does not stop the others. [Shares] counts the streams that a node has
// to each instance and lets each have less when there are many.
//
// # Concurrency
//
// A Joiner and a Flow belong to one goroutine. Shares and Parts are safe for concurrent use.
package lane

import (
	"context"
	"iter"
	"strings"
	"sync"

	"github.com/linkmesh/link"
)

const (
	// MaxFrame is how long frames of records are made, in bytes.
	MaxFrame = 60 << 10
	// MinFrame is the shortest that they are made because the other side has little room.
	MinFrame = 4 << 10
	// Frames is how many credited frames may be on their way that have not been read.
	Frames = 64
)

// FrameFor is how long frames are for a peer that has room for credit bytes: half of
// that, so that one can be on its way while the other is read.
func FrameFor(credit uint64) int {
	return int(min(max(credit/2, MinFrame), MaxFrame))
}

// Send sends body as a credited frame of a kind, and what is beyond most bytes before it
// as parts, after each of which it calls moved, unless that is nil. Body is not kept.
func Send(st interface{ Send(f link.Frame) error }, kind, part link.FrameKind, most int, body []byte, moved func()) error {
	for ; len(body) > most; body = body[most:] {
		if err := st.Send(link.Frame{Kind: part, Credited: true, Body: body[:most]}); err != nil {
			return err
		}
		if moved != nil {
			moved()
		}
	}
	return st.Send(link.Frame{Kind: kind, Credited: true, Body: body})
}

// Flow gives credit back to the peer of a stream that has Credit bytes of it, in as few
// frames as will do: the peer always has at least three quarters of it.
type Flow struct {
	Stream interface {
		Grant(messages, bytes int) error
	}
	Credit int // bytes

	frames, bytes int // read and not granted again yet
}

// Read notes that a frame was read.
func (f *Flow) Read(frame link.Frame) error {
	if !frame.Credited {
		return nil
	}
	f.frames++
	f.bytes += len(frame.Body)
	if f.frames < Frames/4 && f.bytes < f.Credit/4 {
		return nil
	}
	frames, bytes := f.frames, f.bytes
	f.frames, f.bytes = 0, 0
	return f.Stream.Grant(frames, bytes)
}

// Shares counts the streams that a node has to each instance.
type Shares struct {
	mu      sync.Mutex // guards the field below
	streams map[string]int
}

// ration is the credit of a stream, in bytes, while there are up to upTo of them to an instance.
type ration struct{ upTo, bytes int }

// MaxStreams is how many streams [Shares.Open] has to one instance at a time: half of
// what a connection has.
const MaxStreams = 512

// rations give out less than the 24 MiB that streams of a connection may.
func rations() []ration {
	return []ration{{8, 1 << 20}, {32, 256 << 10}, {96, 64 << 10}, {MaxStreams, 8 << 10}}
}

// Open opens a stream to an instance, with the credit that is its share. Leave must
// follow when the stream has ended. The errors are those of [link.Node.Open];
// ResourceExhausted beyond [MaxStreams].
func (s *Shares) Open(ctx context.Context, node *link.Node, r link.Route, instance string) (st *link.Stream, credit int, err error) {
	n := s.enter(instance)
	err = link.Errorf(link.ResourceExhausted, "open %s: this node has %d streams to %s already, at most %d are allowed", r, n-1, instance, MaxStreams)
	for _, c := range rations() {
		if n > c.upTo {
			continue
		}
		st, err = node.Open(ctx, r, link.OnInstance(instance), link.Credit(Frames, c.bytes))
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

// Place is an instance to which a node has streams, one after the other. It belongs to one
// goroutine.
type Place struct {
	ID string // by which it is known

	met bool // it has said that name itself
}

// Check returns an error, [link.ErrProcessGone], if a stream has led to another instance, which
// has the address of this one: it has, or will have, a stream of its own. Where instances are
// known by their addresses, as those of a list, what is at the address is the instance; so all, which
// yields those that are known, decides as long as this one was not met by its name. An instance
// may say less of that than a registry.
func (p *Place) Check(st interface{ Peer() link.Peer }, all iter.Seq[string]) error {
	said := st.Peer().Instance
	if said == "" {
		return nil
	}
	if strings.HasPrefix(p.ID, said) {
		p.met = true
		return nil
	}
	known := p.met
	for id := range all {
		known = known || strings.HasPrefix(id, said)
	}
	if !known {
		return nil
	}
	return link.Errorf(link.Unavailable, "%s is not there any more, and %s is at its address: %w", p.ID, said, link.ErrProcessGone)
}

type sharesKey struct{}

// SharesOf returns the shares of a node, of all patterns together: their streams are on
// one connection.
func SharesOf(node *link.Node) *Shares {
	s, _ := node.Extension(sharesKey{}, func() any { return new(Shares) }).(*Shares) // nothing else is kept there
	return s
}
