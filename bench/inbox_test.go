package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func message(number, at uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, number), at)
}

func TestAnInboxCountsWhatCameAndRefusesWhatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bodies   [][]byte
		received uint64
		next     uint64
		err      string
	}{
		{"all", [][]byte{message(0, 0), message(1, 0)}, 2, 2, "<nil>"},
		{"a hole", [][]byte{message(0, 0), message(5, 0)}, 2, 6, "<nil>"},
		{"a duplicate", [][]byte{message(0, 0), message(0, 0)}, 1, 1, "message 0 came after message 0"},
		{"out of order", [][]byte{message(3, 0), message(1, 0)}, 1, 4, "message 1 came after message 3"},
		{"too short", [][]byte{message(0, 0)[1:]}, 0, 0, "a message of 16 bytes has 15 bytes"},
	} {
		in := &inbox{size: messageMin}
		for _, body := range tt.bodies {
			in.deliver(body)
		}
		if in.received.Load() != tt.received || in.next.Load() != tt.next {
			t.Errorf("%s: received %d, next %d, want %d and %d", tt.name, in.received.Load(), in.next.Load(), tt.received, tt.next)
		}
		if _, err := in.take(); fmt.Sprint(err) != tt.err {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestSettlingEndsWithTheLastMessageOrInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &inbox{size: messageMin}
		go func() {
			for i := range uint64(3) {
				<-time.After(settleQuiet * 9 / 10)
				in.deliver(message(i, uint64(time.Now().Add(-time.Millisecond).UnixNano())))
			}
		}()
		start := time.Now()
		took, err := inboxes{in}.settle(t.Context(), 3)
		if want := []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}; err != nil || !slices.Equal(took, want) {
			t.Errorf("settle: %v, %v, want %v", took, err, want)
		}
		if d, want := time.Since(start), 3*settleQuiet; d > want {
			t.Errorf("settling took %v although the last message came before %v", d, want)
		}
		start = time.Now()
		if _, err := (inboxes{in}).settle(t.Context(), 4); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d < settleQuiet || d > 2*settleQuiet {
			t.Errorf("gave up on the fourth message after %v, want about %v", d, settleQuiet)
		}
	})
}

func TestRateIsCountedBetweenTwoMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &inbox{size: messageMin}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := uint64(0); ; i++ {
				select {
				case <-tick.C:
					in.deliver(message(i, 0))
				case <-ctx.Done():
					return
				}
			}
		}()
		from := time.Now().Add(50*time.Millisecond + time.Microsecond)
		got, err := inboxes{in, {}}.rate(ctx, span{From: from.UnixNano(), To: from.Add(2 * time.Second).UnixNano()})
		if err != nil || got != 1000 {
			t.Errorf("rate = %v, %v, want 1000 a second", got, err)
		}
	})
}
