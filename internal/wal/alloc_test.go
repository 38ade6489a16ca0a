package wal

import "testing"

func TestAppendAllocatesNothing(t *testing.T) {
	l, _ := openLog(t, newDir(t), Options{})
	payload := body(100, 'x')
	id := uint64(0)
	got := testing.AllocsPerRun(10_000, func() {
		id++
		_, err := l.Append(Record{Kind: 1, ID: id, Body: payload}, Record{Kind: 1, ID: id + 1<<32, Body: payload})
		if err == nil {
			_, err = l.Append(Record{Kind: 2, ID: id, End: true}, Record{Kind: 2, ID: id + 1<<32, End: true})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for two appends, want 0", got)
	}
}
