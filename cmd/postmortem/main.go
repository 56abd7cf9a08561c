// Command postmortem says what went wrong in a Go process that died, hung or crawled: from a core dump, the text of a crash or an
// execution trace it names the disease, the guilty line, how sure it is, and what to do.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
