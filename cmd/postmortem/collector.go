package main

import (
	"os"
	"runtime/debug"
)

const (
	// largeInput is the size, in bytes, from which a core may hold a million goroutines, whose columns are to fit into 64 MB.
	largeInput = 2 << 30
	// collectOften is the GOGC for such a core: its heap is columns without pointers, which are cheap to collect. For smaller ones
	// it would cost a third more processor time and save nothing that counts.
	collectOften = 15
	// collectSeldom is the GOGC for all others, whose heap stays below some tens of megabytes: it saves a twentieth of the time.
	collectSeldom = 400
)

// tuneCollector trades time for memory when the input is large, and memory for time when it is not. A GOGC that the user has set stays.
func tuneCollector(files []string) {
	var size int64
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			size += info.Size()
		}
	}
	switch {
	case os.Getenv("GOGC") != "":
	case size >= largeInput:
		debug.SetGCPercent(collectOften)
	default:
		debug.SetGCPercent(collectSeldom)
	}
}
