package receive

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

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

// awaitTurn waits for a turn for a part. If the stream fails meanwhile, the wait ends, because the
// publisher will send the messages again on the next stream. If the publisher has ended the
// stream after its last message, it will not send them again. What has arrived then waits on if
// there is room for it, until ctx ends, another publisher stands by that sends it again, or
// unheardMost has passed.
func (a *arrivals) awaitTurn(ctx context.Context) {
	defer a.conn.inLine.Store(false)
	live, cancel := context.WithCancel(ctx)
	if a.hasTurn(live, cancel, a.over) || ctx.Err() != nil {
		return
	}
	a.keep()
	switch {
	case a.lost != nil:
		return
	case !errors.Is(a.why(), io.EOF):
		a.giveUp(a.why())
		return
	case a.until.IsZero():
		a.until = time.Now().Add(unheardMost)
	}
	late, cancel := context.WithDeadline(ctx, a.until)
	if !a.hasTurn(late, cancel, a.others) && ctx.Err() == nil {
		a.giveUp(errUnheard)
	}
}

// hasTurn waits for a turn until ctx ends, or something can be received from stop. It calls cancel, which ends
// ctx. It reports whether it has the turn.
func (a *arrivals) hasTurn(ctx context.Context, cancel context.CancelFunc, stop <-chan struct{}) bool {
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	if stop != nil {
		watch.Go(func() {
			select {
			case <-stop:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	return a.turn.Take(ctx.Done())
}

// awaitHold waits for a long frame until others have been read.
func (a *arrivals) awaitHold(ctx context.Context) {
	over := a.over
	if a.kept {
		over = nil
	}
	select {
	case <-a.conn.shrunk:
	case <-over:
		a.keep()
	case <-ctx.Done():
	}
}

// settle waits until all that came on a stream that has ended is where an inbox keeps it.
func (a *arrivals) settle(ctx context.Context) error {
	for a.to.box.queue.beyond(a.conn) > 0 {
		a.keep()
		select {
		case <-a.conn.shrunk:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if a.lost != nil {
		return a.lost
	}
	return a.why()
}

// abandon drops what waits and what comes, and returns when the stream has ended.
func (a *arrivals) abandon(ctx context.Context) error {
	dropped := a.close()
	<-a.over
	if dropped {
		return context.Cause(ctx)
	}
	return a.why()
}

// why returns why the stream has ended. It must not be called before.
func (a *arrivals) why() error {
	_, err := a.stream.Recv()
	return err
}

// keep counts what waits of a stream that has ended: the connection no longer does. If there is no
// room for all of it, it is given up.
func (a *arrivals) keep() {
	if a.kept {
		return
	}
	a.kept = true
	bytes := a.to.box.queue.beyond(a.conn)
	a.mu.Lock()
	for i := range a.line {
		bytes += len(a.line[i].body) + frameCost
	}
	a.mu.Unlock()
	if a.count(waiterCost + bytes) {
		return
	}
	why := a.why()
	if errors.Is(why, io.EOF) {
		why = errUnheard
	}
	a.giveUp(why)
	a.to.box.discard(a.conn)
	a.conn.shrunk.Set()
}

// giveUp drops what stands in line.
func (a *arrivals) giveUp(why error) {
	if a.lost == nil {
		a.lost = why
	}
	a.close()
}

// close drops what stands in line and what comes. It reports whether something stood there.
func (a *arrivals) close() (dropped bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	dropped = len(a.line) > 0
	a.closed, a.line = true, nil
	return dropped
}

// count reports whether there is room for so many bytes, and takes it.
func (a *arrivals) count(bytes int) bool {
	if a.room.Take(int64(bytes)) != nil {
		return false
	}
	a.taken += int64(bytes)
	return true
}

// drop ends the arrivals, and gives back all room.
func (a *arrivals) drop() {
	a.close()
	a.turn.End()
	a.room.Give(a.taken)
	a.room.Release()
}
