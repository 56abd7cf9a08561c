package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/dot"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/analyze/report/markdown"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// How many nodes are drawn when nobody says: what a person reads in a terminal, and what can be looked at as a drawing.
const (
	defaultTreeNodes    = 200
	defaultDrawingNodes = 40
)

// drawing is one run of the command graph.
type drawing struct {
	read  readFlags
	out   outputFlags
	nodes int
	all   bool
}

// graphFormats are the forms in which a graph is written.
var graphFormats = []string{"text", "mermaid", "dot", "json"}

func (a *app) graphCommand() *cobra.Command {
	run := &drawing{}
	cmd := &cobra.Command{
		Use:   "graph FILE...",
		Short: "Show who waits for what, who holds it, and who could wake the waiters",
		Long: `Show the wait-for graph of a core or dump: goroutines, the locks, channels, wait groups, conditions and pools they wait for, who holds
those, who could wake the waiters, and who can never wake. Circles come first, then the objects with most waiters. Goroutines with the same
stack are one node.

Holders and wakers are inferred, and the graph says how (pending-unlock, unique-candidate, ambiguous; pending, ahead, refers). No rules are
run. A tree is printed; mermaid is for Markdown pages (40 nodes at most), dot for Graphviz, json for programs (waits in the report's schema).`,
		Example: `  postmortem graph core.1234
  postmortem graph core.1234 --max-nodes 1000
  postmortem graph core.1234 --all -f json
  postmortem graph core.1234 -f dot | dot -Tsvg > waits.svg
  postmortem graph core.1234 -f mermaid`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.graph(cmd, run, args) },
	}
	set := cmd.Flags()
	set.StringVarP(&run.out.format, "format", "f", "text", "format of what goes to stdout: "+strings.Join(graphFormats, ", "))
	set.IntVar(&run.nodes, "max-nodes", 0, fmt.Sprintf("most nodes to draw (default %d; mermaid and dot %d)", defaultTreeNodes, defaultDrawingNodes))
	set.BoolVar(&run.all, "all", false, "draw everything")
	run.out.addLooks(set)
	run.read.add(set)
	return cmd
}

// most is how many nodes are asked for.
func (d *drawing) most() (int, error) {
	switch {
	case !slices.Contains(graphFormats, d.out.format):
		return 0, fmt.Errorf("format %q: a graph is written as one of %s", d.out.format, strings.Join(graphFormats, ", "))
	case d.nodes < 0:
		return 0, fmt.Errorf("--max-nodes %d: want a number above zero; --all draws everything", d.nodes)
	case d.all:
		return math.MaxInt, nil
	case d.nodes > 0:
		return d.nodes, nil
	case d.out.format == "mermaid" || d.out.format == "dot":
		return defaultDrawingNodes, nil
	}
	return defaultTreeNodes, nil
}

func (a *app) graph(cmd *cobra.Command, run *drawing, files []string) error {
	nodes, err := run.most()
	if err != nil {
		return err
	}
	looks, err := run.out.looks(a)
	if err != nil {
		return err
	}
	run.read.variables, run.read.reach = format.VariablesNone, format.ReachProof
	c, err := a.open(cmd.Context(), &run.read, files, nil)
	if err != nil {
		return err
	}
	return writeGraph(a.stdout, c, run.out.format, nodes, looks)
}

func writeGraph(w io.Writer, c *evidence.Case, form string, nodes int, looks text.Options) error {
	doc := report.WaitGraph(c, report.Meta{Tool: "postmortem", Version: version}, nodes)
	switch form {
	case "json":
		return jsonreport.Write(w, doc, jsonreport.Options{})
	case "dot":
		return dot.Write(w, doc)
	case "mermaid":
		_, err := io.WriteString(w, markdown.Mermaid(doc.Waits))
		return err
	}
	return text.WriteGraph(w, doc, looks)
}
