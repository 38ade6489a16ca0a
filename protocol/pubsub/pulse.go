package pubsub

import (
	"sync"
	"sync/atomic"
	"time"
)

// readingEvery is how often a subscription tells a publisher, whose messages wait to be
// read, that it reads: six times before the publisher takes it for stuck.
const readingEvery = StuckTime / 6

// pulse tells the publisher of a connection that its subscription reads, as long as frames
// wait here: credit, which says so otherwise, comes with the end of a frame, and one may
// hold a thousand messages. It has no goroutine while nothing waits.
type pulse struct {
	armed atomic.Bool

	mu    sync.Mutex // held while the publisher is told
	timer *time.Timer
	tell  func() (waits bool) // nil: the connection has ended
}

// start makes a pulse beat when it is armed. Tell is called by one goroutine at a time.
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
		p.armed.Store(false) // the next frame arms it
		return
	}
	p.restart()
}

// stop ends the pulse and waits until nobody is being told.
func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
