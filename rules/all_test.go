package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/internal/pages"
	"github.com/gopostmortem/postmortem/rules/internal/registry"
)

const regenerate = "run `go generate ./rules`"

// TestRegistryIsFresh fails when a rule's folder was added or removed without rewriting all.go.
func TestRegistryIsFresh(t *testing.T) {
	folders, err := registry.Folders(".")
	if err != nil {
		t.Fatal(err)
	}
	want, err := registry.Source(folders)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(registry.File)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Errorf("%s is stale: %s", registry.File, regenerate)
	}
	if len(rules.All()) != len(folders) {
		t.Errorf("All() has %d rules, the folders hold %d", len(rules.All()), len(folders))
	}
}

// TestPagesAreFresh fails when a rule's Doc and its page differ, a page is missing or one is left over.
func TestPagesAreFresh(t *testing.T) {
	dir := filepath.Join("..", "docs", "rules")
	want := pages.All(rules.All())
	for name, text := range want {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v: %s", err, regenerate)
		} else if string(have) != text {
			t.Errorf("docs/rules/%s is stale: %s", name, regenerate)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, known := want[e.Name()]; !known {
			t.Errorf("docs/rules/%s belongs to no rule: %s", e.Name(), regenerate)
		}
	}
}

// TestRulesAreFit holds every rule against diagnosis.Validate and the habits that it cannot know of.
func TestRulesAreFit(t *testing.T) {
	all := rules.All()
	if err := diagnosis.Validate(all); err != nil {
		t.Error(err)
	}
	for _, r := range all {
		folder := registry.FolderOf(r.Name)
		if _, err := os.Stat(folder); err != nil {
			t.Errorf("rule %s: its folder is not called %s", r.Name, folder)
		}
		for _, text := range []string{r.Doc.Title, r.Doc.Sees, r.Doc.Hurts, r.Doc.Confirm, r.Doc.Fix, r.Doc.Not} {
			if strings.Contains(text, "TODO") {
				t.Errorf("rule %s: its Doc still says TODO", r.Name)
			}
		}
		if strings.HasSuffix(r.Doc.Title, ".") {
			t.Errorf("rule %s: the title ends with a full stop", r.Name)
		}
		cases, err := filepath.Glob(filepath.Join(folder, "testdata", "*.case"))
		if err != nil || len(cases) < 2 {
			t.Errorf("rule %s: %d testdata cases (%v), want at least a hit and a near miss", r.Name, len(cases), err)
		}
	}
}
