package main

import (
	"cmp"
	"io"
	"os"
	"strings"

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

// plainTerminal reports whether characters beyond ASCII may not arrive: on a dumb terminal, and where the locale names another encoding. An
// environment that names none is that of a service or a container, whose logs are UTF-8.
func plainTerminal(getenv func(string) string) bool {
	if getenv("TERM") == "dumb" {
		return true
	}
	_, encoding, named := strings.Cut(cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")), ".") // as locale(7) orders them
	encoding, _, _ = strings.Cut(strings.ToLower(encoding), "@")
	return named && encoding != "utf-8" && encoding != "utf8"
}
