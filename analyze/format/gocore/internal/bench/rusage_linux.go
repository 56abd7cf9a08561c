package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := bytes.Cut(status, []byte("\nRssAnon:"))
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

// ownCPU is the CPU that this process has used, user and system time.
func ownCPU() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
