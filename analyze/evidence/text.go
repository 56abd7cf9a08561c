package evidence

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// The text form of a Case (.case): one record a line, a name and its fields:
//
//	case 1
//	process pid=7 language=go version=go1.26.8
//	frame id=1 function=main.main file=main.go line=12
//	stack id=1 frames=1,2,3
//	goroutine id=1 state=waiting reason="chan receive" stack=1
//
// Fields that are zero are left out. Strings are quoted as in Go when they hold anything but letters, digits and the
// characters of import paths. Frames and stacks come before the rows that name them. Lines that begin with # and empty
// lines are comments. Memory contents, environment values and heap strings are never part of a Case.
const (
	textMagic   = "case"
	textVersion = 1
)

// fields is one record's fields, visited in a fixed order: the same visit writes a record and reads it, so that the two can
// never disagree.
type fields interface {
	str(name string, v *string)
	num(name string, v *int64)
	hex(name string, v *uint64)
	flag(name string, v *bool)
	real(name string, v *float64)
	ids(name string, v *[]FrameID)
	texts(name string, v *[]string)
	counts(name string, v *[]uint32)
	enum(name string, names []string, get func() int, set func(int))
}

// integer visits a field of any integer type.
func integer[T ~int | ~int64 | ~uint32 | ~int32](f fields, name string, v *T) {
	n := int64(*v)
	f.num(name, &n)
	*v = T(n)
	if r, reading := f.(*fieldReader); reading && int64(*v) != n {
		r.fail(name, fmt.Errorf("%d is out of range", n))
	}
}

func enumeration[T ~uint8](f fields, name string, names []string, v *T) {
	f.enum(name, names, func() int { return int(*v) }, func(i int) { *v = T(i) })
}

// WriteText writes the text form. The same Case gives the same bytes.
func (c *Case) WriteText(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	t := &textWriter{w: out}
	fmt.Fprintf(out, "%s %d\n", textMagic, textVersion)
	c.writeRecords(t)
	return out.Flush()
}

func (c *Case) writeRecords(t *textWriter) {
	writeAll(t, "source", c.Sources, (*Source).visit)
	t.record("process", c.Process.visit)
	writeAll(t, "module", c.Process.Modules, (*Module).visit)
	writeAll(t, "setting", c.Process.Settings, (*Setting).visit)
	if c.Death != nil {
		t.record("death", c.Death.visit)
	}
	writeAll(t, "panic", c.Panics, (*Panic).visit)
	if c.Scheduler != nil {
		t.record("scheduler", c.Scheduler.visit)
		writeAll(t, "p", c.Scheduler.Processors, (*Processor).visit)
	}
	if c.Heap != nil {
		t.record("heap", c.Heap.visit)
	}
	for id := 1; id < len(c.frames.frames); id++ {
		t.record("frame", (&frameRecord{FrameID(id), c.frames.frames[id]}).visit)
	}
	for id := 1; id < c.Stacks(); id++ {
		r := stackRecord{ID: StackID(id), Frames: c.stacks.frames(StackID(id)), Note: c.stacks.notes[StackID(id)]}
		t.record("stack", r.visit)
	}
	for s := range c.Syncs() {
		t.record("sync", s.visit)
	}
	for i, g := range c.Goroutines().All() {
		r := goroutineRecord{g, c.Goroutines().Labels(i)}
		t.record("goroutine", r.visit)
	}
	writeAll(t, "wait", c.selects, (*Wait).visit)
	writeAll(t, "thread", c.Threads, (*Thread).visit)
	writeAll(t, "hold", c.Holds, (*Hold).visit)
	writeAll(t, "transfer", c.Transfers, (*Transfer).visit)
	writeAll(t, "variable", c.Variables, (*Variable).visit)
	writeAll(t, "alarm", c.Alarms, (*Alarm).visit)
	writeAll(t, "loop", c.Loops, (*Loop).visit)
	c.writeReachability(t)
	c.writeTimeline(t)
	t.record("coverage", c.Coverage.visit)
	writeAll(t, "gap", c.Gaps, (*Gap).visit)
}

// writeReachability writes what was found out by walking the heap.
func (c *Case) writeReachability(t *textWriter) {
	writeAll(t, "waker", c.Wakers, (*Waker).visit)
	writeAll(t, "pool", c.Pools, (*Pool).visit)
	writeAll(t, "pooluse", c.PoolUses, (*PoolUse).visit)
	for _, p := range c.Paths {
		t.record("path", p.visit)
		writeAll(t, "step", p.Steps, (*PathStep).visit)
	}
	if c.Proof != nil {
		t.record("proof", c.Proof.visit)
	}
	if c.HeapUse != nil {
		t.record("heapuse", c.HeapUse.visit)
		writeAll(t, "heapclass", c.HeapUse.Classes, (*HeapClass).visit)
		writeAll(t, "heaptype", c.HeapUse.Types, (*HeapType).visit)
		for _, r := range c.HeapUse.Retained {
			t.record("retained", r.visit)
			writeAll(t, "retainedtype", r.Types, (*HeapType).visit)
		}
		writeAll(t, "holder", c.HeapUse.Holders, (*Holder).visit)
	}
}

func writeAll[T any](t *textWriter, name string, rows []T, visit func(*T, fields)) {
	for i := range rows {
		row := rows[i] // a copy: visiting must not touch the Case
		t.record(name, func(f fields) { visit(&row, f) })
	}
}

// textWriter writes the fields of a record.
type textWriter struct {
	w   *bufio.Writer
	buf []byte
}

func (t *textWriter) record(name string, visit func(fields)) {
	t.w.WriteString(name)
	visit(t)
	t.w.WriteByte('\n')
}

func (t *textWriter) put(name string, value []byte) {
	t.w.WriteByte(' ')
	t.w.WriteString(name)
	t.w.WriteByte('=')
	t.w.Write(value)
}

func (t *textWriter) str(name string, v *string) {
	if *v != "" {
		t.put(name, appendText(t.buf[:0], *v))
	}
}

func (t *textWriter) num(name string, v *int64) {
	if *v != 0 {
		t.put(name, strconv.AppendInt(t.buf[:0], *v, 10))
	}
}

func (t *textWriter) hex(name string, v *uint64) {
	if *v != 0 {
		t.put(name, strconv.AppendUint(append(t.buf[:0], "0x"...), *v, 16))
	}
}

func (t *textWriter) flag(name string, v *bool) {
	if *v {
		t.put(name, []byte("true"))
	}
}

func (t *textWriter) real(name string, v *float64) {
	if *v != 0 {
		t.put(name, strconv.AppendFloat(t.buf[:0], *v, 'g', -1, 64))
	}
}

func (t *textWriter) ids(name string, v *[]FrameID) {
	b := t.buf[:0]
	for i, id := range *v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(id), 10)
	}
	if len(b) > 0 {
		t.put(name, b)
	}
}

func (t *textWriter) texts(name string, v *[]string) {
	b := t.buf[:0]
	for i, s := range *v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, s)
	}
	if len(b) > 0 {
		t.put(name, b)
	}
}

func (t *textWriter) counts(name string, v *[]uint32) {
	b := t.buf[:0]
	for i, n := range *v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	if len(b) > 0 {
		t.put(name, b)
	}
}

func (t *textWriter) enum(name string, names []string, get func() int, _ func(int)) {
	if i := get(); i != 0 {
		t.put(name, appendText(t.buf[:0], nameOf(names, i)))
	}
}

// appendText quotes s unless it is a plain word.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if !plainByte(s[i]) {
			return strconv.AppendQuote(b, s)
		}
	}
	return append(b, s...)
}

// plainByte reports whether a byte needs no quotes: letters, digits and what import paths and function names are made of.
func plainByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '.', '/', '_', '-', '*', '(', ')', '[', ']', ':', '@', '+', '~':
		return true
	}
	return false
}
