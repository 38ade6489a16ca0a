package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestGolden compares records with the bytes that every implementation must write.
func TestGolden(t *testing.T) {
	body := frame.Body{
		Key: "k", ID: "id", Trace: []frame.Pair{{Name: "traceparent", Value: "00-x"}}, Headers: []frame.Pair{{Name: "h", Value: "v"}},
		Payload: []byte{1, 2},
	}
	plain := frame.Body{Payload: []byte{0xa0}}
	task := frame.Task{Seq: 300, Delivery: 2, Attempt: 1, Fence: 70000, Left: time.Second, Start: -1, Body: plain.Append(nil)}
	for _, tt := range []struct {
		name, want string
		got        []byte
	}{
		{"a body", "0f016b010b7472616365706172656e740430302d780101680176026964" + "0102", body.Append(nil)},
		{"a body of a payload alone", "00a0", plain.Append(nil)},
		{"a task", "0f412c0201" + "80011170" + "800f424100" + "00a0", task.Append(nil)},
		{"an ack", "0107034064", (&frame.Outcome{Verb: frame.Ack, Seq: 7, Delivery: 3, Ran: 100 * time.Microsecond}).Append(nil)},
		{"a result", "02070300020908", (&frame.Outcome{Verb: frame.Result, Seq: 7, Delivery: 3, Data: []byte{9, 8}}).Append(nil)},
		{"a retry", "030701" + "800f4241" + "026e6f", (&frame.Outcome{Verb: frame.Retry, Seq: 7, Delivery: 1, Delay: time.Second, Data: []byte("no")}).Append(nil)},
		{"a retry by backoff", "03070100026e6f", (&frame.Outcome{Verb: frame.Retry, Seq: 7, Delivery: 1, Delay: -1, Data: []byte("no")}).Append(nil)},
		{"a release", "04070100", (&frame.Outcome{Verb: frame.Release, Seq: 7, Delivery: 1}).Append(nil)},
		{"a rejection", "05070100", (&frame.Outcome{Verb: frame.Reject, Seq: 7, Delivery: 1}).Append(nil)},
		{"started", "060701", (&frame.Outcome{Verb: frame.Started, Seq: 7, Delivery: 1}).Append(nil)},
		{"a list", "0140c8", frame.AppendList(nil, []uint64{1, 200})},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s is %s, want %s", tt.name, got, tt.want)
		}
	}
	hello, err := frame.Encode(frame.KindHello, frame.Hello{Queue: "q", Fence: 1, Held: []uint64{2}})
	if got := hex.EncodeToString(hello.Body); err != nil || hello.Kind != 0x50 || got != "a301617102010381"+"02" {
		t.Errorf("HELLO is %s, %v", got, err)
	}
	hello, err = frame.Encode(frame.KindHello, frame.Hello{Queue: "q", Fence: 1, First: 3, Last: 300})
	if got := hex.EncodeToString(hello.Body); err != nil || got != "a40161710201040305"+"19012c" {
		t.Errorf("HELLO of a producer that asks is %s, %v", got, err)
	}
	welcome, err := frame.Encode(frame.KindWelcome, frame.Welcome{Epoch: 5, Slots: 2, Unknown: []uint64{9}, Running: []uint64{7, 1}})
	if got := hex.EncodeToString(welcome.Body); err != nil || welcome.Kind != 0x51 || got != "a4010502020381090482"+"0701" {
		t.Errorf("WELCOME is %s, %v", got, err)
	}
}

func TestMalformedRecords(t *testing.T) {
	var task frame.Task
	var outcome frame.Outcome
	for name, b := range map[string][]byte{
		"an empty task": {0}, "a task that is cut": {9, 1}, "a number of zero": {7, 0, 1, 1, 1, 0, 0, 0}, "a task without a body": {6, 1, 1, 1, 1, 0, 0},
	} {
		if _, err := task.Cut(b); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"an unknown verb": {7, 1, 1}, "nothing": {}, "an ack that is cut": {1, 1, 1}, "a cause that is cut": {4, 1, 1, 9, 0}} {
		if _, err := outcome.Cut(b); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"no body": {}, "unknown flags": {0x10, 1}, "a key that is cut": {1, 5, 1}, "too many pairs": {4, 0x40, 200}} {
		if _, err := frame.ParseBody(b); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := frame.ParseList(nil, bytes.Repeat([]byte{1}, frame.MaxList+1)); !errors.Is(err, frame.ErrMalformed) {
		t.Errorf("a list that is too long: %v", err)
	}
	var hello frame.Hello
	if err := frame.Decode(link.Frame{Kind: frame.KindWelcome}, frame.KindHello, &hello); !errors.Is(err, link.InvalidArgument) {
		t.Errorf("a frame of another kind: %v", err)
	}
}

func TestCausesAreBoundedWhereTheyAreRead(t *testing.T) {
	long := make([]byte, frame.MaxCause+1)
	for _, verb := range []frame.Verb{frame.Retry, frame.Release, frame.Reject} {
		b := varint.Append(varint.Append([]byte{byte(verb)}, 7), 1)
		if verb == frame.Retry {
			b = varint.Append(b, 0)
		}
		var o frame.Outcome
		if _, err := o.Cut(varint.AppendBytes(b, long)); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("verb %d with a cause of %d bytes: %v", verb, len(long), err)
		}
		if _, err := o.Cut(varint.AppendBytes(b, long[1:])); err != nil {
			t.Errorf("verb %d with a cause of %d bytes: %v", verb, len(long)-1, err)
		}
	}
}

// FuzzRecords parses any bytes as records, and expects the same records after writing and parsing them.
func FuzzRecords(f *testing.F) {
	plain := frame.Body{Key: "k", Payload: []byte{0xa0}}
	task := frame.Task{Seq: 300, Delivery: 2, Attempt: 1, Left: time.Second, Start: -1, Body: plain.Append(nil)}
	f.Add(task.Append(nil))
	f.Add((&frame.Outcome{Verb: frame.Retry, Seq: 7, Delivery: 1, Delay: time.Second, Data: []byte("no")}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var task, again frame.Task
		if rest, err := task.Cut(b); err == nil {
			if len(rest) >= len(b) {
				t.Fatal("a record of no bytes")
			}
			if _, err := again.Cut(task.Append(nil)); err != nil || !reflect.DeepEqual(task, again) {
				t.Errorf("%+v came back as %+v, %v", task, again, err)
			}
			if body, err := frame.ParseBody(task.Body); err == nil {
				if back, err := frame.ParseBody(body.Append(nil)); err != nil || !bytes.Equal(back.Payload, body.Payload) || back.Key != body.Key || back.ID != body.ID || len(back.Headers) != len(body.Headers) {
					t.Errorf("%+v came back as %+v, %v", body, back, err)
				}
			}
		}
		var o, back frame.Outcome
		if rest, err := o.Cut(b); err == nil {
			if len(rest) >= len(b) {
				t.Fatal("an outcome of no bytes")
			}
			if _, err := back.Cut(o.Append(nil)); err != nil || !reflect.DeepEqual(o, back) {
				t.Errorf("%+v came back as %+v, %v", o, back, err)
			}
		}
		// ParseList must not panic.
		_, _ = frame.ParseList(nil, b)
	})
}
