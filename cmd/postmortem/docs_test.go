package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// pages are the Markdown files of the project.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	if len(found) < 10 {
		t.Fatalf("%d pages: the test looks at the wrong folder", len(found))
	}
	return found
}

// TestLinks follows every link inside the project.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestDocumentedCommands checks that every command line in the pages is one that the program has.
func TestDocumentedCommands(t *testing.T) {
	line := regexp.MustCompile("(?m)(?:^|`|; )(?:sudo )?postmortem ([a-z]+)(?:[ `\n]|$)")
	known := map[string]bool{}
	a := &app{getenv: os.Getenv}
	for _, cmd := range a.root().Commands() {
		known[cmd.Name()] = true
	}
	known["completion"] = true // cobra adds it when it runs
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			if !known[m[1]] {
				t.Errorf("%s: postmortem %s: there is no such command", page, m[1])
			}
		}
	}
}

// TestReadmeReport checks that the report on the README's first screen is what the demo prints: the same finding at the same line.
func TestReadmeReport(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- report: begin -->")
	shown, _, ok := strings.Cut(rest, "<!-- report: end -->")
	file, line := wantedLine(t, "lock-hog")
	if !ok || !strings.Contains(shown, "F1 lock-hog: critical") || !strings.Contains(shown, report.Place(file, line)) {
		t.Errorf("the README shows another report than the demo makes, whose line is %s", report.Place(file, line))
	}
}
