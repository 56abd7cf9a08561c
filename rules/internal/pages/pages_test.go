package pages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func sample(name, class string) *diagnosis.Rule {
	return &diagnosis.Rule{
		Name: name, Class: class, Needs: []evidence.Kinds{evidence.KindDeath | evidence.KindGoroutines, evidence.KindDeath},
		Doc: &diagnosis.Doc{Title: "A | title", Sees: "sees", Hurts: "hurts", Confirm: "confirm", Fix: "fix", Not: "not",
			Before: "f()", Seen: []string{"somewhere"}, Since: "0.1.0"},
		Limits: []diagnosis.Limit{{Name: "least", Doc: "a|b", Default: 2.5, Origin: "measured"}},
	}
}

func TestPage(t *testing.T) {
	page := Page(sample("tiny-io", "tiny-io"))
	for _, want := range []string{"# tiny-io\n", "**A | title**", "Needs goroutines and death, or death.", "## What it sees\n\nsees\n",
		"Before:\n\n```go\nf()\n```\n", "| `least` | 2.5 | a\\|b | measured |", "- somewhere\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "After:") {
		t.Error("the page has a heading for code that the rule does not give")
	}
}

func TestIndexOrder(t *testing.T) {
	index := Index([]*diagnosis.Rule{sample("b-rule", "gc-pressure"), sample("c-rule", "crash-nil"), sample("a-rule", "gc-pressure")})
	c, a, b := strings.Index(index, "[c-rule]"), strings.Index(index, "[a-rule]"), strings.Index(index, "[b-rule]")
	if c < 0 || !(c < a && a < b) {
		t.Errorf("the order is not by class and then by name:\n%s", index)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rules")
	if err := Write(dir, map[string]string{"old-rule.md": "x", IndexFile: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, All([]*diagnosis.Rule{sample("tiny-io", "tiny-io")})); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "old-rule.md")); !os.IsNotExist(err) {
		t.Errorf("the page of a rule that is gone is still there: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "tiny-io.md"))
	if err != nil || string(text) != Page(sample("tiny-io", "tiny-io")) {
		t.Errorf("the page is %q, %v", text, err)
	}
}
