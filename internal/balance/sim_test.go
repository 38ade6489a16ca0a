package balance

import (
	"slices"
	"time"
)

// server is a simulated instance.
type server struct {
	latency time.Duration
	fails   bool
	calls   int
}

type completion struct {
	at, start int64
	endpoint  *Endpoint[*server]
}

// completions is a binary heap, the earliest first.
type completions []completion

func (c *completions) push(x completion) {
	h := append(*c, x)
	for i := len(h) - 1; i > 0 && h[i].at < h[(i-1)/2].at; i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
	*c = h
}

func (c *completions) pop() completion {
	h := *c
	out, last := h[0], len(h)-1
	h[0], h = h[last], h[:last]
	for i := 0; 2*i+1 < last; {
		child := 2*i + 1
		if child+1 < last && h[child+1].at < h[child].at {
			child++
		}
		if h[i].at <= h[child].at {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	*c = h
	return out
}

// simulation sends calls at a fixed rate in virtual time.
type simulation struct {
	picker  *Picker[*server]
	now     int64
	pending completions
}

func simulate(servers ...*server) *simulation {
	endpoints := make([]*Endpoint[*server], len(servers))
	for i, s := range servers {
		endpoints[i] = NewEndpoint(string(rune('a'+i)), s, 1)
	}
	return &simulation{picker: NewPicker(endpoints)}
}

// run sends rate calls a second for d.
func (s *simulation) run(d time.Duration, rate int) {
	every := int64(time.Second) / int64(rate)
	for end := s.now + int64(d); s.now < end; s.now += every {
		for len(s.pending) > 0 && s.pending[0].at <= s.now {
			s.complete()
		}
		e, _ := s.picker.Pick(s.now, nil)
		e.Begin()
		e.Value().calls++
		s.pending.push(completion{at: s.now + int64(e.Value().latency), start: s.now, endpoint: e})
	}
}

func (s *simulation) complete() {
	c := s.pending.pop()
	c.endpoint.End(c.start, c.at, c.endpoint.Value().fails)
}

// join adds an instance and zeroes the counts of calls.
func (s *simulation) join(key string, latency time.Duration) *server {
	s.forget()
	fresh := &server{latency: latency}
	s.picker = NewPicker(append(slices.Clip(s.picker.endpoints), NewEndpoint(key, fresh, 1)))
	return fresh
}

// forget zeroes the counts of calls.
func (s *simulation) forget() {
	for _, e := range s.picker.endpoints {
		e.Value().calls = 0
	}
}

func servers(n int, latency time.Duration) []*server {
	out := make([]*server, n)
	for i := range out {
		out[i] = &server{latency: latency}
	}
	return out
}

func total(servers []*server) (n int) {
	for _, s := range servers {
		n += s.calls
	}
	return n
}
