package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// machineFacts returns what a reader needs to know about the machine that
// figures come from, one fact per line.
func machineFacts() []string {
	return []string{
		fmt.Sprintf("CPU: %s, %d cores, GOMAXPROCS %d", cpuModel(), runtime.NumCPU(), runtime.GOMAXPROCS(0)),
		fmt.Sprintf("system: %s/%s, kernel %s", runtime.GOOS, runtime.GOARCH, procValue("/proc/sys/kernel/osrelease")),
		"Go: " + runtime.Version(),
		fmt.Sprintf("UDP: GSO %s, rmem_max %s, wmem_max %s", segmentation(),
			procValue("/proc/sys/net/core/rmem_max"), procValue("/proc/sys/net/core/wmem_max")),
	}
}

// segmentation returns whether QUIC can pass many packets to the kernel at once
// (GSO), as text.
func segmentation() string {
	switch {
	case os.Getenv("QUIC_GO_DISABLE_GSO") != "":
		return "off by QUIC_GO_DISABLE_GSO"
	case kernelSegmentsUDP():
		return "on"
	default:
		return "not in this kernel"
	}
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// procValue returns the trimmed content of a file, or "unknown".
func procValue(file string) string {
	b, err := os.ReadFile(file) //nolint:gosec // the callers' constants
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
