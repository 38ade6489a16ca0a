package receive

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

const (
	// maxUnheard bounds the bytes that a node keeps of streams that have ended before their
	// frames were read or their parts had room. Each publisher, or its address if names are
	// advisory, may have as much as it leaves free, and up to leastUnheard in any case, which
	// covers the credit of one stream.
	maxUnheard   = 64 << 20
	leastUnheard = 2 << 20
	// unheardMost is how long the parts of such a stream wait for room. It is as long as a
	// publisher keeps its messages.
	unheardMost = frame.ElsewhereMost
	// waiterCost is the cost in bytes of a goroutine and a member that wait with the frames of a
	// stream. frameCost is the cost of a frame besides its body.
	waiterCost = 32 << 10
	frameCost  = 64
)

// errUnheard reports that a publisher has sent everything, and that there was no room here for
// the rest of it. It differs from io.EOF, which means that all of it was received.
var errUnheard = errors.New("its stream has ended, and there was no room for the last that came on it")

// arrivals are the frames of a stream. They belong to one goroutine.
type arrivals struct {
	stream *link.Stream
	// room counts the bytes of kept.
	room *share.Holder
	// others is for OneOf. It receives if another publisher, which sends again what is dropped
	// here, stands by.
	others <-chan struct{}
	// kept are the frames that were received after the stream's end and not yet returned.
	kept []link.Frame
	// taken is how many bytes were taken of room.
	taken int64
	// end is why the stream has ended, after the frames in kept; nil while it may have more.
	end error
	// until is when parts stop waiting for a turn after the stream has ended.
	until time.Time
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

// await waits for a turn for a part. If the stream fails meanwhile, the wait ends, because the
// publisher will send the messages again on the next stream. If the publisher has ended the
// stream after its last message, it will not send them again. What has arrived then waits on if
// there is room for it, until ctx ends, another publisher stands by that sends it again, or
// unheardMost has passed.
func (a *arrivals) await(ctx context.Context, turn *lane.Turn, part *link.Frame) error {
	if !errors.Is(a.end, io.EOF) {
		if turn.Take(a.stream.Context().Done()) {
			return nil
		}
		if a.end == nil {
			if err := a.outlast(sizeOf(part)); err != nil {
				return err
			}
		}
		if !errors.Is(a.end, io.EOF) {
			return a.end
		}
	}
	if a.until.IsZero() {
		a.until = time.Now().Add(unheardMost)
	}
	late, cancel := context.WithDeadline(ctx, a.until)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	if a.others != nil {
		watch.Go(func() {
			select {
			case <-a.others:
				cancel()
			case <-late.Done():
			}
		})
	}
	switch {
	case turn.Take(late.Done()):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return errUnheard
	}
}

// ended returns a channel that is closed when the stream ends. It returns nil if the end was seen
// already, or if a is nil because the frames do not come from a stream.
func (a *arrivals) ended() <-chan struct{} {
	if a == nil || a.end != nil {
		return nil
	}
	return a.stream.Context().Done()
}

// outlast keeps what is left of a stream that has ended, and counts the bytes of a frame that
// waits already. If there is no room, it returns errUnheard, or the error of a stream that failed
// and whose messages will be sent again. It is called once.
func (a *arrivals) outlast(bytes int) error {
	switch {
	case a.keep(bytes):
		return nil
	case errors.Is(a.end, io.EOF):
		return errUnheard
	default:
		return a.end
	}
}

// keep receives what is left of a stream that has ended. It reports whether there is room for
// that and for the bytes of a frame that was received before, which the stream no longer counts.
func (a *arrivals) keep(bytes int) (all bool) {
	all = a.count(waiterCost) && a.count(bytes)
	for {
		f, err := a.stream.Recv()
		if err != nil {
			a.end = err
			return all
		}
		if all = all && a.count(sizeOf(&f)); all {
			a.kept = append(a.kept, f)
		}
	}
}

func sizeOf(f *link.Frame) int { return len(f.Body) + frameCost }

func (a *arrivals) count(bytes int) bool {
	if a.room.Take(int64(bytes)) != nil {
		return false
	}
	a.taken += int64(bytes)
	return true
}

// drop discards the frames that were not returned, and releases the room of all that were kept.
func (a *arrivals) drop() {
	a.kept = nil
	a.room.Give(a.taken)
	a.room.Release()
}
