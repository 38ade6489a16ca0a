package main

import (
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

// vdsoClockgettime is the runtime's pointer to the function that returns the time. Access
// to it requires that the program is linked with -checklinkname=0.
//
//go:linkname vdsoClockgettime runtime.vdsoClockgettimeSym
var vdsoClockgettime uintptr

// offset is the number of seconds by which the clock is set forward.
var offset int64

func addressOfGettime() uintptr

// beginSetting enables setClock in this process.
func beginSetting() { vdsoClockgettime = addressOfGettime() }

// setClock sets the system's clock, as this process sees it, to d after the real time. The
// monotonic clock is not affected.
func setClock(d time.Duration) { atomic.StoreInt64(&offset, int64(d/time.Second)) }
