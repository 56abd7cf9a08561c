// Command postmortem says what went wrong in a dead or hung Go process: from a core dump or the text of a crash it names the
// disease, the guilty line, how sure it is, and what to do.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
