package codec_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
	"github.com/linkmesh/link/internal/race"
)

type payload struct{ Payload []byte }

type word string

// kinds has a field of each kind that a plan can encode, and as many fields as a plan may have.
type kinds struct {
	Text  string
	Word  word
	Bytes []byte
	Bool  bool
	I     int
	I8    int8
	I16   int16
	I32   int32
	I64   time.Duration
	U     uint
	U8    uint8
	U16   uint16
	U32   uint32
	U64   uint64
	F32   float32
	F64   float64
}

// tagged has keys of each form. Their order differs from the order of the fields.
type tagged struct {
	_       struct{}
	Long    string `cbor:"a name of more than twenty-three bytes"`
	Neg     int    `cbor:"-300,keyasint"`
	Zero    bool   `cbor:"0,keyasint"`
	Big     uint8  `cbor:"70000,keyasint"`
	JSON    []byte `json:"j"`
	Both    string `cbor:"c" json:"-"`
	Dash    int16  `cbor:"-,"`
	Plain   bool   `cbor:","`
	Ignored string `json:"-"`
	hidden  string
}

func fullKinds() *kinds {
	return &kinds{
		Text: "Zoë", Word: "w", Bytes: []byte("bytes"), Bool: true,
		I: -1, I8: math.MinInt8, I16: math.MaxInt16, I32: math.MinInt32, I64: math.MinInt64,
		U: 23, U8: 24, U16: math.MaxUint16, U32: math.MaxUint32, U64: math.MaxUint64, F32: 0.1, F64: 0.1,
	}
}

func fullTagged() *tagged {
	return &tagged{Long: "l", Neg: -5, Zero: true, Big: 200, JSON: []byte{}, Both: "b", Dash: 1 << 12, Plain: true, Ignored: "i", hidden: "h"}
}

func diffKinds(want, got any) string {
	sameBits := cmp.Options{
		cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
		cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }),
		cmp.AllowUnexported(tagged{}),
	}
	return cmp.Diff(want, got, sameBits)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPlanWritesWhatTheLibraryWrites(t *testing.T) {
	values := []any{
		new(kinds), fullKinds(), new(tagged), fullTagged(), new(struct{}),
		&payload{}, &payload{[]byte{}},
		&kinds{Text: "\xff", F32: float32(math.NaN()), F64: math.NaN()},
		&kinds{F32: float32(math.Inf(1)), F64: math.Inf(-1)},
		&kinds{F32: float32(math.Copysign(0, -1)), F64: math.Copysign(0, -1)},
		&kinds{F32: math.SmallestNonzeroFloat32, F64: math.SmallestNonzeroFloat64},
		&kinds{F32: math.MaxFloat32, F64: math.MaxFloat64},
		&codecvalues.Small{ID: "o-1", Customer: "c", Amount: math.MinInt64},
	}
	for _, n := range []int{1, 23, 24, 255, 256, 65535, 65536} {
		values = append(values, &payload{make([]byte, n)}, &codecvalues.Small{ID: string(make([]byte, n))})
		values = append(values, &kinds{I: n, I32: int32(-n), I64: time.Duration(-n - 1), U64: uint64(n), U32: uint32(n), F64: float64(n), F32: float32(-n)})
	}
	for _, n := range []uint64{math.MaxUint32 - 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, math.MaxInt64 + 1} {
		values = append(values, &kinds{U64: n, I64: time.Duration(n), F64: float64(n)})
	}
	c := codec.CBOR()
	for _, v := range values {
		sameAppend(t, c, v)
	}
}

// sameAppend checks that Append encodes v as the library does, and returns the encoding.
func sameAppend(t *testing.T, c codec.Codec, v any) []byte {
	t.Helper()
	if !codec.HasPlan(c, v) {
		t.Fatalf("%T has no plan", v)
	}
	want, err := codec.Library(c).Append([]byte("prefix"), v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Append([]byte("prefix"), v)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Append(%+v) = %x, the library's is %x", v, got, want)
	}
	return got[len("prefix"):]
}

// sameDecode checks that Decode of in into got has the same effect as the library on
// want, which must be equal to got, and retains nothing of in.
func sameDecode[T any](t *testing.T, c codec.Codec, in []byte, got, want *T) {
	t.Helper()
	mine := bytes.Clone(in)
	gotErr, wantErr := c.Decode(mine, got), codec.Library(c).Decode(in, want)
	if text(gotErr) != text(wantErr) {
		t.Fatalf("Decode(%x) into %T: %v, the library says %v", in, got, gotErr, wantErr)
	}
	if gotErr != nil {
		return
	}
	for i := range mine {
		mine[i] ^= 0xff
	}
	if diff := diffKinds(want, got); diff != "" {
		t.Fatalf("Decode(%x) (-library +got):\n%s", in, diff)
	}
}

func TestPlanReadsWhatItWrites(t *testing.T) {
	c := codec.CBOR()
	for _, v := range []*kinds{{}, fullKinds(), {F32: 1.5, F64: math.Pi}, {F64: math.NaN(), F32: float32(math.Inf(-1))}} {
		in := sameAppend(t, c, v)
		if !codec.DecodeByPlan(c, in, new(kinds)) {
			t.Fatalf("%x took the library", in)
		}
		sameDecode(t, c, in, fullKinds(), fullKinds())
	}
	in := sameAppend(t, c, fullTagged())
	if !codec.DecodeByPlan(c, in, new(tagged)) {
		t.Fatalf("%x took the library", in)
	}
	sameDecode(t, c, in, new(tagged), new(tagged))
}

func TestPlanReadsEveryOneByteChangeAsTheLibraryDoes(t *testing.T) {
	c := codec.CBOR()
	bodies := [][]byte{sameAppend(t, c, fullKinds()), sameAppend(t, c, new(kinds))}
	step := 1
	if race.Enabled {
		// All values are tried without the race detector.
		step = 7
	}
	for _, body := range bodies {
		for n := range body {
			sameDecode(t, c, body[:n], fullKinds(), fullKinds())
			for b := 0; b < 256; b += step {
				in := bytes.Clone(body)
				in[n] = byte(b)
				sameDecode(t, c, in, fullKinds(), fullKinds())
			}
		}
	}
}

func TestPlanLeavesSurprisesToTheLibrary(t *testing.T) {
	type order struct {
		A int8
		B []byte
		C string
		D float32
	}
	tests := []struct {
		name string
		in   string
		plan bool
	}{
		{"as written", "a4" + "614101" + "614241ff" + "61436178" + "6144f93c00", true},
		{"null bytes", "a4" + "614101" + "6142f6" + "61436178" + "6144f93c00", true},
		{"empty bytes", "a4" + "614101" + "614240" + "61436178" + "6144f93c00", true},
		{"undefined bytes", "a4" + "614101" + "6142f7" + "61436178" + "6144f93c00", false},
		{"null integer", "a4" + "6141f6" + "614241ff" + "61436178" + "6144f93c00", false},
		{"null string", "a4" + "614101" + "614241ff" + "6143f6" + "6144f93c00", false},
		{"other order", "a4" + "614241ff" + "614101" + "61436178" + "6144f93c00", false},
		{"map with longer head", "b804" + "614101" + "614241ff" + "61436178" + "6144f93c00", false},
		{"integer with longer head", "a4" + "61411801" + "614241ff" + "61436178" + "6144f93c00", false},
		{"bytes with longer head", "a4" + "614101" + "61425801ff" + "61436178" + "6144f93c00", false},
		{"key with longer head", "a4" + "78014101" + "614241ff" + "61436178" + "6144f93c00", false},
		{"bytes of 2^63", "a4" + "614101" + "61425b8000000000000000", false},
		{"array into bytes", "a4" + "614101" + "614281" + "07" + "61436178" + "6144f93c00", false},
		{"integer overflow", "a4" + "61411880" + "614241ff" + "61436178" + "6144f93c00", false},
		{"integer into float", "a4" + "614101" + "614241ff" + "61436178" + "614401", false},
		{"float that could be shorter", "a4" + "614101" + "614241ff" + "61436178" + "6144fa3f800000", false},
		{"double into a float32", "a4" + "614101" + "614241ff" + "61436178" + "6144fb3fb999999999999a", false},
		{"double beyond a float32", "a4" + "614101" + "614241ff" + "61436178" + "6144fb7fefffffffffffff", false},
		{"NaN with a payload", "a4" + "614101" + "614241ff" + "61436178" + "6144f97e01", false},
		{"invalid UTF-8", "a4" + "614101" + "614241ff" + "614361ff" + "6144f93c00", false},
		{"indefinite string", "a4" + "614101" + "614241ff" + "61437f6178ff" + "6144f93c00", false},
		{"unknown field behind", "a5" + "614101" + "614241ff" + "61436178" + "6144f93c00" + "614500", false},
		{"missing field", "a3" + "614101" + "614241ff" + "61436178", false},
		{"duplicate field", "a4" + "614101" + "614241ff" + "61436178" + "614102", false},
		{"other case", "a4" + "616101" + "614241ff" + "61436178" + "6144f93c00", false},
		{"tag", "a4" + "6141c101" + "614241ff" + "61436178" + "6144f93c00", false},
		{"trailing byte", "a4" + "614101" + "614241ff" + "61436178" + "6144f93c00" + "00", false},
		{"truncated", "a4" + "614101" + "614241ff" + "61436178" + "6144f93c", false},
		{"null", "f6", false},
		{"nothing", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := hex.DecodeString(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			c := codec.CBOR()
			if got := codec.DecodeByPlan(c, in, new(order)); got != tt.plan {
				t.Fatalf("read by the plan: %v, want %v", got, tt.plan)
			}
			filled := func() *order { return &order{A: 9, B: []byte("old"), C: "old", D: 9} }
			sameDecode(t, c, in, filled(), filled())
		})
	}
}

func TestPlanHandlesEveryHalfAndItsNeighbors(t *testing.T) {
	c := codec.CBOR()
	type floats struct {
		A float32
		B float64
	}
	step := 1
	if race.Enabled {
		// All values are tried without the race detector.
		step = 31
	}
	for half := 0; half < 1<<16; half += step {
		in := []byte{0xa2, 0x61, 'A', 0xf9, byte(half >> 8), byte(half), 0x61, 'B', 0xf9, byte(half >> 8), byte(half)}
		got, want := new(floats), new(floats)
		sameDecode(t, c, in, got, want)
		single, double := math.Float32bits(got.A), math.Float64bits(got.B)
		for _, step := range []int{-1, 0, 1} {
			sameAppend(t, c, &floats{math.Float32frombits(single + uint32(step)), math.Float64frombits(double + uint64(step))})
		}
	}
}

func TestDecodeLeavesTheStorageOfADestinationAlone(t *testing.T) {
	c := codec.CBOR()
	in := sameAppend(t, c, &payload{[]byte("new")})
	kept := []byte("old bytes")
	v := &payload{kept}
	if err := c.Decode(in, v); err != nil {
		t.Fatal(err)
	}
	if string(v.Payload) != "new" || string(kept) != "old bytes" {
		t.Fatalf("Payload = %q and the storage it replaces %q, want new and old bytes", v.Payload, kept)
	}
}

func TestPlanAllocatesOnlyWhatItsFieldsNeed(t *testing.T) {
	c := codec.CBOR()
	v := &payload{make([]byte, 64)}
	dst := make([]byte, 0, 256)
	in := sameAppend(t, c, v)
	numbers := &kinds{U64: 1 << 40}
	checks := []struct {
		name string
		want float64
		call func() error
	}{
		{"Append with room", 0, func() error { _, err := c.Append(dst, v); return err }},
		{"Append of numbers to nil", 1, func() error { _, err := c.Append(nil, numbers); return err }},
		{"Decode", 1, func() error { return c.Decode(in, v) }},
	}
	for _, check := range checks {
		got := testing.AllocsPerRun(1000, func() {
			if err := check.call(); err != nil {
				t.Fatal(err)
			}
		})
		if got != check.want {
			t.Errorf("%s allocates %v times, want %v", check.name, got, check.want)
		}
	}
}

func TestPlansAreCompiledConcurrently(t *testing.T) {
	c := codec.CBOR()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			in, err := c.Append(nil, fullKinds())
			if err != nil {
				t.Error(err)
				return
			}
			got := new(kinds)
			if err := c.Decode(in, got); err != nil {
				t.Error(err)
				return
			}
			if diff := diffKinds(fullKinds(), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
}
