package measure

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGo(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/x\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exe := filepath.Join(dir, "x")
	if err := Go(context.Background(), dir, nil, "build", "-o", exe, "."); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), []string{exe}); err != nil {
		t.Error(err)
	}
	err := Go(context.Background(), dir, []string{"GOFLAGS=-mod=mod"}, "build", "./missing")
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error %v: want what go said", err)
	}
}

func TestWorkDir(t *testing.T) {
	root := t.TempDir()
	t.Setenv("POSTMORTEM_FIXTURE_CACHE", filepath.Join(root, "fixtures"))
	dir, err := WorkDir()
	if err != nil || dir != filepath.Join(root, "bench") {
		t.Fatal(dir, err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Error(err)
	}
}
