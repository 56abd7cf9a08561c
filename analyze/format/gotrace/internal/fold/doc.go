// Package fold turns the course of a trace, told event by event and in order, into an evidence.Timeline. It keeps no events: its memory
// is bounded by the goroutines alive, by the distinct stacks, and by the tables of what stands out.
//
// Who reads a trace (package order for Go 1.22 and later, package legacy for older ones) knows the wire format and the order of
// events; it calls the methods of a Folder. A Folder trusts nobody: calls that do not fit the state of a goroutine (a damaged trace) are
// taken as they come and never fail.
package fold
