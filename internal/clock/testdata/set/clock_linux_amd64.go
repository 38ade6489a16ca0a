package main

import (
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

// vdsoClockgettime is where the runtime keeps the function that it asks for the time.
// The program is linked with -checklinkname=0 for it.
//
//go:linkname vdsoClockgettime runtime.vdsoClockgettimeSym
var vdsoClockgettime uintptr

// offset is by how many seconds the clock is set.
var offset int64

func addressOfGettime() uintptr

// beginSetting lets setClock set the clock of this process.
func beginSetting() { vdsoClockgettime = addressOfGettime() }

// setClock sets the system's clock, as this process sees it, by d from what it is. The
// monotonic clock goes on as it does.
func setClock(d time.Duration) { atomic.StoreInt64(&offset, int64(d/time.Second)) }
