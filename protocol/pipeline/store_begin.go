package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
)

// commit holds tasks that are accepted when the log is durable up to a position.
type commit struct {
	pos     wal.Position
	entries []*entry
}

// errStillFull is why tasks are refused while the disk has no room for the ends of others.
var errStillFull = fmt.Errorf("%w: how other tasks have ended is not written yet", wal.ErrNoSpace)

// begin writes tasks and puts them in line. Tasks that the disk has no room for are
// refused.
func (s *store) begin(buf []byte, adds []*entry) []byte {
	err := s.failure()
	if err == nil && len(s.queued) > 0 {
		err = errStillFull
	}
	if last := adds[len(adds)-1].Seq; err == nil && last > s.meta.high {
		err = s.raise(last, []uint64{s.meta.id})
	}
	handed := err == nil
	if handed {
		buf, handed, err = s.hand(buf, adds)
	}
	_, broke := errors.AsType[*wal.FrozenError](err)
	if broke {
		s.freeze(err)
	}
	frozen := s.failure()
	if handed && frozen != nil && (broke || err == nil) {
		// Some of the tasks may be on disk. Those who pushed them were told so.
		return buf
	}
	q := s.queue
	q.mu.Lock()
	now := q.clock.now().UnixNano()
	for _, e := range adds {
		if err == nil {
			q.tasks.Start(&e.Task, now)
			q.noteUnservedLocked()
		} else {
			q.withdrawLocked(e)
		}
	}
	q.unlock()
	if err == nil {
		return buf
	}
	if frozen == nil {
		frozen = link.Errorf(link.ResourceExhausted, "push to %s: the task was not written: %w", q.route, err)
	}
	for _, e := range adds {
		e.refuse(frozen)
	}
	return buf
}

// hand writes tasks to the log. They are accepted when the log is synced, which may happen before
// hand returns. handed is false if the log had failed before it was given the tasks.
func (s *store) hand(buf []byte, adds []*entry) (_ []byte, handed bool, _ error) {
	records := make([]wal.Record, len(adds))
	ends := make([]int, len(adds))
	for i, e := range adds {
		buf = appendTask(buf, &e.Task)
		ends[i] = len(buf)
	}
	from := 0
	for i, e := range adds {
		records[i] = wal.Record{Kind: recordTask, ID: e.Seq, Body: buf[from:ends[i]]}
		from = ends[i]
	}
	s.mu.Lock()
	if err := s.frozen; err != nil {
		// freeze did not find the tasks in s.writing, so it told nobody that they may run.
		s.mu.Unlock()
		return buf, false, err
	}
	s.writing = adds
	s.mu.Unlock()
	pos, err := s.log.Append(records...)
	s.tellRoom(err)
	if _, frozen := errors.AsType[*wal.FrozenError](err); frozen {
		// The tasks stay in s.writing for freeze to find.
		return buf, true, err
	}
	s.mu.Lock()
	s.writing = nil
	wait := err == nil && s.frozen == nil && s.synced < pos
	accept := err == nil && s.frozen == nil && !wait
	if wait {
		s.commits = append(s.commits, commit{pos, adds})
	}
	s.mu.Unlock()
	switch {
	case wait:
		s.log.RequestCommit(pos)
	case accept:
		for _, e := range adds {
			e.accept()
		}
	}
	if err == nil {
		s.meet()
	}
	return buf, true, err
}

// durable is called by the log when it is durable up to pos, or has failed.
func (s *store) durable(pos wal.Position, err error) {
	if err != nil {
		s.freeze(err)
		return
	}
	s.mu.Lock()
	s.synced = max(s.synced, pos)
	n := 0
	for n < len(s.commits) && s.commits[n].pos <= pos {
		n++
	}
	done := slices.Clone(s.commits[:n])
	s.commits = append(s.commits[:0], s.commits[n:]...)
	s.mu.Unlock()
	for _, c := range done {
		for _, e := range c.entries {
			e.accept()
		}
	}
}

// refuseUnsure ends pushes whose tasks may or may not be on disk.
func (s *store) refuseUnsure(entries []*entry, frozen error) {
	for _, e := range entries {
		e.refuse(link.Errorf(link.DataLoss, "push to %s: task %s: %w", s.queue.route, taskID(s.queue.id, e.Seq), mayRun(frozen)))
	}
}
