package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a publisher that keeps up to room messages and then fails with errFull.
type recorder struct {
	bodies  [][]byte
	flushes int
	room    int
}

var errFull = errors.New("full")

func (*recorder) addr() string                     { return "" }
func (*recorder) await(context.Context, int) error { return nil }
func (*recorder) close() error                     { return nil }

func (r *recorder) flush(context.Context) error {
	r.flushes++
	return nil
}

func (r *recorder) publish(_ context.Context, body []byte) error {
	if len(r.bodies) == r.room {
		return errFull
	}
	r.bodies = append(r.bodies, bytes.Clone(body))
	return nil
}

func TestAPacedBurstNumbersFlushesAndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &recorder{room: 1000}
		p := press{publisher: out}
		start := time.Now()
		b := burst{Size: 20, Rate: 100, Timed: start.Add(55 * time.Millisecond).UnixNano(), Until: start.Add(105 * time.Millisecond).UnixNano()}
		if err := p.run(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if len(out.bodies) != 10 || out.flushes != 11 || p.next != 10 {
			t.Fatalf("%d messages, %d flushes, next %d, want 10, one more than that, and 10", len(out.bodies), out.flushes, p.next)
		}
		for i, body := range out.bodies {
			at := start.Add(time.Duration(i+1) * 10 * time.Millisecond).UnixNano()
			if i < 5 {
				at = 0
			}
			if want := message(uint64(i), uint64(at)); len(body) != 20 || !bytes.HasPrefix(body, want) {
				t.Errorf("message %d is %x, want 20 bytes from %x", i, body, want)
			}
		}
	})
}

func TestABurstStopsAtTheFirstMessageThatFails(t *testing.T) {
	p := press{publisher: &recorder{room: 3}}
	err := p.run(t.Context(), burst{Size: messageMin, Until: time.Now().Add(time.Hour).UnixNano()})
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "message 3:") {
		t.Errorf("run: %v, want message 3: %v", err, errFull)
	}
	if err := p.run(t.Context(), burst{Size: messageMin - 1}); err == nil {
		t.Error("a message too short for its number was published")
	}
}
