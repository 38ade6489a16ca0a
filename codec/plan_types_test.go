package codec_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/linkmesh/link/codec"
)

func TestPlansAreForPlainStructs(t *testing.T) {
	type embedded struct{ payload }
	type nested struct{ A payload }
	type option struct {
		A int `cbor:"a,omitempty"`
	}
	type seventeen struct {
		A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q bool
	}
	type array struct {
		_ struct{} `cbor:",toarray"`
		A int
	}
	var nilPayload *payload
	tests := []struct {
		name  string
		value any
		want  bool
	}{
		{"every kind", new(kinds), true},
		{"tags", new(tagged), true},
		{"one field", new(payload), true},
		{"no field", new(struct{}), true},
		{"sixteen fields and more that do not travel", &struct {
			A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P bool
			q                                              func()
			R                                              func() `json:"-"`
		}{}, true},
		{"nil", nil, false},
		{"nil pointer", nilPayload, false},
		{"a struct itself", payload{}, false},
		{"pointer to pointer", &nilPayload, false},
		{"pointer to string", new(string), false},
		{"embedded struct", new(embedded), false},
		{"nested struct", new(nested), false},
		{"slice", &struct{ A []string }{}, false},
		{"slice of a named byte", &struct{ A []simple }{}, false},
		{"array", &struct{ A [4]byte }{}, false},
		{"map", &struct{ A map[string]string }{}, false},
		{"pointer", &struct{ A *int }{}, false},
		{"interface", &struct{ A any }{}, false},
		{"uintptr", &struct{ A uintptr }{}, false},
		{"function", &struct{ A func() }{}, false},
		{"time", new(time.Time), false},
		{"field of time", &struct{ A time.Time }{}, false},
		{"field with TextMarshaler", &struct{ A textual }{}, false},
		{"field with TextUnmarshaler", &struct{ A textRead }{}, false},
		{"field with BinaryMarshaler", &struct{ A binaryWritten }{}, false},
		{"struct with cbor.Marshaler", new(selfMade), false},
		{"raw CBOR", &struct{ A cbor.RawMessage }{}, false},
		{"simple value", &struct{ A cbor.SimpleValue }{}, false},
		{"text as bytes", &struct{ A cbor.ByteString }{}, false},
		{"option", new(option), false},
		{"unknown option", &struct {
			A int `json:"a,string"`
		}{}, false},
		{"integer key that is none", &struct {
			A int `cbor:"a,keyasint"`
		}{}, false},
		{"key that no decoder takes", &struct {
			A int "cbor:\"\\xff\""
		}{}, false},
		{"two fields of one name", &struct {
			A int `cbor:"x"`
			B int `cbor:"x"`
		}{}, false},
		{"seventeen fields", new(seventeen), false},
		{"struct as array", new(array), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := codec.CBOR()
			if got := codec.HasPlan(c, tt.value); got != tt.want {
				t.Fatalf("HasPlan(%T) = %v, want %v", tt.value, got, tt.want)
			}
			got, gotErr := c.Append(nil, tt.value)
			want, wantErr := codec.Library(c).Append(nil, tt.value)
			if !bytes.Equal(got, want) || text(gotErr) != text(wantErr) {
				t.Fatalf("Append = %x, %v; the library's is %x, %v", got, gotErr, want, wantErr)
			}
		})
	}
}

type (
	simple        byte
	textual       string
	textRead      string
	binaryWritten string
	selfMade      struct{ A int }
)

func (textual) MarshalText() ([]byte, error)         { return []byte("t"), nil }
func (*textRead) UnmarshalText([]byte) error         { return nil }
func (binaryWritten) MarshalBinary() ([]byte, error) { return []byte("b"), nil }
func (selfMade) MarshalCBOR() ([]byte, error)        { return []byte{0}, nil }
