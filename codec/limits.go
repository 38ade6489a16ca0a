package codec

import (
	"errors"
	"fmt"
	"math"
)

// Default limits of a CBOR body. A value or body beyond them is refused with a *[LimitError].
const (
	// DefaultMaxNesting is the recursion limit of protobuf's C++ and Java decoders.
	DefaultMaxNesting = 100
	// DefaultMaxExpansion lets through what people send: lists of numbers, of strings, of any and of lists
	// become 8, 16, 24 and 24 times their bytes at most, and lists of maps of one pair 50 times. A list of
	// empty maps becomes 64.
	DefaultMaxExpansion = 60
)

// FreeMemory is what every body may take in memory, whatever [Limits.MaxExpansion] says: in small messages
// a few large and mostly empty structs are common, and cost little.
const FreeMemory = 4 << 20

// ErrLimits is wrapped by the error of a constructor whose [Limits] are out of
// range.
var ErrLimits = errors.New("limit out of range")

// ErrCycle is wrapped by the error of Append for a value that holds itself, by pointers, maps, slices or
// interfaces: it has no encoding.
var ErrCycle = errors.New("the value holds itself")

// Limits bound what Decode accepts and what Append writes: both check them, so that a sender learns at home
// what its receiver would refuse. There is no limit on the number of elements: a body is bounded by its bytes
// and by the memory that they become. The zero value is the defaults.
type Limits struct {
	// MaxNesting is how deep arrays, maps and structs may nest, 4 to 65535.
	// Zero means [DefaultMaxNesting].
	MaxNesting int

	// MaxExpansion is how many bytes of memory each byte of a body may become in the destination, 1 to
	// 2147483647. Zero means [DefaultMaxExpansion]. [FreeMemory] is always allowed. The memory is estimated
	// from the types before anything is decoded; it counts what Decode allocates, not what v was before.
	MaxExpansion int
}

// LimitError says which limit a value or body goes beyond, and by how much.
type LimitError struct {
	// Limit is the name of the field of [Limits].
	Limit string
	// Max is the value of the field.
	Max int
	// Got is what the value or body has: levels, or bytes of memory for each of its own, rounded up. Of a
	// value that nests very deep, and of a body, it is at least that.
	Got int64
}

// Error returns "nests 101 levels, Limits.MaxNesting is 100".
func (e *LimitError) Error() string {
	if e.Limit == limitExpansion {
		return fmt.Sprintf("takes %d bytes of memory for each of its own when it is decoded, Limits.%s is %d", e.Got, e.Limit, e.Max)
	}
	return fmt.Sprintf("nests %d levels, Limits.%s is %d", e.Got, e.Limit, e.Max)
}

// The names of the fields of Limits.
const (
	limitNesting   = "MaxNesting"
	limitExpansion = "MaxExpansion"
)

// Ranges of the fields. The first is the CBOR library's.
const (
	lowestNesting    = 4
	highestNesting   = 65535
	lowestExpansion  = 1
	highestExpansion = math.MaxInt32
)

func (l Limits) withDefaults() Limits {
	if l.MaxNesting == 0 {
		l.MaxNesting = DefaultMaxNesting
	}
	if l.MaxExpansion == 0 {
		l.MaxExpansion = DefaultMaxExpansion
	}
	return l
}

func (l Limits) validate() error {
	return errors.Join(
		within(limitNesting, l.MaxNesting, lowestNesting, highestNesting),
		within(limitExpansion, l.MaxExpansion, lowestExpansion, highestExpansion),
	)
}

func within(field string, value, lowest, highest int) error {
	if value < lowest || value > highest {
		return fmt.Errorf("codec: Limits.%s is %d, want 0 or %d to %d: %w", field, value, lowest, highest, ErrLimits)
	}
	return nil
}

// memory is what a body of n bytes may take in memory.
func (l Limits) memory(n int) int64 { return max(FreeMemory, int64(n)*int64(l.MaxExpansion)) }
