// Package unpack turns compressed files into plain ones: gzip, zstd, lz4 (frames and the legacy form) and xz, recognised
// by their first bytes and never by their name.
//
// Open unpacks into a temporary file that has no name any more, so that a core can be mapped. Runs of zeroes become
// holes: a core of gcore with 1.2 GB of address space takes a few megabytes of disk. A file that was cut off gives what
// could be unpacked and the reason for the rest. A bomb is refused with its ratio.
package unpack
