package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/analyze/report/markdown"
	"github.com/gopostmortem/postmortem/analyze/report/text"
)

// made is what an output writes. The Case is nil for a report that was saved.
type made struct {
	doc *report.Document
	c   *evidence.Case
}

// style is one output format.
type style struct {
	sums  bool // prints the SHA-256 of the inputs, which costs as much as a diagnosis
	write func(w io.Writer, m made, opt text.Options) error
}

var errNoCase = errors.New("format case: a saved report does not hold the evidence; `postmortem save FILE` writes it")

// styles are the output formats.
var styles = map[string]style{
	"text":     {false, func(w io.Writer, m made, opt text.Options) error { return text.Write(w, m.doc, opt) }},
	"markdown": {true, func(w io.Writer, m made, _ text.Options) error { return markdown.Write(w, m.doc, markdown.Options{}) }},
	"json": {true, func(w io.Writer, m made, _ text.Options) error {
		return jsonreport.Write(w, m.doc, jsonreport.Options{})
	}},
	"case": {true, func(w io.Writer, m made, _ text.Options) error {
		if m.c == nil {
			return errNoCase
		}
		return m.c.WriteText(w)
	}},
}

// outputFlags choose where reports go.
type outputFlags struct {
	format  string
	outputs []string
	color   string
	verbose bool
}

func (f *outputFlags) add(set *pflag.FlagSet, format string) {
	set.StringVarP(&f.format, "format", "f", format, "format of what goes to stdout: text, markdown, json or case")
	set.StringArrayVarP(&f.outputs, "output", "o", nil, "write one more, `FORMAT=PATH` (repeatable)")
	f.addLooks(set)
}

func (f *outputFlags) addLooks(set *pflag.FlagSet) {
	set.StringVar(&f.color, "color", "auto", "colours in text: auto, always or never (NO_COLOR and TERM=dumb are heeded)")
	set.BoolVarP(&f.verbose, "verbose", "v", false, "text: all findings, gaps and silent rules in full")
}

// output is one report to write.
type output struct {
	format string
	path   string // empty for stdout
	looks  text.Options
}

// parse checks the flags: what is wrong with an output must be known before minutes are spent on a core.
func (f *outputFlags) parse(a *app) ([]output, error) {
	looks, err := f.looks(a)
	if err != nil {
		return nil, err
	}
	outputs := []output{{format: f.format, looks: looks}}
	for _, o := range f.outputs {
		name, path, ok := strings.Cut(o, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("-o %q: want FORMAT=PATH, such as markdown=incident.md", o)
		}
		outputs = append(outputs, output{name, path, text.Options{Verbose: f.verbose}})
	}
	for _, o := range outputs {
		if _, ok := styles[o.format]; !ok {
			return nil, fmt.Errorf("format %q: want one of %s", o.format, strings.Join(slices.Sorted(maps.Keys(styles)), ", "))
		}
	}
	return outputs, nil
}

// looks decides on colours and width for stdout.
func (f *outputFlags) looks(a *app) (text.Options, error) {
	opt := text.Options{Verbose: f.verbose, Plain: plainTerminal(a.getenv)}
	tty, width := terminal(a.stdout)
	switch f.color {
	case "always":
		opt.Color = true
	case "never":
	case "auto":
		opt.Color = tty && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
	default:
		return opt, fmt.Errorf("--color %q: want auto, always or never", f.color)
	}
	if tty {
		opt.Width = width
	}
	return opt, nil
}

// wantSums reports whether an output prints the sums of the inputs. Text does when it is verbose.
func wantSums(outputs []output) bool {
	return slices.ContainsFunc(outputs, func(o output) bool { return styles[o.format].sums || o.looks.Verbose })
}

// writeAll writes files first: stdout may be a pipe that ends early.
func (a *app) writeAll(outputs []output, m made) error {
	for _, o := range outputs {
		if o.path != "" {
			if err := writeFile(o, m); err != nil {
				return fmt.Errorf("writing %s: %w", o.path, err)
			}
		}
	}
	for _, o := range outputs {
		if o.path == "" {
			if err := styles[o.format].write(a.stdout, m, o.looks); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeFile(o output, m made) error {
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // a report tells of the inside of a process
	if err != nil {
		return err
	}
	return errors.Join(styles[o.format].write(f, m, o.looks), f.Close())
}
