// Package legacy reads execution traces of Go 1.11 to 1.21 and tells them to a fold.Folder, as package order does with newer ones.
//
// These traces are read by golang.org/x/exp/trace, which takes them into memory whole: an event of four bytes in the file becomes one of
// 64. A scan of the raw events comes first (scan.go): it refuses what would take too much memory, what is cut off, and what that reader
// cannot survive.
//
// Sources of the facts about the format: src/runtime/trace.go of Go 1.11 to 1.21, and golang.org/x/exp/trace.
package legacy
