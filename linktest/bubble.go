package linktest

import (
	"bytes"
	"runtime"
)

// inBubble reports whether the caller runs in a testing/synctest bubble. Package
// synctest has no function for that; it only panics outside of a bubble. The
// runtime reports it in the first line of a stack trace:
// "goroutine 7 [running, synctest bubble 1]:".
func inBubble() bool {
	buf := make([]byte, 256)
	line, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("\n"))
	return bytes.Contains(line, []byte("synctest bubble"))
}
