package linktest

import (
	"bytes"
	"runtime"
)

// inBubble reports whether the caller runs in a testing/synctest bubble. The
// package says so only by panicking outside of one, the runtime in the first line
// of a stack: "goroutine 7 [running, synctest bubble 1]:".
func inBubble() bool {
	buf := make([]byte, 256)
	line, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("\n"))
	return bytes.Contains(line, []byte("synctest bubble"))
}
