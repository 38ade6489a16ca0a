// Package codectest tests a [codec.Codec] against the contract of the interface.
//
// # Usage
//
//	func TestContract(t *testing.T) {
//		codectest.Run(t, mycodec.New())
//	}
//
// A codec that accepts any Go value is tested with the samples of this package, and
// must refuse values that contain themselves. A codec that accepts only some types,
// such as raw bytes or protobuf messages, is tested with samples of its own.
package codectest

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

// Sample is a value that must survive a round trip.
type Sample struct {
	// Name is the name of the subtest.
	Name string
	// Value is a pointer to the value to encode.
	Value any
	// New returns a pointer to a fresh, zero destination of the same type.
	New func() any
	// Diff describes how two values, both pointers, differ. It returns "" if they
	// are equal. Nil means go-cmp, which does not compare unexported fields.
	Diff func(want, got any) string
}

func (s Sample) diff(got any) string {
	if s.Diff != nil {
		return s.Diff(s.Value, got)
	}
	return cmp.Diff(s.Value, got, cmpopts.EquateComparable(netip.Addr{}))
}

// Run checks c against the contract of [codec.Codec] with samples. Without any, it
// uses those of this package, and values that contain themselves, which c must refuse.
func Run(t *testing.T, c codec.Codec, samples ...Sample) {
	t.Helper()
	if len(samples) == 0 {
		samples = common()
		t.Run("append of a value that holds itself is an error and returns dst", func(t *testing.T) { refusesCycles(t, c) })
	}
	t.Run("has a name", func(t *testing.T) {
		if c.Name() == "" {
			t.Fatal("Name() is empty")
		}
	})
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			t.Run("round trips", func(t *testing.T) { roundTrips(t, c, s) })
			t.Run("append keeps the prefix", func(t *testing.T) { keepsPrefix(t, c, s) })
			t.Run("append reuses capacity", func(t *testing.T) { reusesCapacity(t, c, s) })
			t.Run("decode keeps nothing of data", func(t *testing.T) { keepsNothing(t, c, s) })
		})
	}
	t.Run("append of a channel is an error and returns dst", func(t *testing.T) { refusesChannel(t, c) })
	t.Run("decode into a non-pointer is an error", func(t *testing.T) { refusesNonPointer(t, c, samples[0]) })
}

// common returns samples of the values that every codec of Go values must support.
func common() []Sample {
	var samples []Sample
	for _, v := range codecvalues.Common() {
		t := reflect.TypeOf(v.Value).Elem()
		samples = append(samples, Sample{Name: v.Name, Value: v.Value, New: func() any { return reflect.New(t).Interface() }})
	}
	return samples
}

// Refuses checks that c returns an error, and does not panic, for each input.
func Refuses(t *testing.T, c codec.Codec, destination func() any, inputs map[string][]byte) {
	t.Helper()
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			if err := c.Decode(in, destination()); err == nil {
				t.Fatalf("Decode(%x) succeeded, want an error", in)
			}
		})
	}
}

func encode(t *testing.T, c codec.Codec, dst []byte, v any) []byte {
	t.Helper()
	out, err := c.Append(dst, v)
	if err != nil {
		t.Fatalf("Append(%T): %v", v, err)
	}
	return out
}

func decode(t *testing.T, c codec.Codec, data []byte, s Sample) any {
	t.Helper()
	got := s.New()
	if err := c.Decode(data, got); err != nil {
		t.Fatalf("Decode(%x): %v", data, err)
	}
	return got
}

func roundTrips(t *testing.T, c codec.Codec, s Sample) {
	t.Helper()
	got := decode(t, c, encode(t, c, nil, s.Value), s)
	if diff := s.diff(got); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
}

func keepsPrefix(t *testing.T, c codec.Codec, s Sample) {
	t.Helper()
	want := encode(t, c, nil, s.Value)
	prefix := []byte("prefix")
	for _, dst := range [][]byte{
		bytes.Clone(prefix),
		append(make([]byte, 0, len(prefix)+len(want)+64), prefix...),
	} {
		got := encode(t, c, dst, s.Value)
		if !bytes.Equal(got, append(bytes.Clone(prefix), want...)) {
			t.Fatalf("Append to a prefix with capacity %d = %x, want %x then %x", cap(dst), got, prefix, want)
		}
	}
}

func reusesCapacity(t *testing.T, c codec.Codec, s Sample) {
	t.Helper()
	// Encoders may reserve more room than they write.
	const headroom = 4096
	dst := make([]byte, 1, len(encode(t, c, nil, s.Value))+headroom)
	if got := encode(t, c, dst, s.Value); &got[0] != &dst[0] {
		t.Fatalf("Append moved a buffer with %d bytes to spare", headroom)
	}
}

func keepsNothing(t *testing.T, c codec.Codec, s Sample) {
	t.Helper()
	data := encode(t, c, nil, s.Value)
	got := decode(t, c, data, s)
	for i := range data {
		data[i] = 0xff
	}
	if diff := s.diff(got); diff != "" {
		t.Fatalf("the value changed with data after Decode returned (-want +got):\n%s", diff)
	}
}

func refusesChannel(t *testing.T, c codec.Codec) {
	t.Helper()
	dst := []byte("kept")
	got, err := c.Append(dst, make(chan int))
	if err == nil {
		t.Fatal("Append(chan) succeeded, want an error")
	}
	if string(got) != "kept" {
		t.Fatalf("Append(chan) returned %q, want dst as given", got)
	}
}

// refusesCycles appends values that contain themselves. A codec that follows them without a bound kills the
// process.
func refusesCycles(t *testing.T, c codec.Codec) {
	t.Helper()
	for name, v := range codecvalues.Cycles() {
		dst := []byte("kept")
		got, err := c.Append(dst, v)
		if err == nil {
			t.Errorf("Append(%s) succeeded, want an error", name)
		}
		if string(got) != "kept" {
			t.Errorf("Append(%s) returned %d bytes, want dst as given", name, len(got))
		}
	}
}

func refusesNonPointer(t *testing.T, c codec.Codec, s Sample) {
	t.Helper()
	data := encode(t, c, nil, s.Value)
	for _, v := range []any{nil, struct{}{}, (*struct{})(nil)} {
		if err := c.Decode(data, v); err == nil {
			t.Fatalf("Decode into %T(%v) succeeded, want an error", v, v)
		}
	}
}
