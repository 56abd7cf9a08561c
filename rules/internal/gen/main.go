// Command gen writes the registry of rules, all.go. It runs in the folder rules, by go generate.
package main

import (
	"fmt"
	"os"

	"github.com/gopostmortem/postmortem/rules/internal/registry"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	folders, err := registry.Folders(dir)
	if err != nil {
		return err
	}
	source, err := registry.Source(folders)
	if err != nil {
		return err
	}
	return os.WriteFile(dir+"/"+registry.File, source, 0o644)
}
