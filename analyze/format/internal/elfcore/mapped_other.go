//go:build !unix && !windows

package elfcore

import (
	"fmt"
	"io"
	"os"
)

// mapFile reads size bytes of f into memory, for systems that cannot map files.
func mapFile(f *os.File, size int64) (data []byte, unmap func() error, err error) {
	data = make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), data); err != nil {
		return nil, nil, fmt.Errorf("reading %d bytes: %w", size, err)
	}
	return data, func() error { return nil }, nil
}
