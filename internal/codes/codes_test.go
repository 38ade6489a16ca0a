package codes_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/codes"
)

// TestTheTableIsThatOfGRPC holds the names as the specification of gRPC lists them
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
func TestTheTableIsThatOfGRPC(t *testing.T) {
	//nolint:misspell // gRPC's spelling
	specified := strings.Fields(`OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
		PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE
		DATA_LOSS UNAUTHENTICATED`)
	if len(specified) != int(codes.Highest)+1 {
		t.Fatalf("%d names, want %d", len(specified), int(codes.Highest)+1)
	}
	for i, want := range specified {
		if got := codes.Upper(uint32(i)); got != want {
			t.Errorf("code %d is %s, want %s", i, got, want)
		}
		lower := strings.ToLower(want)
		if i == 1 {
			lower = "canceled" // as link spells it
		}
		if got := codes.Words(uint32(i)); got != strings.ReplaceAll(lower, "_", " ") {
			t.Errorf("code %d is %q in words, want those of %s", i, got, want)
		}
		got, ok := codes.Number(lower)
		if want := i > 0; ok != want || ok && got != uint32(i) {
			t.Errorf("Number(%s) = %d, %v, want %d, %v", lower, got, ok, i, want)
		}
	}
	if names := codes.Names(); len(names) != int(codes.Highest) || names[0] != "canceled" || names[4] != "not_found" {
		t.Errorf("the names are %q", names)
	}
}

func TestACodeWithoutANameIsANumber(t *testing.T) {
	if got := codes.Words(17); got != "code 17" {
		t.Errorf("Words(17) = %q", got)
	}
	if got := codes.Upper(17); got != "17" {
		t.Errorf("Upper(17) = %q", got)
	}
	if _, ok := codes.Number("code_17"); ok {
		t.Error("code_17 is a code")
	}
}

// TestNamesAllocateNothing: each span has the name of a code.
func TestNamesAllocateNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		for code := range codes.Highest + 1 {
			_, _ = codes.Words(code), codes.Upper(code)
		}
		_, _ = codes.Number("unauthenticated")
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
