package registry

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"tinyio/rule.go":        "package tinyio\n\nvar Rule = 1\n",
		"lockhog/doc.go":        "package lockhog\n",
		"lockhog/rule.go":       "package lockhog\n\nvar (\n\tother = 1\n\tRule = 2\n)\n",
		"ruletest/case.go":      "package ruletest\n\nfunc Rule() {}\n",
		"onlytest/rule_test.go": "package onlytest\n\nvar Rule = 1\n",
		"internal/gen/main.go":  "package main\n\nvar Rule = 1\n",
		"all.go":                "package rules\n\nvar Rule = 1\n",
	})
	got, err := Folders(dir)
	if err != nil || !slices.Equal(got, []string{"lockhog", "tinyio"}) {
		t.Errorf("folders are %q, %v", got, err)
	}
	write(t, dir, map[string]string{"broken/rule.go": "package broken\n\nvar Rule =\n"})
	if _, err := Folders(dir); err == nil || !strings.Contains(err.Error(), "rule.go:3") {
		t.Errorf("a file that does not parse gives %v", err)
	}
	if _, err := Folders(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that does not exist gives no error")
	}
}

func TestSource(t *testing.T) {
	got, err := Source([]string{"lockhog", "tinyio"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"// Code generated ", "DO NOT EDIT.\n", "\"" + Root + "/lockhog\"", "\t\tlockhog.Rule,\n\t\ttinyio.Rule,\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the source lacks %q:\n%s", want, got)
		}
	}
	if _, err := Source([]string{"not a name"}); err == nil {
		t.Error("a folder that is no identifier gives no error")
	}
}

func TestFolderOf(t *testing.T) {
	if got := FolderOf("crash-stack-overflow"); got != "crashstackoverflow" {
		t.Errorf("the folder is %q", got)
	}
}
