package codec_test

import (
	"encoding/hex"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/codec/codectest"
	"github.com/linkmesh/link/internal/codecvalues"
)

func TestCBORContract(t *testing.T) {
	codectest.Run(t, codec.CBOR())
}

func TestCBORDefaults(t *testing.T) {
	c := codec.CBOR()
	if c.Name() != "cbor" || c.ID() != 0 {
		t.Fatalf("Name, ID = %q, %d; want cbor, 0", c.Name(), c.ID())
	}
}

func TestCBOREncodingIsDeterministicAndPinned(t *testing.T) {
	offset := time.FixedZone("", 3600)
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"nil", nil, "f6"},
		{"nil pointer", (*codecvalues.Small)(nil), "f6"},
		{"empty struct", &struct{}{}, "a0"},
		{"map keys are sorted by their bytes", map[string]int{"b": 1, "aa": 2, "a": 3}, "a3616103616201626161" + "02"},
		{"fields are sorted by their names' bytes", &codecvalues.Small{ID: "x"}, "a4626964617864706169" + "64f466616d6f756e740068637573746f6d657260"},
		{"integer keys", &struct {
			B int `cbor:"2,keyasint"`
			A int `cbor:"1,keyasint"`
		}{1, 2}, "a201020201"},
		{"float takes its shortest exact form", 1.5, "f93e00"},
		{"time is untagged text", time.Date(2026, 1, 2, 3, 4, 5, 60, offset), "7822" + hex.EncodeToString([]byte("2026-01-02T03:04:05.00000006+01:00"))},
	}
	c := codec.CBOR()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Append(nil, tt.value)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != tt.want {
				t.Fatalf("Append = %x, want %s", got, tt.want)
			}
		})
	}
}

func TestCBORRefusesHostileBodies(t *testing.T) {
	hexes := map[string]string{
		"no bytes":                       "",
		"trailing bytes":                 "a000",
		"truncated":                      "a1626964",
		"duplicate key into a struct":    "a26269646178626964" + "6179",
		"duplicate unknown key":          "a2617a01617a02",
		"indefinite map":                 "bfff",
		"indefinite string":              "a16269647f6178ff",
		"tag":                            "d9d9f7a0",
		"bignum":                         "c249010000000000000000",
		"invalid UTF-8":                  "a162696461ff",
		"reserved length":                "1c",
		"header claims 2^32 elements":    "9b0000000100000000",
		"header claims 2^63 bytes":       "5b8000000000000000",
		"wrong type of field":            "a162696401",
		"integer overflow":               "a166616d6f756e741bffffffffffffffff",
		"header claims 4096 pairs":       "b91000",
		"nesting of 101":                 strings.Repeat("81", 101) + "00",
		"nesting of 10000":               strings.Repeat("81", 10000) + "00",
		"unassigned simple value as map": "e0",
	}
	inputs := map[string][]byte{}
	for name, h := range hexes {
		if len(h)%2 == 1 {
			h += "0"
		}
		in, err := hex.DecodeString(h)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		inputs[name] = in
	}
	codectest.Refuses(t, codec.CBOR(), func() any { return new(codecvalues.Small) }, inputs)
	inputs["integer below int64"] = []byte{0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0}
	inputs["integer above int64"] = []byte{0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0}
	inputs["integer keys"] = []byte{0xa1, 0x01, 0x01}
	delete(inputs, "wrong type of field")
	delete(inputs, "integer overflow")
	delete(inputs, "unassigned simple value as map")
	t.Run("into any", func(t *testing.T) {
		codectest.Refuses(t, codec.CBOR(), func() any { return new(any) }, inputs)
	})
}

func TestNewCBORNamesTheLimitThatIsOutOfRange(t *testing.T) {
	tests := []struct {
		field  string
		limits codec.Limits
	}{
		{"MaxNesting", codec.Limits{MaxNesting: 3}},
		{"MaxNesting", codec.Limits{MaxNesting: 65536}},
		{"MaxExpansion", codec.Limits{MaxExpansion: -1}},
	}
	for _, tt := range tests {
		_, err := codec.NewCBOR(tt.limits)
		if !errors.Is(err, codec.ErrLimits) || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("NewCBOR(%+v) = %v, want ErrLimits naming %s", tt.limits, err, tt.field)
		}
	}
}

func TestCBORIgnoresUnknownFieldsAndMatchesExactCase(t *testing.T) {
	c := codec.CBOR()
	in, err := c.Append(nil, map[string]any{"id": "right", "ID": "wrong", "added-later": []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	var got codecvalues.Small
	if err := c.Decode(in, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "right" {
		t.Fatalf("ID = %q, want the field of exactly that name", got.ID)
	}
}

func TestCBORNullLeavesAStructAsItWas(t *testing.T) {
	got := codecvalues.Small{ID: "kept"}
	if err := codec.CBOR().Decode([]byte{0xf6}, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "kept" {
		t.Fatalf("ID = %q after null, want kept", got.ID)
	}
}

func TestCBORDecodesIntoAny(t *testing.T) {
	c := codec.CBOR()
	in, err := c.Append(nil, map[string]any{"n": map[string]any{"a": []any{1, -1, 1.5, "s", true, nil}}, "t": time.Unix(0, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := c.Decode(in, &got); err != nil {
		t.Fatal(err)
	}
	want := any(map[string]any{
		"n": map[string]any{"a": []any{int64(1), int64(-1), 1.5, "s", true, nil}},
		"t": "1970-01-01T00:00:00Z",
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

func TestCBORWillNotWriteWhatItCannotRead(t *testing.T) {
	for _, v := range []any{new(big.Int).Lsh(big.NewInt(1), 70), cbor.Tag{Number: 1, Content: 0}} {
		if out, err := codec.CBOR().Append(nil, v); err == nil {
			t.Errorf("Append(%T) = %x, want an error", v, out)
		}
	}
}

func TestErrorsNameCodecOperationAndType(t *testing.T) {
	c := codec.CBOR()
	err := c.Decode([]byte{0x01}, new(codecvalues.Small))
	var typed *codec.Error
	if !errors.As(err, &typed) {
		t.Fatalf("Decode error is %T, want *codec.Error", err)
	}
	if typed.Codec != "cbor" || typed.Op != "decode" || typed.Type != reflect.TypeFor[*codecvalues.Small]() || typed.Unwrap() == nil {
		t.Fatalf("Error = %+v", typed)
	}
	const prefix = "codec cbor: decode *codecvalues.Small: cannot unmarshal"
	if !strings.HasPrefix(err.Error(), prefix) {
		t.Fatalf("text = %q, want prefix %q", err, prefix)
	}
	if _, err := c.Append(nil, func() {}); !errors.As(err, &typed) || typed.Op != "encode" {
		t.Fatalf("Append(func) = %v, want *codec.Error of encode", err)
	}
}

func FuzzCBORDecode(f *testing.F) {
	c := codec.CBOR()
	for _, s := range codecvalues.Common() {
		in, err := c.Append(nil, s.Value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	for _, b := range bombs() {
		f.Add(b.in[:min(len(b.in), 256)])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var untyped any
		if err := c.Decode(in, &untyped); err == nil {
			again, err := c.Append(nil, untyped)
			if err != nil {
				t.Fatalf("decoded %x to %#v, which does not encode: %v", in, untyped, err)
			}
			var back any
			if err := c.Decode(again, &back); err != nil {
				t.Fatalf("re-encoding %x as %x does not decode: %v", in, again, err)
			}
		}
		var typed codecvalues.Everything
		if err := c.Decode(in, &typed); err != nil {
			return
		}
		first, err := c.Append(nil, &typed)
		if err != nil {
			// A decoded value may hold what cannot be written, such as a year beyond 9999.
			return
		}
		var second codecvalues.Everything
		if err := c.Decode(first, &second); err != nil {
			t.Fatalf("re-encoding %x as %x does not decode: %v", in, first, err)
		}
	})
}
