// Package jsonreport writes a report as JSON and reads it back.
//
// The encoding is that of report.Document, schema postmortem.report/1, described by docs/report.schema.json. Everything that
// another style prints is in it, so that a saved report can be rendered again.
package jsonreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// Options changes what is written.
type Options struct {
	MaxStacks int // at most this many stack groups beside the cited ones; 0 is as many as the Document holds
}

// Write writes the report, indented by one space, with a final line break. The same Document gives the same bytes.
func Write(w io.Writer, doc *report.Document, opt Options) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	if err := out.Encode(limited(doc, opt.MaxStacks)); err != nil {
		return fmt.Errorf("writing the JSON report: %w", err)
	}
	return nil
}

// limited returns the Document with fewer stack groups, and counts what was left out. Cited groups stay: a reference must
// resolve.
func limited(doc *report.Document, most int) *report.Document {
	if most <= 0 || len(doc.Stacks) <= most {
		return doc
	}
	short := *doc
	short.Stacks = nil
	var omitted report.Omitted
	if doc.Omitted != nil {
		omitted = *doc.Omitted
	}
	for i, g := range doc.Stacks {
		if i < most || g.Cited {
			short.Stacks = append(short.Stacks, g)
			continue
		}
		omitted.Groups++
		omitted.Goroutines += g.Count
	}
	if omitted.Groups > 0 {
		short.Omitted = &omitted
	}
	return &short
}

// schemaFamily is the schema's name without its version.
var schemaFamily, _, _ = strings.Cut(report.Schema, "/")

// Read reads a saved report. It accepts fields that it does not know, because later versions add some, and refuses another
// schema. The error names the offset at which the text stops being a report.
func Read(r io.Reader) (*report.Document, error) {
	from := &counter{r: r}
	in := json.NewDecoder(from)
	var doc report.Document
	if err := in.Decode(&doc); err != nil {
		return nil, readError(err, from.n)
	}
	switch {
	case doc.Schema == report.Schema:
	case doc.Schema == "":
		return nil, fmt.Errorf("field schema is missing: this is not a saved report; `postmortem analyze -f json` writes one")
	case strings.HasPrefix(doc.Schema, schemaFamily+"/"):
		return nil, fmt.Errorf("schema %q: this version reads %s; use the version of postmortem that wrote it", report.Clip(doc.Schema, 80), report.Schema)
	default:
		return nil, fmt.Errorf("schema %q: want %s", report.Clip(doc.Schema, 80), report.Schema)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("offset %d: more text after the end of the report: one file holds one report", in.InputOffset())
	}
	return &doc, nil
}

// counter counts what was read: a text that ends too early gives no offset of its own.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func readError(err error, offset int64) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	return fmt.Errorf("offset %d: reading a saved report: %w; `postmortem analyze -f json` writes one", offset, err)
}
