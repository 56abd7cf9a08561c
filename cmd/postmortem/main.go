// Command postmortem says what went wrong in a dead or hung Go process: from a core dump or the text of a crash it names the
// disease, the guilty line, how sure it is, and what to do.
package main

import (
	"os"
	"runtime/debug"
)

// collectOften is the GOGC of the command. Its heap is columns without pointers, which cost the collector next to nothing, and the
// machine that a core is read on may have little memory to spare.
const collectOften = 20

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectOften)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
