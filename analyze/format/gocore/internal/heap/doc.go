// Package heap reads the heap of a dead Go process: which objects there are, which of their words are pointers, and what can be
// reached from given roots.
//
// It is the runtime's own view of the heap (runtime/mheap.go, mbitmap.go, mgcmark.go of Go 1.22 to 1.26): spans of equal objects in
// arenas of 64 MB, with one of three descriptions of the pointers in an object. Objects of up to 512 bytes have a bitmap at the end
// of their span, larger ones a type in their first word, and a span with a single large object names its type. Go 1.21 had another
// scheme and is refused.
//
// What is read is complete or refused: a span that is missing would make everything behind it look unreachable.
package heap
