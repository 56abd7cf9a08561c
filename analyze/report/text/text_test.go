package text_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

var update = flag.Bool("update", false, "write the golden files")

// load reads one of the documents that the tests of package report keep.
func load(t *testing.T, name string) *report.Document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc report.Document
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

func names(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".json")
	}
	return paths
}

func write(t *testing.T, doc *report.Document, opt text.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := text.Write(&b, doc, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and read the difference\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	for _, name := range names(t) {
		golden(t, name+".txt", write(t, load(t, name), text.Options{}))
		golden(t, name+".verbose.txt", write(t, load(t, name), text.Options{Verbose: true}))
	}
	golden(t, "crash.color.txt", write(t, load(t, "crash"), text.Options{Color: true}))
	golden(t, "lockhog.narrow.txt", write(t, load(t, "lockhog"), text.Options{Width: 50}))
}

func TestStacksAndGraph(t *testing.T) {
	for _, name := range []string{"lockhog", "healthy"} {
		var stacks, graph bytes.Buffer
		if err := text.WriteStacks(&stacks, load(t, name), text.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := text.WriteGraph(&graph, load(t, name), text.Options{}); err != nil {
			t.Fatal(err)
		}
		var rows bytes.Buffer
		if err := text.WriteRows(&rows, load(t, name), text.Options{}); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".rows.txt", rows.String())
		golden(t, name+".stacks.txt", stacks.String())
		golden(t, name+".graph.txt", graph.String())
	}
}

// Without colours the output holds printable characters and line breaks only, whatever the program said.
func TestNothingMovesTheTerminal(t *testing.T) {
	for _, name := range names(t) {
		for _, verbose := range []bool{false, true} {
			got := write(t, load(t, name), text.Options{Verbose: verbose})
			for _, line := range strings.Split(got, "\n") {
				if v := report.Visible(line); v != line {
					t.Errorf("%s: %q is not safe", name, line)
				}
			}
		}
	}
}

// With colours, the only escape sequences are those of colours, at the beginning and the end of lines.
func TestColoursOnlyAroundLines(t *testing.T) {
	got := write(t, load(t, "hostile"), text.Options{Color: true, Verbose: true})
	if !strings.Contains(got, "\x1b[") {
		t.Fatal("no colours at all")
	}
	plain := write(t, load(t, "hostile"), text.Options{Verbose: true})
	var stripped strings.Builder
	for _, part := range strings.SplitAfter(got, "\n") {
		for strings.HasPrefix(part, "\x1b[") {
			_, part, _ = strings.Cut(part, "m")
		}
		stripped.WriteString(strings.Replace(part, "\x1b[m", "", 1))
	}
	if stripped.String() != plain {
		t.Errorf("colours change the text, or stand inside of lines:\n%q", got)
	}
}

// Lines fit unless one word alone is too long or the line is a command, and none ends with a space.
func TestWidth(t *testing.T) {
	for _, name := range names(t) {
		doc := load(t, name)
		commands := map[string]bool{}
		for _, list := range [][]string{doc.Next, doc.Reproduce} {
			for _, c := range list {
				commands[report.Visible(c)] = true
			}
		}
		for _, f := range doc.Findings {
			for _, e := range append(f.Because, f.Against...) {
				commands[report.Visible(e.Show)] = true
			}
			for _, c := range f.Next {
				commands[report.Visible(c)] = true
			}
		}
		for _, width := range []int{40, 80, 120} {
			for _, line := range strings.Split(write(t, doc, text.Options{Width: width, Verbose: true}), "\n") {
				if strings.HasSuffix(line, " ") {
					t.Errorf("%s: %q ends with a space", name, line)
				}
				words := strings.Fields(line)
				isCommand := commands[strings.TrimSpace(line)] || commands[strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "next"))]
				if lipgloss.Width(line) > width && !isCommand && len(words) > 3 {
					t.Errorf("%s at %d: %d columns: %q", name, width, lipgloss.Width(line), line)
				}
			}
		}
	}
}

// "assume all fields are optional": a report with nothing in it is written, and so is one with empty parts.
func TestEmptyDocuments(t *testing.T) {
	for _, doc := range []*report.Document{{}, {Findings: []report.Finding{{}}, Stacks: []report.Group{{Elided: 3}},
		Waits: report.Graph{Nodes: []report.Node{{}}, Edges: []report.Edge{{}}}, Timeline: []report.Event{{}}, Gaps: []report.Gap{{}}}} {
		for _, verbose := range []bool{false, true} {
			write(t, doc, text.Options{Verbose: verbose, Color: true})
		}
	}
}

func TestGapsAreAlwaysPrinted(t *testing.T) {
	got := write(t, load(t, "partial"), text.Options{})
	for _, want := range []string{"the file is truncated", "stack of goroutine 800", "and 4 more gaps"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("the compact form does not say %q", want)
		}
	}
	got = write(t, load(t, "partial"), text.Options{Verbose: true})
	if n := strings.Count(got, "stack of goroutine"); n != 6 {
		t.Errorf("the verbose form names %d of 6 gaps", n)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	if err := text.Write(broken{}, load(t, "crash"), text.Options{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v", err)
	}
}

// The answers of the commands graph, why and heap.
func TestAnswers(t *testing.T) {
	var graph, why bytes.Buffer
	if err := text.WriteGraph(&graph, load(t, "answers/graph"), text.Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "answer.graph.txt", graph.String())
	if err := text.WriteWhy(&why, load(t, "answers/why"), text.Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "answer.why.txt", why.String())
	var heap bytes.Buffer
	if err := text.WriteHeap(&heap, load(t, "answers/heap"), text.Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "answer.heap.txt", heap.String())
}

// What stands on a path comes from the process, and moves no cursor.
func TestHostileAnswer(t *testing.T) {
	doc := &report.Document{Paths: []report.Path{{Answer: "a\x1b[2J", Sync: "sync:0x10\r", Steps: []report.PathStep{{Text: "global \x1b]0;owned\x07"}},
		Helpers: []report.Evidence{{Text: "\x1b[31m", Refs: []string{"hold:\x1b"}}}}}}
	var b bytes.Buffer
	if err := text.WriteWhy(&b, doc, text.Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\x07") || !strings.Contains(b.String(), `global \x1b]0;owned\a`) {
		t.Errorf("%q", b.String())
	}
}
