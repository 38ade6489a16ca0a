package receive

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// readingEvery is how often a subscription tells a publisher whose messages wait to be read
// that it reads. That is six times before the publisher takes it for stuck.
const readingEvery = frame.StuckTime / 6

// pulse tells the publisher of a connection that its subscription reads, as long as frames
// wait here. Credit is granted only at the end of a frame, and a frame may hold a thousand
// messages. A pulse has no goroutine while nothing waits.
type pulse struct {
	armed atomic.Bool

	// mu guards the fields below. It is held while tell runs.
	mu    sync.Mutex
	timer *time.Timer
	// tell reports whether frames still wait. It is nil before start and after stop.
	tell func() (waits bool)
}

// start sets what a pulse calls while it is armed. tell is called by one goroutine at a time.
func (p *pulse) start(tell func() (waits bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = tell
}

// arm makes the pulse beat until nothing waits.
func (p *pulse) arm() {
	if p.armed.Load() || !p.armed.CompareAndSwap(false, true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restart()
}

func (p *pulse) restart() {
	switch {
	case p.tell == nil:
	case p.timer == nil:
		p.timer = time.AfterFunc(readingEvery, p.beat)
	default:
		p.timer.Reset(readingEvery)
	}
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tell == nil {
		return
	}
	if !p.tell() {
		// The next frame arms the pulse again.
		p.armed.Store(false)
		return
	}
	p.restart()
}

// stop ends the pulse. It waits for a call of tell to return.
func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
