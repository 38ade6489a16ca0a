package codec_test

import (
	"testing"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

// BenchmarkPlan compares the codec with the library that its plans replace. The
// last type has no plan, so that the difference is the cost of the lookup.
func BenchmarkPlan(b *testing.B) {
	type unplanned struct{ List []string }
	values := []struct {
		name     string
		from, to any
	}{
		{"payload", &payload{make([]byte, 64)}, new(payload)},
		{"small", &codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true}, new(codecvalues.Small)},
		{"kinds", fullKinds(), new(kinds)},
		{"unplanned", &unplanned{[]string{"a"}}, new(unplanned)},
	}
	c := codec.CBOR()
	codecs := []struct {
		name string
		c    codec.Codec
	}{{"codec", c}, {"library", codec.Library(c)}}
	for _, v := range values {
		for _, with := range codecs {
			b.Run(v.name+"/append/"+with.name, func(b *testing.B) {
				dst := make([]byte, 0, 512)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := with.c.Append(dst, v.from); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(v.name+"/decode/"+with.name, func(b *testing.B) {
				in, err := c.Append(nil, v.from)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := with.c.Decode(in, v.to); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
