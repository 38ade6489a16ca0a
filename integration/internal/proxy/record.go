package proxy

import (
	"slices"
	"time"
)

func (p *Proxy) record(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == maxRequests {
		return
	}
	p.requests = append(p.requests, r)
	close(p.news)
	p.news = make(chan struct{})
}

// Requests returns a copy of the recorded requests, in the order of their answers.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Count returns how many of the recorded requests match.
func (p *Proxy) Count(match func(Request) bool) int {
	n := 0
	for _, r := range p.Requests() {
		if match(r) {
			n++
		}
	}
	return n
}

// Forget discards the recorded requests.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Await waits until a matching request has been answered, and returns it. Requests that were answered
// before the call count as well, back to the last Forget.
func (p *Proxy) Await(what string, match func(Request) bool) Request {
	p.tb.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		fresh, news := p.requests[min(seen, len(p.requests)):], p.news
		p.mu.Unlock()
		for _, r := range fresh {
			seen++
			if match(r) {
				return r
			}
		}
		select {
		case <-news:
		case <-timer.C:
			p.tb.Fatalf("proxy: %s: not within %v", what, within)
		}
	}
}

// PeakRate returns the largest number of recorded requests that arrived within any second.
func (p *Proxy) PeakRate() int {
	var at []time.Time
	for _, r := range p.Requests() {
		at = append(at, r.At)
	}
	slices.SortFunc(at, time.Time.Compare)
	peak, first := 0, 0
	for last := range at {
		for at[last].Sub(at[first]) >= time.Second {
			first++
		}
		peak = max(peak, last-first+1)
	}
	return peak
}
