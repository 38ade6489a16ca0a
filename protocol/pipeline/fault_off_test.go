//go:build !faults

package pipeline_test

// knownFaultsFail says whether a fault that is known and not mended yet fails its test: see
// "Not kept yet" in docs/guarantees.md. `make faults` builds with it.
const knownFaultsFail = false
