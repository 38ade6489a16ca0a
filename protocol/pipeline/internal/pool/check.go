package pool

import "fmt"

// Key returns the key of the source: the identity of the peer and the queue, after the peer's place
// where names are not proven.
func (s *Source) Key() string { return s.key }

// Check returns an error if the counters of the pool do not match its contents. It is for tests.
func (p *Pool) Check() error {
	queued, running := 0, 0
	for _, s := range p.sources {
		bytes := int64(0)
		inQueue := 0
		for t := range s.held.All {
			bytes += int64(len(t.Body))
			switch t.state {
			case stateQueued:
				inQueue++
			case stateRunning:
				running++
			case stateGone:
				return fmt.Errorf("task %d is gone and held", t.Seq)
			}
		}
		if inQueue != s.queue.n || bytes != s.bytes || (inQueue > 0) != (s.line.next != nil) {
			return fmt.Errorf("source %s: %d queued, %d in the queue; %d bytes, counted %d", s.key, inQueue, s.queue.n, bytes, s.bytes)
		}
		queued += inQueue
	}
	if queued != p.queued || running > p.running.n {
		return fmt.Errorf("%d queued, counted %d; %d running, listed %d", queued, p.queued, running, p.running.n)
	}
	return nil
}
