package codec

import (
	"errors"
	"fmt"
	"math"
)

// Default limits of a CBOR body. A value or body that exceeds them is refused with a *[LimitError].
const (
	// defaultMaxNesting is the recursion limit of protobuf's C++ and Java decoders.
	defaultMaxNesting = 100
	// defaultMaxExpansion admits common messages: lists of numbers, of strings, of any and of lists become at
	// most 8, 16, 24 and 24 times their bytes, and lists of maps of one pair 50 times. A list of empty maps,
	// which becomes 64 times its bytes, exceeds it.
	defaultMaxExpansion = 60
)

// freeMemory is how many bytes of memory every body may take, regardless of [Limits.MaxExpansion].
const freeMemory = 4 << 20

// ErrLimits is wrapped by the error of a constructor whose [Limits] are out of
// range.
var ErrLimits = errors.New("limit out of range")

// errCycle is wrapped by the error for a value that contains itself, through pointers, maps, slices or interfaces.
// Such a value has no encoding.
var errCycle = errors.New("the value holds itself")

// Limits bounds what Decode accepts and what Append writes. Both check it, so that a message that its receiver
// would refuse fails at its sender. There is no limit on the number of elements: a body is bounded by its bytes
// and by the memory that they become. The zero value means the defaults.
type Limits struct {
	// MaxNesting is how deep arrays, maps and structs may nest, from 4 to 65535.
	// Zero means 100.
	MaxNesting int

	// MaxExpansion is how many bytes of memory each byte of a body may become in the destination, from 1 to
	// 2147483647. Zero means 60. 4 MiB are always allowed, because small messages often have a few large and
	// mostly empty structs. The memory is estimated from the types before anything is decoded. It counts what
	// Decode allocates, not what v took before.
	MaxExpansion int
}

// LimitError says which limit a value or body exceeds, and by how much.
type LimitError struct {
	// Limit is the name of the field of [Limits].
	Limit string
	// Max is the value of the field.
	Max int
	// Got is the number of levels, or of bytes of memory for each byte of the body, rounded up. For a value
	// that nests very deep, and for a body, it is a lower bound.
	Got int64
}

// Error returns a text such as "nests 101 levels, Limits.MaxNesting is 100".
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

// Ranges of the fields of Limits. The CBOR library prescribes that of MaxNesting.
const (
	lowestNesting    = 4
	highestNesting   = 65535
	lowestExpansion  = 1
	highestExpansion = math.MaxInt32
)

func (l Limits) withDefaults() Limits {
	if l.MaxNesting == 0 {
		l.MaxNesting = defaultMaxNesting
	}
	if l.MaxExpansion == 0 {
		l.MaxExpansion = defaultMaxExpansion
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

// memory returns how many bytes of memory a body of n bytes may take.
func (l Limits) memory(n int) int64 { return max(freeMemory, int64(n)*int64(l.MaxExpansion)) }
