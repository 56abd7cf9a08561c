// Command docgen writes docs/rules from the rules' documentation. It runs in the folder rules, by go generate.
package main

import (
	"fmt"
	"os"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/internal/pages"
)

func main() {
	if err := run("../docs/rules"); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	all := rules.All()
	if err := diagnosis.Validate(all); err != nil {
		return fmt.Errorf("the rules are not fit to be documented: %w", err)
	}
	return pages.Write(dir, pages.All(all))
}
