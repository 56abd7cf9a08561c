package dot

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/report"
)

const evil = "\"]; n0 -> n9 [label=\"x\\\" \x1b[2J \n }; digraph owned { <b>&lt;</b> \\N \\G \u202e \xff"

func sample() *report.Document {
	return &report.Document{Waits: report.Graph{
		Nodes: []report.Node{
			{ID: "goroutine:7", Kind: "goroutine", Text: "goroutine 7 " + evil, Wake: "never", Ref: "goroutine:7"},
			{ID: "sync:0x10", Kind: "mutex", Text: "mutex " + evil, Ref: "sync:0x10"},
			{ID: "waiters:1", Kind: "waiters", Text: "3 goroutines", Never: 2},
			{ID: "objects:2", Kind: "channel", Text: "3 objects of this kind, one for each"},
		},
		Edges: []report.Edge{
			{From: "goroutine:7", To: "sync:0x10", Kind: report.EdgeWaits, Text: evil}, {From: "sync:0x10", To: "goroutine:7", Kind: report.EdgeHeld},
			{From: "waiters:1", To: "objects:2", Kind: report.EdgeWaits}, {From: "sync:0x10", To: "goroutine:9", Kind: report.EdgeWakes},
			{From: "sync:0x10", To: "goroutine:7", Kind: evil, Text: evil},
		},
		Circles: [][]string{{"goroutine:7", "sync:0x10"}}, Omitted: 4,
	}}
}

// statement is a line of the drawing in which nothing but the quoted texts is free.
var statement = regexp.MustCompile(`^(digraph waits \{|  rankdir=LR;|\}|  label="[^"\\]*";|` +
	`  n\d+( -> n\d+)? \[(shape=(box|ellipse), )?label="([^"\\]|\\["\\])*"(, style=\w+)?(, fillcolor=lightgrey)?(, penwidth=3)?\];)$`)

// Nothing that the evidence says leaves its label.
func TestHostile(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, line := range lines {
		if !statement.MatchString(line) {
			t.Errorf("this is no statement of ours: %s", line)
		}
	}
	for _, want := range []string{"n0 -> n1 [label=\"waits: ", "penwidth=3", "4 more objects not drawn", `label="sync:0x10 mutex`,
		`label="3 objects of this kind`, "fillcolor=lightgrey"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing from\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "n9") && !strings.Contains(b.String(), `\"]; n0 -> n9`) || len(lines) != 2+4+4+2 {
		t.Errorf("an edge to nowhere is drawn, or one is missing:\n%s", b.String())
	}
}

func TestEmpty(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, &report.Document{}); err != nil || b.String() != "digraph waits {\n  rankdir=LR;\n}\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	if err := Write(broken{}, sample()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v", err)
	}
}
