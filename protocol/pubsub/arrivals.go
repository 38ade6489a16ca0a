package pubsub

import (
	"context"
	"errors"
	"io"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
)

// arrivals are the frames of a stream. They belong to one goroutine.
type arrivals struct {
	stream *link.Stream
	kept   []link.Frame // received, and not yet returned; no more than the stream had credit for
	end    error        // follows kept; nil: more may come
}

// next returns the next frame, waiting for it.
func (a *arrivals) next() (link.Frame, error) {
	if len(a.kept) > 0 {
		f := a.kept[0]
		a.kept[0] = link.Frame{}
		a.kept = a.kept[1:]
		return f, nil
	}
	if a.end != nil {
		return link.Frame{}, a.end
	}
	return a.stream.Recv()
}

// await waits for a turn. What ends the stream meanwhile ends the wait, unless the publisher has
// said all it had to say: it will not say that again, so what has arrived waits on, until ctx ends.
func (a *arrivals) await(ctx context.Context, turn *lane.Turn) error {
	if a.end == nil && turn.Take(a.stream.Context().Done()) {
		return nil
	}
	for a.end == nil {
		f, err := a.stream.Recv()
		if a.end = err; err == nil {
			a.kept = append(a.kept, f)
		}
	}
	if !errors.Is(a.end, io.EOF) {
		return a.end // it comes again
	}
	if !turn.Take(ctx.Done()) {
		return context.Cause(ctx)
	}
	return nil
}
