package pubsub

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/lane"
)

const (
	// maxUnheard is how many bytes a node keeps of all publishers whose streams have ended while
	// nobody read, or parts had no room: each of them, or its address where names are free, may have as much as it
	// leaves free, and what one stream has credit for.
	maxUnheard   = 64 << 20
	leastUnheard = 2 << 20
	// unheardMost is how long parts wait for room then: as long as a publisher keeps its own.
	unheardMost = elsewhereMost
	// waiterCost is what waits with the frames of a stream, a goroutine and the member, in bytes,
	// and frameCost what a frame takes beside its body.
	waiterCost = 32 << 10
	frameCost  = 64
)

// errUnheard is that of a publisher that has said all, some of which found no room here. It is not
// io.EOF: not all of it was heard.
var errUnheard = errors.New("its stream has ended, and there was no room for the last that came on it")

// arrivals are the frames of a stream. They belong to one goroutine.
type arrivals struct {
	stream *link.Stream
	room   *share.Holder   // counts kept
	others <-chan struct{} // for AnyOne: receives if another publisher is ready, which says again what is dropped here
	kept   []link.Frame    // received, and not yet returned
	taken  int64           // of room
	end    error           // follows kept; nil: more may come
	until  time.Time       // when nothing waits for a turn any more, with end
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

// await waits for a turn for a part. What ends the stream meanwhile ends the wait, unless the
// publisher has said all it had to say: it will not say that again, so what has arrived waits on,
// until ctx ends or there is another publisher that says it again, as far as there is room for it
// and for no longer than unheardMost.
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
			return a.end // it comes again
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

// ended returns a channel that is closed when the stream ends, unless that was seen. Nil is not of
// a stream.
func (a *arrivals) ended() <-chan struct{} {
	if a == nil || a.end != nil {
		return nil
	}
	return a.stream.Context().Done()
}

// outlast makes what is left of a stream that has ended wait here, with a frame that waits already,
// or says why there is no room for that. It is called once.
func (a *arrivals) outlast(bytes int) error {
	switch {
	case a.keep(bytes):
		return nil
	case errors.Is(a.end, io.EOF):
		return errUnheard
	default:
		return a.end // it comes again
	}
}

// keep receives what is left of a stream that has ended, and reports whether it has room for that
// and for the bytes of a frame that was received before. The stream counts none of it any more.
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

// drop forgets what was not returned, and gives back the room of all that was kept.
func (a *arrivals) drop() {
	a.kept = nil
	a.room.Give(a.taken)
	a.room.Release()
}
