package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/rules/internal/registry"
)

func TestCreate(t *testing.T) {
	root := t.TempDir()
	dir, err := create(root, "lock-demo")
	if err != nil {
		t.Fatal(err)
	}
	if dir != filepath.Join(root, "lockdemo") {
		t.Errorf("the folder is %s", dir)
	}
	for file, want := range map[string]string{
		"lockdemo.go": `Name:  "lock-demo"`, "lockdemo_test.go": "ruletest.Cases(t, Rule)",
		"testdata/hit.case": "# want: main.work", "testdata/near_miss.case": "# want: nothing",
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v", file, want, err)
		}
		if strings.Contains(string(text), "RULE") {
			t.Errorf("%s holds a place that was not filled", file)
		}
	}
	if folders, err := registry.Folders(root); err != nil || len(folders) != 1 {
		t.Errorf("the registry sees %q, %v", folders, err)
	}
	if _, err := create(root, "lock-demo"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second rule of the name gives %v", err)
	}
	if _, err := create(root, "Lock_Demo"); err == nil {
		t.Error("a bad name gives no error")
	}
}

func TestUsage(t *testing.T) {
	if err := run(nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("no name gives %v", err)
	}
	t.Chdir(t.TempDir())
	if err := run([]string{"lock-demo"}); err == nil || !strings.Contains(err.Error(), "root folder") {
		t.Errorf("another folder gives %v", err)
	}
}
