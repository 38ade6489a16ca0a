package codec

import (
	"errors"
	"fmt"
)

// Default limits of a CBOR body. A body beyond them is refused with an *[Error].
const (
	DefaultMaxNesting = 16
	DefaultMaxArray   = 16384
	DefaultMaxPairs   = 4096
)

// ErrLimits is wrapped by the error of a constructor whose [Limits] are out of
// range.
var ErrLimits = errors.New("limit out of range")

// Limits bound what Decode accepts. They do not bind Append: a sender that
// exceeds them gets the receiver's error. The zero value is the defaults.
type Limits struct {
	// MaxNesting is how deep arrays and maps may nest, 4 to 65535.
	// Zero means [DefaultMaxNesting].
	MaxNesting int

	// MaxArray is how many elements one array may have, 16 to 2147483647.
	// Zero means [DefaultMaxArray]. Byte strings are not arrays.
	MaxArray int

	// MaxPairs is how many pairs one map may have, 16 to 2147483647; a struct is
	// a map. Zero means [DefaultMaxPairs].
	MaxPairs int
}

// Ranges the CBOR library accepts.
const (
	lowestNesting  = 4
	highestNesting = 65535
	lowestCount    = 16
	highestCount   = 1<<31 - 1
)

func (l Limits) withDefaults() Limits {
	if l.MaxNesting == 0 {
		l.MaxNesting = DefaultMaxNesting
	}
	if l.MaxArray == 0 {
		l.MaxArray = DefaultMaxArray
	}
	if l.MaxPairs == 0 {
		l.MaxPairs = DefaultMaxPairs
	}
	return l
}

func (l Limits) validate() error {
	return errors.Join(
		within("MaxNesting", l.MaxNesting, lowestNesting, highestNesting),
		within("MaxArray", l.MaxArray, lowestCount, highestCount),
		within("MaxPairs", l.MaxPairs, lowestCount, highestCount),
	)
}

func within(field string, value, lowest, highest int) error {
	if value < lowest || value > highest {
		return fmt.Errorf("codec: Limits.%s is %d, want 0 or %d to %d: %w", field, value, lowest, highest, ErrLimits)
	}
	return nil
}
