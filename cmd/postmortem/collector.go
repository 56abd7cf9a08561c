package main

import (
	"io"
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
	// collectTrace is the GOGC for an execution trace, whose live heap is 10 to 35 MB however long it is: four times that would be most of
	// the memory, and saves nothing.
	collectTrace = 100
)

// tuneCollector trades time for memory when the input is large, and memory for time when it is not. A GOGC that the user has set stays.
func tuneCollector(files []string) {
	var size int64
	trace := false
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			size += info.Size()
			trace = trace || info.Mode().IsRegular() && beginsTrace(name)
		}
	}
	switch {
	case os.Getenv("GOGC") != "":
	case trace:
		debug.SetGCPercent(collectTrace)
	case size >= largeInput:
		debug.SetGCPercent(collectOften)
	default:
		debug.SetGCPercent(collectSeldom)
	}
}

// beginsTrace reports whether a file begins as execution traces do. It is a guess about memory; the readers look for themselves.
func beginsTrace(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	const magic = "go 1."
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == magic
}
