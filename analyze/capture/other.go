//go:build !linux || !(amd64 || arm64)

package capture

import (
	"context"
	"os/exec"
)

const elsewhere = "on this system take a goroutine dump instead: kill -QUIT, or GOTRACEBACK=all"

// Supported reports whether this system can capture processes.
func Supported() bool { return false }

// Process fails: this system cannot capture.
func Process(_ context.Context, pid int, _ string, _ Progress) (*Core, error) {
	return nil, &Error{pid, "capturing it", ErrUnsupported, elsewhere}
}

// Crash fails: this system cannot capture.
func Crash(_ context.Context, cmd *exec.Cmd, _, _ string) (*Dying, error) {
	if err := startable(cmd); err != nil {
		return nil, &Error{0, "starting it", err, ""}
	}
	return nil, &Error{0, "capturing its crash", ErrUnsupported, elsewhere}
}
