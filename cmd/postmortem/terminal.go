package main

import (
	"io"
	"os"

	"github.com/charmbracelet/x/term"
)

// maxWidth bounds lines on wide terminals: longer ones are hard to read.
const maxWidth = 110

// terminal reports whether w is a terminal, and how many columns a report should use on it (0: not known).
func terminal(w io.Writer) (tty bool, width int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(f.Fd()) {
		return false, 0
	}
	columns, _, err := term.GetSize(f.Fd())
	if err != nil {
		return true, 0
	}
	return true, min(columns, maxWidth)
}
