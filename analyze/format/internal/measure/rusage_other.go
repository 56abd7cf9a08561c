//go:build !linux

package measure

import "os"

// Elsewhere time is measured and memory is not.

func maxRSS(*os.ProcessState) uint64 { return 0 }

func anonymous(int) uint64 { return 0 }

// Available is how many bytes of memory a new process can have without swapping; 0 when it is not known.
func Available() uint64 { return 0 }
