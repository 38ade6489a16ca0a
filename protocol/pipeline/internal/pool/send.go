package pool

import "github.com/linkmesh/link/protocol/pipeline/internal/frame"

// Work is what is to be written to a producer. All but Outcomes and Leaving goes first, because
// Aside may send a newer window while outcomes that need many frames are written.
type Work struct {
	Outcomes []byte
	// Window is set if Tasks and Bytes are to be sent.
	Window bool
	Tasks  int
	Bytes  int64
	Ping   bool
	// Alive lists the tasks that are here, if the producer is to be told.
	Alive   []uint64
	Leaving bool
}

// Take returns what is to be written to a producer. The caller owns the outcomes; the next
// ones are collected in buf. Take is called when the outcomes of the last call are written,
// and again as long as there are any.
func (p *Pool) Take(s *Source, buf []byte, now int64) Work {
	// To a producer that has come back, the first window means that all earlier outcomes were sent.
	tell := s.told || len(s.again) == 0
	s.sayAgain(now, p.opts.CacheTime)
	w := Work{Outcomes: s.write(buf), Leaving: p.leaves(s)}
	p.aside(s, &w, tell, now)
	return w
}

// Aside returns what must not wait while outcomes that need many frames are written; rest is those
// that are left. If Alive is due, it also lists the tasks whose outcomes the producer has not been
// told.
func (p *Pool) Aside(s *Source, rest []byte, now int64) Work {
	var w Work
	if p.aside(s, &w, s.told, now) {
		w.Alive = appendSeqs(appendSeqs(w.Alive, rest), s.out)
		for _, d := range s.again {
			w.Alive = append(w.Alive, d.seq)
		}
	}
	return w
}

// appendSeqs appends the numbers of the tasks in records of outcomes.
func appendSeqs(dst []uint64, records []byte) []uint64 {
	var o frame.Outcome
	for len(records) > 0 {
		rest, err := o.Cut(records)
		if err != nil {
			break
		}
		dst, records = append(dst, o.Seq), rest
	}
	return dst
}

// aside adds what is due besides outcomes, with a window only if tell is set. It reports whether
// the producer is told what is here.
func (p *Pool) aside(s *Source, w *Work, tell bool, now int64) bool {
	if tell && (!s.told || s.window != s.wish) {
		s.told, s.window = true, s.wish
		w.Window, w.Tasks = true, s.wish
		w.Bytes = max(p.opts.HeldBytes*int64(s.wish)/int64(max(p.total, 1)), 1<<20)
	}
	if s.pingDue {
		s.pingDue, s.pinged, s.asked, w.Ping = false, now, true, true
	}
	if now-s.alive < int64(p.opts.Lease)/3 {
		return false
	}
	s.alive = now
	for t := range s.held.All {
		w.Alive = append(w.Alive, t.Seq)
	}
	return true
}
