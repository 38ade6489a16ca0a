package pipeline

import (
	"testing"

	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// failures returns a history of n failed attempts that ended at the times 1, 2, 3 and so on.
func failures(n int) []queue.Attempt {
	var out []queue.Attempt
	for i := range n {
		out = append(out, queue.Attempt{Worker: "w", Began: int64(i), Ended: int64(i) + 1, Cause: string(rune('a' + i)), Counted: true})
	}
	return out
}

// deadRecords returns the records of a task that failed three times and is a dead letter.
func deadRecords() []wal.Record {
	body := frame.Body{Payload: []byte{1}}
	t := &queue.Task{Seq: 7, Body: body.Append(nil)}
	out := []wal.Record{{Kind: recordTask, ID: 7, Body: appendTask(nil, t)}}
	var log events
	for i := range 2 {
		t.Attempts, t.History = i+1, failures(i+1)
		log.Failed(t)
	}
	t.Attempts, t.History, t.Cause = 3, failures(3), "c"
	log.Dead(t)
	return append(out, log.all()...)
}

// TestADeadLetterIsRestoredWhateverTheOrderOfItsRecords replays records out of order, since compaction
// moves records of a task behind younger ones of the same task.
func TestADeadLetterIsRestoredWhateverTheOrderOfItsRecords(t *testing.T) {
	records := deadRecords()
	for name, order := range map[string][]int{
		"as they were written":        {0, 1, 2, 3},
		"the task was copied":         {1, 2, 3, 0},
		"all but the last":            {3, 0, 1, 2},
		"the last in between":         {2, 3, 0, 1},
		"what failed, one of the two": {0, 2, 3, 1},
	} {
		found := restored{tasks: make(map[uint64]*entry), dead: make(map[uint64]int64)}
		for _, i := range order {
			if err := found.replay(records[i]); err != nil {
				t.Fatal(err)
			}
		}
		e := found.tasks[7]
		if e == nil || e.Body == nil || found.dead[7] == 0 || e.Attempts != 3 || len(e.History) != 3 || e.Cause != "c" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestWhatFailedIsRestoredInItsOrder(t *testing.T) {
	records := deadRecords()
	for name, order := range map[string][]int{"as they were written": {0, 1, 2}, "one was copied": {2, 0, 1}} {
		found := restored{tasks: make(map[uint64]*entry), dead: make(map[uint64]int64)}
		for _, i := range order {
			if err := found.replay(records[i]); err != nil {
				t.Fatal(err)
			}
		}
		e := found.tasks[7]
		if e.Attempts != 2 || len(e.History) != 2 || e.History[0].Cause != "a" || e.Cause != "b" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
