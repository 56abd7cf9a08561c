package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// maxRSS is the peak of resident memory in bytes; getrusage(2) counts kilobytes.
func maxRSS(state *os.ProcessState) uint64 {
	if use, ok := state.SysUsage().(*syscall.Rusage); ok {
		return uint64(use.Maxrss) << 10
	}
	return 0
}

// anonymous is the memory that a process has for itself now, in bytes: RssAnon of proc_pid_status(5). Pages of mapped files,
// which maxRSS counts too, are the kernel's cache and can be dropped at any time.
func anonymous(pid int) uint64 {
	return kilobytes(fmt.Sprintf("/proc/%d/status", pid), "RssAnon:")
}

// Available is how many bytes of memory a new process can have without swapping: MemAvailable of proc_meminfo(5).
func Available() uint64 { return kilobytes("/proc/meminfo", "MemAvailable:") }

// kilobytes reads a line of a file such as /proc/meminfo, in bytes; 0 when there is none.
func kilobytes(path, key string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	_, rest, found := bytes.Cut(text, []byte("\n"+key))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}
