package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// filling sets every field that it visits to a value of its own, so that a round trip that forgets one is seen.
type filling struct{ n int64 }

func (f *filling) next() int64 { f.n++; return f.n }

func (f *filling) str(_ string, v *string) {
	*v = fmt.Sprintf("text %d, \"quoted\" = ü\n\xff", f.next())
}
func (f *filling) num(_ string, v *int64)       { *v = f.next() }
func (f *filling) hex(_ string, v *uint64)      { *v = math.MaxUint64 - uint64(f.next()) }
func (f *filling) flag(_ string, v *bool)       { *v = true }
func (f *filling) real(_ string, v *float64)    { *v = 1.0 / float64(f.next()) }
func (f *filling) ids(_ string, v *[]FrameID)   { *v = []FrameID{FrameID(f.next()), FrameID(f.next())} }
func (f *filling) texts(_ string, v *[]string)  { *v = []string{"a,b", "", fmt.Sprint(f.next())} }
func (f *filling) counts(_ string, v *[]uint32) { *v = []uint32{uint32(f.next()), 0, uint32(f.next())} }
func (f *filling) enum(_ string, names []string, _ func() int, set func(int)) {
	set(len(names) - 1)
}

// record is a row of the text form.
type record interface{ visit(fields) }

func filled[T any, P interface {
	*T
	record
}](f *filling) T {
	var v T
	P(&v).visit(f)
	return v
}

// fullBuilder makes a Case in which every table has a row and every field of a row a value.
func fullBuilder() *Builder {
	f := &filling{}
	b := NewBuilder()
	b.Source(filled[Source](f))
	b.Process(func(p *Process) {
		p.visit(f)
		p.Modules = []Module{filled[Module](f), filled[Module](f)}
		p.Settings = []Setting{filled[Setting](f)}
	})
	b.Death(func(d *Death) { d.visit(f) })
	sched := filled[Scheduler](f)
	sched.Processors = []Processor{filled[Processor](f), filled[Processor](f)}
	b.Scheduler(sched)
	b.Heap(filled[Heap](f))
	b.Coverage(filled[Coverage](f))
	fillRows(b, f)
	b.Gap("stack of goroutine 17", "a page is missing")
	return b
}

func fillRows(b *Builder, f *filling) {
	var frames []FrameID
	for range 3 {
		frames = append(frames, b.Frame(filled[frameRecord](f).Frame))
	}
	frames = append(frames, 0) // a frame of which nothing is known
	stack := b.Stack(frames, StackNote{Elided: 7, ElidedAt: 2, Broken: "no more"})
	r := filled[goroutineRecord](f)
	r.Stack, r.Created = stack, frames[1]
	b.Label(b.Goroutine(r.Goroutine), r.Labels)
	b.Goroutine(Goroutine{ID: 1 << 40, Parent: -3, Seconds: math.MaxUint32})
	b.Sync(filled[Sync](f))
	b.Sync(Sync{Addr: 0x20, Kind: SyncChannel, Len: 3, Cap: 4, Closed: true, Waiters: -1})
	b.Sync(Sync{Addr: 0x10, Kind: SyncChannel, Waiters: -1})
	b.Wait(filled[Wait](f))
	thread := filled[Thread](f)
	thread.Stack = stack
	b.Thread(thread)
	hold := filled[Hold](f)
	hold.Frame, hold.Site = frames[0], frames[2]
	b.Hold(hold)
	b.Transfer(filled[Transfer](f))
	b.Panic(filled[Panic](f))
	b.Variable(filled[Variable](f))
	b.Alarm(filled[Alarm](f))
	loop := filled[Loop](f)
	loop.Back = frames[1]
	b.Loop(loop)
}

func textOf(tb testing.TB, c *Case) string {
	tb.Helper()
	var out bytes.Buffer
	if err := c.WriteText(&out); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

func fromText(text string) (*Case, error) {
	b := NewBuilder()
	if err := ReadText(strings.NewReader(text), b); err != nil {
		return nil, err
	}
	return b.Finish(), nil
}

// TestTextRoundTrip writes a Case in which every field has a value and reads it again: text and tables must be the same.
func TestTextRoundTrip(t *testing.T) {
	c := fullBuilder().Finish()
	text := textOf(t, c)
	again, err := fromText(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got := textOf(t, again); got != text {
		t.Errorf("written again it is\n%s\nwant\n%s", got, text)
	}
	for _, table := range []struct {
		name      string
		want, got any
	}{
		{"sources", c.Sources, again.Sources}, {"process", c.Process, again.Process}, {"death", c.Death, again.Death},
		{"scheduler", c.Scheduler, again.Scheduler}, {"heap", c.Heap, again.Heap}, {"panics", c.Panics, again.Panics},
		{"threads", c.Threads, again.Threads}, {"holds", c.Holds, again.Holds}, {"transfers", c.Transfers, again.Transfers},
		{"variables", c.Variables, again.Variables}, {"alarms", c.Alarms, again.Alarms}, {"loops", c.Loops, again.Loops},
		{"gaps", c.Gaps, again.Gaps}, {"coverage", c.Coverage, again.Coverage}, {"kinds", c.Kinds(), again.Kinds()},
		{"groups", c.Groups(), again.Groups()}, {"syncs", slices.Collect(c.Syncs()), slices.Collect(again.Syncs())},
	} {
		if !reflect.DeepEqual(table.want, table.got) {
			t.Errorf("%s: %+v, want %+v", table.name, table.got, table.want)
		}
	}
	for i, g := range c.Goroutines().All() {
		if got := again.Goroutines().At(i); got != g || again.Goroutines().Labels(i) != c.Goroutines().Labels(i) {
			t.Errorf("goroutine %d: %+v, want %+v", g.ID, got, g)
		}
	}
}

// elsewhere are fields that are records of their own.
var elsewhere = map[string]bool{"Modules": true, "Settings": true, "Processors": true}

// TestTextFields holds the records to the structs: a field that is added and not written would be lost in a saved Case.
func TestTextFields(t *testing.T) {
	for _, r := range []record{new(Source), new(Gap), new(Process), new(Module), new(Setting), new(Death), new(Panic),
		new(Scheduler), new(Processor), new(Heap), new(frameRecord), new(stackRecord), new(goroutineRecord), new(Sync),
		new(Wait), new(Hold), new(Transfer), new(Thread), new(Variable), new(Alarm), new(Loop), new(Coverage)} {
		r.visit(&filling{})
		checkFilled(t, reflect.ValueOf(r).Elem())
	}
}

func checkFilled(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch {
		case elsewhere[field.Name]:
		case field.Type.Kind() == reflect.Struct:
			checkFilled(t, v.Field(i))
		case v.Field(i).IsZero():
			t.Errorf("%s.%s is not part of the text form", v.Type().Name(), field.Name)
		}
	}
}

func TestTextErrors(t *testing.T) {
	for name, test := range map[string]struct {
		text, part string
		line       int
	}{
		"empty":           {"", "case 1", 1},
		"no header":       {"process pid=1\n", "header", 1},
		"other version":   {"case 2\n", `reads "case 1"`, 1},
		"unknown record":  {"case 1\nfish x=1\n", `unknown record "fish"`, 2},
		"unknown fields":  {"case 1\n\n# a comment\nprocess zebra=1 ant=2\n", `unknown field "ant"`, 4},
		"no value":        {"case 1\nprocess pid\n", "want name=value", 2},
		"twice":           {"case 1\nprocess pid=1 pid=2\n", "stands twice", 2},
		"bad number":      {"case 1\nprocess pid=x\n", "field pid", 2},
		"bad quote":       {"case 1\nprocess version=\"go\n", "quoted string", 2},
		"bad flag":        {"case 1\nprocess stripped=maybe\n", "field stripped", 2},
		"bad enum":        {"case 1\ngoroutine id=1 state=dancing\n", `unknown value "dancing"`, 2},
		"bad list":        {"case 1\nprocess args=a\n", "field args", 2},
		"too large":       {"case 1\ngoroutine id=1 seconds=4294967296\n", "out of range", 2},
		"negative":        {"case 1\ngoroutine id=1 stack=-1\n", "out of range", 2},
		"no such frame":   {"case 1\nstack id=1 frames=7\n", "frame 7 has no record", 2},
		"no such stack":   {"case 1\ngoroutine id=1 stack=7\n", "stack 7 has no record", 2},
		"no such creator": {"case 1\ngoroutine id=1 created=7\n", "created 7 has no record", 2},
		"thread's stack":  {"case 1\nthread tid=1 stack=7\n", "stack 7 has no record", 2},
		"hold's site":     {"case 1\nhold site=7\n", "site 7 has no record", 2},
		"frame 0":         {"case 1\nframe function=f\n", "field id", 2},
		"stack 0":         {"case 1\nstack broken=x\n", "field id", 2},
		"p alone":         {"case 1\np id=1\n", "must follow the scheduler", 2},
		"long line":       {"case 1\n" + strings.Repeat("x", maxTextLine+1), "too long", 2},
	} {
		_, err := fromText(test.text)
		var fault *TextError
		if !errors.As(err, &fault) || fault.Line != test.line || !strings.Contains(err.Error(), test.part) {
			t.Errorf("%s: error %v, want line %d and %q", name, err, test.line, test.part)
		}
	}
}

// TestTextAfterCore reads a saved Case behind another source, which has the first word.
func TestTextAfterCore(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	b.Process(func(p *Process) { p.PID, p.Language = 7, "go" })
	b.Death(func(d *Death) { d.Signal = 6 })
	b.Scheduler(Scheduler{GOMAXPROCS: 2})
	known := b.Stack([]FrameID{b.Frame(Frame{Function: "main.core"})}, StackNote{})
	b.Goroutine(Goroutine{ID: 1, State: StateRunning, Stack: known})
	b.Source(Source{Path: "saved.case"})
	text := "case 1\nprocess pid=8\nmodule path=x.test/m\ndeath signal=11\nscheduler gomaxprocs=9\np id=0\nheap live=0x10\n" +
		"frame id=1 function=main.text\nstack id=1 frames=1\n" +
		"goroutine id=1 state=waiting stack=1 seconds=5\ngoroutine id=2 state=waiting stack=1\n"
	if err := ReadText(strings.NewReader(text), b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	if c.Process.PID != 7 || len(c.Process.Modules) != 0 || c.Death.Signal != 6 || c.Scheduler.GOMAXPROCS != 2 ||
		len(c.Scheduler.Processors) != 0 || c.Heap == nil || c.Heap.Live != 0x10 {
		t.Errorf("process %+v, death %+v, scheduler %+v, heap %+v", c.Process, c.Death, c.Scheduler, c.Heap)
	}
	one, _ := c.Goroutines().ByID(1)
	two, _ := c.Goroutines().ByID(2)
	if one.Stack != known || one.State != StateRunning || one.Seconds != 5 {
		t.Errorf("goroutine 1 is %+v", one)
	}
	if c.Stack(two.Stack).At(0).Function != "main.text" {
		t.Errorf("goroutine 2 has stack %v", two.Stack)
	}
}

func TestIsText(t *testing.T) {
	for head, want := range map[string]bool{"case 1\n": true, "case": false, "": false, "cases 1": false} {
		if IsText([]byte(head)) != want {
			t.Errorf("IsText(%q) = %v", head, !want)
		}
	}
}

// brokenWriter fails after some bytes.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriteTextError(t *testing.T) {
	if err := fullBuilder().Finish().WriteText(&brokenWriter{10}); err == nil {
		t.Error("a full disk gave no error")
	}
}

// FuzzText holds the text form to its promise: what can be read is written, and then read again as the same.
func FuzzText(f *testing.F) {
	f.Add(textOf(f, fullBuilder().Finish()))
	f.Add(textOf(f, timelineBuilder().Finish()))
	f.Add("case 1\ntimeline span=-1 slice=-1\nslice run=4294967295\nsite load=0,0 hist=1\nshare goroutine=-1\nrelease\nholdpart\npair\n")
	f.Add("case 1\n")
	f.Add("case 1\nsync addr=0x1 kind=channel len=-1\nsync addr=0x1 kind=channel cap=4294967296\n")
	f.Add("case 1\nframe id=1 function=f\nstack id=1 frames=1,1 elided=-1\ngoroutine id=-1 stack=1 created=1 parent=-9\n")
	f.Add("case 1\nscheduler gomaxprocs=1\np id=1\nheap cpu=NaN\nwait goroutine=1 sync=0x1\n")
	saved, err := filepath.Glob("../format/godump/testdata/*.case")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range saved {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := fromText(text)
		if err != nil {
			var fault *TextError
			if !errors.As(err, &fault) || fault.Line < 1 {
				t.Fatalf("error %v names no line", err)
			}
			return
		}
		first := textOf(t, c)
		again, err := fromText(first)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
		if second := textOf(t, again); second != first {
			t.Errorf("written again:\n%s\nwant\n%s", second, first)
		}
		checkIndexes(t, c)
	})
}

// checkIndexes holds the derived tables to the rows.
func checkIndexes(t *testing.T, c *Case) {
	t.Helper()
	rows := 0
	for _, g := range c.Groups() {
		members := slices.Collect(c.Members(g))
		if len(members) != g.Count || members[0] != g.First {
			t.Errorf("group %+v has members %v", g, members)
		}
		rows += g.Count
	}
	if rows != c.Goroutines().Len() {
		t.Errorf("groups hold %d of %d goroutines", rows, c.Goroutines().Len())
	}
	for object := range c.Contended(1) {
		for _, row := range object.Rows {
			if c.Goroutines().At(int(row)).WaitsOn != object.Sync.Addr {
				t.Errorf("row %d does not wait for %#x", row, object.Sync.Addr)
			}
		}
	}
	for i := range c.Goroutines().Len() {
		for _, w := range c.Waits(i) {
			if w.Goroutine != c.Goroutines().At(i).ID {
				t.Errorf("row %d has the wait %+v", i, w)
			}
		}
	}
}
