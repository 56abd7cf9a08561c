// Command newrule makes the skeleton of a rule: folder, code, test and testdata. It then rewrites the registry and the pages.
//
//	go run ./rules/internal/newrule lock-hog
//
// The test of the new rule fails until the rule is written.
package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gopostmortem/postmortem/rules/internal/registry"
)

//go:embed skeleton
var skeleton embed.FS

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "newrule:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: go run ./rules/internal/newrule NAME, in the repository's root folder")
	}
	if _, err := os.Stat(filepath.Join("rules", registry.File)); err != nil {
		return fmt.Errorf("run it in the repository's root folder: %w", err)
	}
	dir, err := create("rules", args[0])
	if err != nil {
		return err
	}
	fmt.Printf("made %s: write the rule, then its cases\n", dir)
	return regenerate()
}

// create makes the folder of the rule below dir and returns its path.
func create(dir, name string) (string, error) {
	if !nameForm.MatchString(name) {
		return "", fmt.Errorf("%q is not a rule name: write lower case words joined by hyphens", name)
	}
	folder := registry.FolderOf(name)
	dir = filepath.Join(dir, folder)
	if _, err := os.Stat(dir); err == nil {
		return "", fmt.Errorf("%s exists already", dir)
	}
	fill := strings.NewReplacer("RULE-NAME", name, "RULEPACKAGE", folder)
	err := fs.WalkDir(skeleton, "skeleton", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := skeleton.ReadFile(path)
		if err != nil {
			return err
		}
		to := strings.TrimSuffix(strings.TrimPrefix(path, "skeleton/"), ".tmpl")
		return write(filepath.Join(dir, strings.Replace(to, "rule", folder, 1)), fill.Replace(string(text)))
	})
	if err != nil {
		return "", fmt.Errorf("making %s: %w", dir, err)
	}
	return dir, nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func regenerate() error {
	cmd := exec.Command("go", "generate", "./rules")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go generate ./rules: %w", err)
	}
	return nil
}
