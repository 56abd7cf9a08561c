// Package godump reads goroutine dumps in text: what a Go process prints when it crashes, panics, hits a fatal error or gets
// SIGQUIT, and what net/http/pprof and runtime.Stack print, alone in a file or in the middle of a log. It knows the text of
// Go 1.21 to 1.26 (runtime/traceback.go, panic.go, signal_unix.go, error.go).
//
// The text is read twice, both times as a stream. The first pass finds where dumps begin and end, because a log may hold
// several and only one of them is the incident; the second reads that one. Memory grows with the number of goroutines (about
// 30 bytes each) and with what is distinct, not with the length of the text.
//
// The reader is forgiving: what it cannot read becomes a Gap with its line, and the rest is kept.
package godump
