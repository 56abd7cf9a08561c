package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tinyio"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tinyio", "rule.go"), []byte("package tinyio\n\nvar Rule = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "all.go"))
	if err != nil || !strings.Contains(string(text), "tinyio.Rule,") {
		t.Errorf("all.go is %q, %v", text, err)
	}
	if err := run(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that does not exist gives no error")
	}
}
