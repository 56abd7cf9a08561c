//go:build unix

package unpack

import (
	"os"
	"syscall"
)

// blocksOf gives the bytes that a file takes on disk.
func blocksOf(f *os.File) (int64, bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Blocks * 512, true
}
