// Package order reads execution traces of Go 1.22 and later and tells them, event by event and in the order in which things happened, to
// a fold.Folder.
//
// A trace is a row of generations of about a second each. A generation is batches of events, at most 64 KiB, each of one thread (M), then
// the tables that the events refer to: stacks, strings, CPU samples, and the clock. Nothing in the file says in which order the events of
// two threads happened but their times, which cannot be trusted to the last nanosecond, and sequence numbers of goroutines and Ps, which
// can. The floors of the package, from below:
//
//   - wire: the table of events; frame: the batches of a file, found again after damage
//   - tables: strings, stacks, samples and clock of one generation; stacks are interned over all generations
//   - decode: the events of a batch as records
//   - stream: the events of one thread, decoded as they are needed; ahead: or before, by a thread of its own where there is a third processor
//   - merge: the next event of all threads, by time, passed over while its sequence number says that something else comes first
//   - machine: goroutines, Ps and threads, and what an event changes
//
// Where a trace is damaged the order cannot be had exactly: then the earliest event is taken by force, and counted.
//
// Sources of the facts about the format: src/internal/trace/tracev2/events.go, src/internal/trace/{reader,generation,order}.go and
// src/runtime/trace*.go of Go 1.22 to 1.26.
package order
