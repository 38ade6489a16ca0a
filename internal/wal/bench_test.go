package wal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit appends a record of 100 bytes and waits until it is on the disk.
func BenchmarkCommit(b *testing.B) {
	for _, committers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("c%d", committers), func(b *testing.B) {
			l, _ := openLog(b, newDir(b), Options{})
			payload := body(100, 'x')
			var next atomic.Uint64
			b.SetBytes(recordSize(len(payload)))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range committers {
				wg.Go(func() {
					for {
						id := next.Add(1)
						if id > uint64(b.N) {
							return
						}
						pos, err := l.Append(Record{Kind: 1, ID: id, Body: payload})
						if err == nil {
							err = l.Commit(b.Context(), pos)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/float64(max(l.Stats().Syncs, 1)), "records/sync")
		})
	}
}

// BenchmarkAppend appends a record of 100 bytes and its end, and does not wait for the disk.
func BenchmarkAppend(b *testing.B) {
	l, _ := openLog(b, newDir(b), Options{})
	payload := body(100, 'x')
	b.SetBytes(recordSize(len(payload)) + recordSize(0))
	b.ReportAllocs()
	for id := uint64(0); b.Loop(); id++ {
		if _, err := l.Append(Record{Kind: 1, ID: id, Body: payload}); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Append(Record{Kind: 2, ID: id, End: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay opens a log of a million live records of 100 bytes.
func BenchmarkReplay(b *testing.B) {
	const records, batch = 1_000_000, 1000
	dir := newDir(b)
	l, _ := openLog(b, dir, Options{})
	payload := body(100, 'x')
	all := make([]Record, batch)
	for id := uint64(0); id < records; {
		for i := range all {
			all[i] = Record{Kind: 1, ID: id, Body: payload}
			id++
		}
		if _, err := l.Append(all...); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, l)
	b.SetBytes(records * recordSize(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		l, err := Open(dir, Options{}, func(Record) error { n++; return nil })
		if err != nil || n != records {
			b.Fatal(n, err)
		}
		closeLog(b, l)
	}
}
