// Package layout knows where the fields of the Go runtime's structs are and where its global variables live.
//
// A core file holds the runtime's memory without any description of it. The layouts move with every release
// (runtime.g has 408, 424, 432, 440, 440 and 456 bytes in Go 1.21 to 1.26), and a layout of the wrong release does not
// fail: it reads a neighbouring field. So a Layout is keyed by the runtime's version and architecture, and comes from
// one of two places: the executable's own DWARF (FromELF), or a table generated from the DWARF of programs built
// with each toolchain (For). A version for which there is no table is refused with UnknownVersionError.
//
// Addresses of globals come from the symbol table (FromSymbols) or, for a stripped executable, from the machine code
// of runtime functions that refer to them (Recover).
//
// The tables are text, one file for each version and architecture, made by the command in the folder gen.
package layout

//go:generate go run ./gen -out tables
