package elfcore

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapFile maps size bytes of f for reading. Closing f does not end the mapping.
func mapFile(f *os.File, size int64) (data []byte, unmap func() error, err error) {
	mapping, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READONLY,
		uint32(uint64(size)>>32), uint32(size), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a mapping of %d bytes: %w", size, err)
	}
	// The view keeps the mapping object alive, so its handle is not needed any longer.
	defer windows.CloseHandle(mapping) //nolint:errcheck // nothing can be done about it
	addr, err := windows.MapViewOfFile(mapping, windows.FILE_MAP_READ, 0, 0, uintptr(size))
	if err != nil {
		return nil, nil, fmt.Errorf("mapping a view of %d bytes: %w", size, err)
	}
	// The address is not of Go's heap; going through its own address keeps vet's rule on uintptr.
	base := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	data = unsafe.Slice((*byte)(base), int(size))
	return data, func() error { return windows.UnmapViewOfFile(addr) }, nil
}
