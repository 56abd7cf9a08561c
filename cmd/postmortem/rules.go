package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/rules"
)

func (a *app) rulesCommand() *cobra.Command {
	var limits bool
	var format string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List the rules",
		Long:  "List the rules: what each recognises, and with --limits their thresholds. `postmortem explain RULE` prints the whole page.",
		Example: `  postmortem rules
  postmortem rules --limits
  postmortem rules -f json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case format == "json":
				return writeRulesJSON(a.stdout, rules.All())
			case format != "text":
				return fmt.Errorf("format %q: rules are written as text or json", format)
			case limits:
				return writeLimits(a.stdout, rules.All())
			}
			return writeRules(a.stdout, rules.All())
		},
	}
	cmd.Flags().BoolVar(&limits, "limits", false, "list the thresholds, as --limit takes them")
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

func writeRules(w io.Writer, list []*diagnosis.Rule) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "RULE\tRECOGNISES")
	for _, r := range list {
		fmt.Fprintf(out, "%s\t%s\n", r.Name, r.Doc.Title)
	}
	return out.Flush()
}

func writeLimits(w io.Writer, list []*diagnosis.Rule) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "LIMIT\tDEFAULT\tBOUNDS")
	for _, r := range list {
		for _, l := range r.Limits {
			fmt.Fprintf(out, "%s.%s\t%s\t%s\n", r.Name, l.Name, number(l.Default), l.Doc)
		}
	}
	return out.Flush()
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// listedRule and listedLimit are the JSON form of a rule.
type listedRule struct {
	Name   string        `json:"name"`
	Class  string        `json:"class"`
	Title  string        `json:"title"`
	Needs  []string      `json:"needs"`
	Since  string        `json:"since"`
	Docs   string        `json:"docs"`
	Limits []listedLimit `json:"limits,omitempty"`
}

type listedLimit struct {
	Name    string  `json:"name"`
	Default float64 `json:"default"`
	Doc     string  `json:"doc"`
	Origin  string  `json:"origin"`
}

func writeRulesJSON(w io.Writer, list []*diagnosis.Rule) error {
	rows := []listedRule{}
	for _, r := range list {
		row := listedRule{Name: r.Name, Class: r.Class, Title: r.Doc.Title, Since: r.Doc.Since, Docs: "docs/rules/" + r.Name + ".md"}
		for _, kinds := range r.Needs {
			row.Needs = append(row.Needs, kinds.String())
		}
		for _, l := range r.Limits {
			row.Limits = append(row.Limits, listedLimit{r.Name + "." + l.Name, l.Default, l.Doc, l.Origin})
		}
		rows = append(rows, row)
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	return out.Encode(rows)
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain RULE",
		Short: "Print the page of a rule",
		Long:  "Print the page of a rule: what it sees, why it hurts, how to be sure, what to change, and the healthy look-alike.",
		Example: `  postmortem explain lock-hog
  postmortem rules`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRules,
		RunE: func(_ *cobra.Command, args []string) error {
			r := ruleNamed(args[0])
			if r == nil {
				return fmt.Errorf("unknown rule %q: `postmortem rules` lists them", args[0])
			}
			_, err := io.WriteString(a.stdout, page(r))
			return err
		},
	}
}

// pageWidth is the line length of pages in a terminal.
const pageWidth = 80

// page is a rule's documentation as text.
func page(r *diagnosis.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Name, r.Doc.Title)
	for _, s := range []struct{ title, text string }{
		{"What it sees", r.Doc.Sees}, {"Why it hurts", r.Doc.Hurts}, {"How to be sure", r.Doc.Confirm},
		{"What to change", r.Doc.Fix}, {"The healthy look-alike", r.Doc.Not},
	} {
		fmt.Fprintf(&b, "\n%s\n%s", s.title, wrap(s.text, "  ", pageWidth))
	}
	code(&b, "Before", r.Doc.Before)
	code(&b, "After", r.Doc.After)
	if len(r.Limits) > 0 {
		b.WriteString("\nLimits (--limit " + r.Name + ".NAME=VALUE)\n")
		for _, l := range r.Limits {
			b.WriteString(wrap(fmt.Sprintf("%s = %s: %s (%s)", l.Name, number(l.Default), l.Doc, l.Origin), "  ", pageWidth))
		}
	}
	if len(r.Doc.Seen) > 0 {
		b.WriteString("\nSeen in the wild\n")
		for _, s := range r.Doc.Seen {
			b.WriteString(wrap(s, "  ", pageWidth))
		}
	}
	fmt.Fprintf(&b, "\nClass %s, since %s.\n", r.Class, r.Doc.Since)
	return b.String()
}

func code(b *strings.Builder, title, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, line := range strings.Split(strings.Trim(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight("    "+line, " \t") + "\n")
	}
}

// wrap breaks text into lines of at most width bytes, each with the indent, and keeps its paragraphs.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len(indent)+len(line)+1+len(word) > width {
				b.WriteString(indent + line + "\n")
				line = ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		b.WriteString(indent + line + "\n")
	}
	return b.String()
}
