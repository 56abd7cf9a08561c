package markdown_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/markdown"
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

func write(t *testing.T, doc *report.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := markdown.Write(&b, doc, markdown.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, name := range names(t) {
		got := write(t, load(t, name))
		path := filepath.Join("testdata", name+".md")
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
}

// The sections stand in the order of a report.
func TestOrder(t *testing.T) {
	got := write(t, load(t, "lockhog"))
	at := 0
	for _, h := range []string{"# Incident report (generated draft)", "## Verdict", "## Impact", "## Timeline", "## Findings",
		"## Who waits for what", "## Ruled out and not checked", "## Environment", "## Reproduce this report", "## Next steps",
		"## To be written by people", "## Appendix: stack groups"} {
		i := strings.Index(got[at:], h+"\n")
		if i < 0 {
			t.Fatalf("%q is missing or out of order", h)
		}
		at += i
	}
}

// blocks strips what Markdown does not look into: fenced code, code spans and inline code elements.
func blocks(t *testing.T, text string) (outside string, fences int) {
	t.Helper()
	var out []string
	fence := ""
	for _, line := range strings.Split(text, "\n") {
		run := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence == "" && len(run) >= 3:
			fence, fences = run, fences+1
		case fence != "" && line == fence:
			fence = ""
		case fence == "":
			out = append(out, line)
		}
	}
	if fence != "" {
		t.Error("a code block is not closed")
	}
	outside = strings.Join(out, "\n")
	outside = regexp.MustCompile("`[^`\n]*`").ReplaceAllString(outside, "CODE")
	return regexp.MustCompile(`<code>[^<\n]*</code>`).ReplaceAllString(outside, "CODE"), fences
}

var (
	tags   = regexp.MustCompile(`</?(details|summary)>`)
	markup = regexp.MustCompile("[<>`@]|https?:|www\\.|\\]\\(|~~|\\$|&[a-z#]")
)

// A hostile program cannot break out: outside of code there is no HTML but ours, no link, no mention, no forged heading, and
// every row of a table has as many cells as its head.
func TestHostileTexts(t *testing.T) {
	for name, least := range map[string]int{"hostile": 4, "hostiletrace": 3} {
		got := write(t, load(t, name))
		outside, fences := blocks(t, got)
		if fences < least {
			t.Errorf("%s: only %d code blocks", name, fences)
		}
		if !strings.Contains(got, "\n<details><summary>") {
			t.Errorf("%s: no stacks", name)
		}
		shown(t, got, outside)
	}
}

// shown holds a page, and what of it stands outside of code, to what a hostile program may do: be shown.
func shown(t *testing.T, got, outside string) {
	t.Helper()
	if n, m := strings.Count(got, "\n<details><summary>"), strings.Count(outside, "</details>"); n != m {
		t.Errorf("%d details are opened, %d closed", n, m)
	}
	bare := tags.ReplaceAllString(outside, "")
	cells := 0
	for _, line := range strings.Split(bare, "\n") {
		text := regexp.MustCompile(`&#\d+;`).ReplaceAllString(line, "")
		if m := markup.FindString(text); m != "" {
			t.Errorf("%q stands outside of code: %s", m, line)
		}
		if strings.HasPrefix(line, "# ") && line != "# Incident report (generated draft)" {
			t.Errorf("forged heading %q", line)
		}
		cells = checkRow(t, line, cells)
	}
	for i, r := range got {
		if r != '\n' && report.Visible(string(r)) != string(r) {
			t.Fatalf("byte %d is %q", i, r)
		}
	}
}

// checkRow counts the cells of a table row; cells is the number of the row above, 0 outside of a table.
func checkRow(t *testing.T, line string, cells int) int {
	t.Helper()
	if !strings.HasPrefix(line, "|") {
		return 0
	}
	n := strings.Count(line, "|")
	if cells != 0 && n != cells {
		t.Errorf("a row has %d bars, its table %d: %s", n, cells, line)
	}
	return n
}

func TestTablesAreWhole(t *testing.T) {
	for _, name := range names(t) {
		outside, _ := blocks(t, write(t, load(t, name)))
		cells := 0
		for _, line := range strings.Split(outside, "\n") {
			cells = checkRow(t, line, cells)
		}
	}
}

// huge is a report that has too much of everything.
func huge() *report.Document {
	doc := &report.Document{Verdict: report.Verdict{Status: report.Suspected, Sentence: "Something."}}
	long := strings.Repeat("word ", 800)
	for i := range 5000 {
		doc.Findings = append(doc.Findings, report.Finding{ID: fmt.Sprintf("F%d", i), Claim: long, Fix: long})
		doc.Gaps = append(doc.Gaps, report.Gap{What: long, Why: long})
		doc.Process.Modules = append(doc.Process.Modules, report.Module{Path: "example.com/m"})
		g := report.Group{ID: uint32(i), Count: 7, State: "waiting"}
		for range 50 {
			g.Frames = append(g.Frames, report.Frame{Function: "example.com/some/long/path.(*Type).Method", File: "/src/some/long/path/file.go", Line: i})
		}
		doc.Stacks = append(doc.Stacks, g)
	}
	return doc
}

// The report stays under the size at which it would be dropped, whatever is in it, and says what is missing.
func TestSize(t *testing.T) {
	got := write(t, huge())
	if len(got) > markdown.DefaultMaxBytes {
		t.Errorf("%d bytes", len(got))
	}
	for _, want := range []string{"more groups with", "Left out, because the report would have become too large: Ruled out and not checked", "more findings in the JSON report"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if strings.Count(got, "<details>") != strings.Count(got, "</details>") {
		t.Error("the cut went through a block")
	}
	var small bytes.Buffer
	if err := markdown.Write(&small, load(t, "lockhog"), markdown.Options{MaxBytes: 6000}); err != nil {
		t.Fatal(err)
	}
	if small.Len() > 6000 || !strings.Contains(small.String(), "Left out") || !strings.Contains(small.String(), "Likely:") {
		t.Errorf("%d bytes:\n%s", small.Len(), small.String())
	}
}

func TestMermaid(t *testing.T) {
	if got := markdown.Mermaid(report.Graph{}); got != "" {
		t.Errorf("an empty graph is drawn: %q", got)
	}
	var g report.Graph
	for i := range 100 {
		id := fmt.Sprintf("sync:0x%x", i)
		g.Nodes = append(g.Nodes, report.Node{ID: id, Kind: "mutex", Text: strings.Repeat("\"];\n--> \x1b`<", 100)})
		for k := range 20 {
			g.Edges = append(g.Edges, report.Edge{From: id, To: fmt.Sprintf("sync:0x%x", k), Kind: report.EdgeHeld, Text: strings.Repeat("|", 500)})
		}
	}
	got := markdown.Mermaid(g)
	if len(got) >= 50_000 || strings.Count(got, "[\"") != 40 {
		t.Errorf("%d characters, %d nodes", len(got), strings.Count(got, "[\""))
	}
	line := regexp.MustCompile(`^  n\d+(\["[^"]*"\]|\("[^"]*"\)| (-->|-\.->)\|"[^"|]*"\| n\d+)$`)
	for _, l := range strings.Split(strings.TrimSuffix(got, "\n"), "\n")[1:] {
		if !line.MatchString(l) || strings.ContainsAny(l, "`\x1b<") {
			t.Fatalf("the line %q is not ours", l)
		}
	}
}

// "assume all fields are optional"
func TestEmptyDocuments(t *testing.T) {
	for _, doc := range []*report.Document{{}, {Findings: []report.Finding{{Locations: []report.Location{{}}, Because: []report.Evidence{{}}, Source: &report.Excerpt{}}},
		Stacks: []report.Group{{Elided: 3}}, Waits: report.Graph{Nodes: []report.Node{{}}, Edges: []report.Edge{{}}}, Timeline: []report.Event{{}},
		Gaps: []report.Gap{{}}, Inputs: []report.Input{{}}, ToDo: []report.Section{{}}, Next: []string{""}}} {
		blocks(t, write(t, doc))
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	if err := markdown.Write(broken{}, load(t, "crash"), markdown.Options{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v", err)
	}
}
