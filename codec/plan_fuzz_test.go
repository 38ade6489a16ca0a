package codec_test

import (
	"testing"
	"time"
	"unicode/utf8"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

func FuzzPlanDecode(f *testing.F) {
	c := codec.CBOR()
	values := []any{
		fullKinds(), new(kinds), fullTagged(), new(tagged), &payload{[]byte("p")}, &payload{},
		&codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true},
	}
	for _, v := range values {
		in, err := c.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		sameDecode(t, c, in, new(kinds), new(kinds))
		sameDecode(t, c, in, fullKinds(), fullKinds())
		sameDecode(t, c, in, fullTagged(), fullTagged())
		sameDecode(t, c, in, &payload{[]byte("old")}, &payload{[]byte("old")})
		sameDecode(t, c, in, new(codecvalues.Small), new(codecvalues.Small))
	})
}

func FuzzPlanAppend(f *testing.F) {
	c := codec.CBOR()
	add := func(k *kinds) {
		f.Add(k.Text, string(k.Word), k.Bytes, k.Bool, k.I, k.I8, k.I16, k.I32, int64(k.I64), k.U, k.U8, k.U16, k.U32, k.U64, k.F32, k.F64)
	}
	add(new(kinds))
	add(fullKinds())
	f.Fuzz(func(t *testing.T, s, w string, b []byte, flag bool, i int, i8 int8, i16 int16, i32 int32, i64 int64,
		u uint, u8 uint8, u16 uint16, u32 uint32, u64 uint64, f32 float32, f64 float64,
	) {
		v := &kinds{s, word(w), b, flag, i, i8, i16, i32, time.Duration(i64), u, u8, u16, u32, u64, f32, f64}
		in := sameAppend(t, c, v)
		want := utf8.ValidString(s) && utf8.ValidString(w)
		if got := codec.DecodeByPlan(c, in, new(kinds)); got != want {
			t.Fatalf("the plan reads what it wrote, %x: %v, want %v", in, got, want)
		}
		sameDecode(t, c, in, fullKinds(), fullKinds())
	})
}
