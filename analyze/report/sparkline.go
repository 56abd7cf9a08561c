package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The characters of sparklines, from low to high. Zero is a space.
const (
	sparkBlocks = "▁▂▃▄▅▆▇█"
	sparkASCII  = ".:-=+*#@"
)

// Spark draws values as one line of one character each: top is what the highest character stands for. A value above zero is never drawn as
// nothing. Where blocks cannot be shown, plain characters are.
func Spark(values []float64, top float64, plain bool) string {
	levels := []rune(sparkBlocks)
	if plain {
		levels = []rune(sparkASCII)
	}
	var b strings.Builder
	for _, v := range values {
		if !(v > 0) || !(top > 0) {
			b.WriteByte(' ')
			continue
		}
		i := int(math.Ceil(min(v/top, 1)*float64(len(levels)))) - 1
		b.WriteRune(levels[max(i, 0)])
	}
	return b.String()
}

// SparkRow is a row of a Course as it is drawn.
type SparkRow struct {
	Label string // padded by whoever draws
	Line  string // one character a column
	Note  string // what the height means: "at most 3.9 of 8"
}

// Sparks are the rows of a Course in at most columns columns. Rows that are zero throughout, and in the short form those that say little, are
// left out.
func (c *Course) Sparks(columns int, plain, short bool) []SparkRow {
	n, per := c.Columns(columns)
	if n == 0 {
		return nil
	}
	var rows []SparkRow
	for i := range c.Rows {
		r := &c.Rows[i]
		if r.Name == "events" || short && c.dull(r) { // how many events there were says something about the trace alone
			continue
		}
		rows = append(rows, SparkRow{Label: c.label(r), Line: pad(Spark(r.Join(per), c.top(r, per), plain), n), Note: c.note(r)})
	}
	return rows
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-len([]rune(s))))
}

// The mean number of goroutines, and the share, below which a row is not drawn in the short form: it would look like much and be next to nothing.
const (
	unnoticed      = 0.05
	unnoticedShare = 0.005
)

// dull reports a row that says little: always the same, hardly anything, or what another row says too.
func (c *Course) dull(r *CourseRow) bool {
	least, most := r.Range()
	switch r.Name {
	case "ended":
		return true
	case "alive", "heap":
		return least == most
	}
	if r.Unit == "share" {
		return most < unnoticedShare
	}
	return most < unnoticed || r.Name == "sleep" && r.flat()
}

// flat reports whether the values between the ends, which may be parts of slices, are the same: tickers and pollers that sleep all the time.
func (r *CourseRow) flat() bool {
	if len(r.Values) < 3 {
		return false
	}
	inner := CourseRow{Values: r.Values[1 : len(r.Values)-1]}
	least, most := inner.Range()
	return least >= flatShare*most
}

// flatShare is the part of its largest value above which a row that never goes below it says nothing over time.
const flatShare = 0.9

// label is what a row is called where it is drawn.
func (c *Course) label(r *CourseRow) string {
	if s, ok := map[string]string{"sync": "on locks", "channel": "on channels", "network": "on network", "syscall": "in syscalls",
		"sleep": "asleep", "gc": "GC active", "assist": "GC assists", "paused": "paused"}[r.Name]; ok {
		return s
	}
	return r.Name
}

// top is the value of the highest character: all processors, the whole slice, or else the largest value that is drawn.
func (c *Course) top(r *CourseRow, per int) float64 {
	switch {
	case r.Unit == "share":
		return 1
	case r.Name == "running" && c.Processors > 0:
		return float64(c.Processors)
	}
	joined := CourseRow{Values: r.Join(per)}
	_, most := joined.Range()
	return most
}

// note says what the height of a row means.
func (c *Course) note(r *CourseRow) string {
	least, most := r.Range()
	switch {
	case r.Unit == "share":
		return "at most " + percent(most)
	case r.Name == "running" && c.Processors > 0:
		return fmt.Sprintf("at most %s of %d", amount(most), c.Processors)
	case r.How == CourseMost && r.Unit == "MiB":
		return fmt.Sprintf("%s to %s MiB", amount(least), amount(most))
	case r.How == CourseMost:
		return fmt.Sprintf("%s to %s", amount(least), amount(most))
	case r.How == CourseSum && c.SliceNS > 0:
		return fmt.Sprintf("at most %s in %s", amount(most), Duration(c.SliceNS))
	}
	return "at most " + amount(most)
}

// Text is a value as a number: percent of shares, and what is unit beside it otherwise.
func (r *CourseRow) Text(v float64) string {
	if r.Unit == "share" {
		v *= 100
	}
	return amount(v)
}

// amount writes a value of a row: whole from ten on.
func amount(v float64) string {
	switch {
	case v != math.Trunc(v) && v < 0.1:
		return fmt.Sprintf("%.2g", v)
	case v != math.Trunc(v) && v < 10:
		return fmt.Sprintf("%.1f", v)
	case v < 1e15:
		return Count(int(math.Round(v)))
	}
	return fmt.Sprintf("%.3g", v)
}

// tickEvery is how many columns lie between two marks of the time axis: enough for its longest label.
const tickEvery = 14

// Axis is the time axis under sparklines: a mark every few columns, with its moment.
func (c *Course) Axis(columns int) string {
	n, per := c.Columns(columns)
	width := float64(per) * float64(c.SliceNS)
	if n == 0 || width <= 0 || float64(n)*width > math.MaxInt64/2 {
		return ""
	}
	var b strings.Builder
	used := 0
	for at := 0; at < n; at += tickEvery {
		label := "|+" + Duration(int64(float64(at)*width))
		if at == 0 {
			label = "|+0"
		}
		b.WriteString(strings.Repeat(" ", max(0, at-used)) + label)
		used = max(at, used) + len([]rune(label))
	}
	return b.String()
}

// Head says what one column of the sparklines is.
func (c *Course) Head(columns int) string {
	_, per := c.Columns(columns)
	s := "What happened when: " + Duration(c.SpanNS)
	if began, err := time.Parse(time.RFC3339Nano, c.Began); err == nil {
		s += " from " + began.Format("2006-01-02T15:04:05.000Z")
	}
	if c.SliceNS > 0 && c.SliceNS <= math.MaxInt64/evidenceSlices {
		s += ", a column is " + Duration(c.SliceNS*int64(per))
	}
	return s
}

// evidenceSlices bounds how many slices one column can have.
const evidenceSlices = 1 << 10
