package evidence

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// TextError is a line of a .case file that could not be read.
type TextError struct {
	Line  int
	Doing string
	Err   error
}

// Error names the line and what was being read.
func (e *TextError) Error() string { return fmt.Sprintf("line %d: %s: %v", e.Line, e.Doing, e.Err) }

// Unwrap returns the cause.
func (e *TextError) Unwrap() error { return e.Err }

// IsText reports whether head, the first bytes of a file, begins the text form of a Case.
func IsText(head []byte) bool { return strings.HasPrefix(string(head), textMagic+" ") }

// maxTextLine bounds one line, in bytes. The longest real ones are the arguments of a process: Linux takes up to 6 MiB
// (fs/exec.c, bprm_stack_limits), and quoting can double them.
const maxTextLine = 16 << 20

// ReadText reads the text form into a Builder. Errors are of type *TextError.
func ReadText(r io.Reader, to *Builder) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 1<<16), maxTextLine)
	t := &textReader{to: to, frames: map[FrameID]FrameID{0: 0}, stacks: map[StackID]StackID{0: 0}}
	t.read = t.readers()
	line := 1
	for ; scan.Scan(); line++ {
		text := scan.Text()
		if text == "" || text[0] == '#' {
			continue
		}
		if err := t.line(text); err != nil {
			return &TextError{line, "record", err}
		}
	}
	if err := scan.Err(); err != nil {
		return &TextError{line, "reading", err}
	}
	if !t.opened {
		return &TextError{1, "header", errors.New("the first line must be: case 1")}
	}
	t.finish()
	return nil
}

// textReader turns records into calls of a Builder. Ids of frames and stacks are translated: the Builder may already hold
// some from another source.
type textReader struct {
	to     *Builder
	frames map[FrameID]FrameID
	stacks map[StackID]StackID
	opened bool
	read   map[string]func(*fieldReader)

	// What exists once is handed over at the end, where no earlier source has told of it.
	process   Process
	death     *Death
	scheduler *Scheduler
	heap      *Heap
	heapUse   *HeapUse
	path      *Path // the one whose steps are being read
	timeline  timelineReader
}

func (t *textReader) finish() {
	c := t.to.c
	if p := &c.Process; p.Language == "" && p.Version == "" && p.PID == 0 {
		c.Process = t.process
	}
	if c.Death == nil {
		c.Death = t.death
	}
	if c.Scheduler == nil {
		c.Scheduler = t.scheduler
	}
	if c.Heap == nil {
		c.Heap = t.heap
	}
	if t.heapUse != nil {
		t.to.HeapUse(*t.heapUse)
	}
	if t.timeline.line != nil {
		t.to.Timeline(*t.timeline.line)
	}
	t.endPath()
}

// endPath hands over the Path that is complete because something else begins.
func (t *textReader) endPath() {
	if t.path != nil {
		t.to.Path(*t.path)
		t.path = nil
	}
}

func (t *textReader) line(text string) error {
	name, rest, _ := strings.Cut(text, " ")
	if !t.opened {
		if name != textMagic || rest != strconv.Itoa(textVersion) {
			return fmt.Errorf("header %q: this version reads \"case %d\"", text, textVersion)
		}
		t.opened = true
		return nil
	}
	f, err := splitFields(rest)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	read, ok := t.read[name]
	if !ok {
		return fmt.Errorf("unknown record %q", name)
	}
	read(f)
	if f.err != nil {
		return fmt.Errorf("%s: %w", name, f.err)
	}
	if len(f.values) > 0 {
		return fmt.Errorf("%s: unknown field %q", name, slices.Sorted(maps.Keys(f.values))[0])
	}
	return nil
}

// readers is the table of records.
func (t *textReader) readers() map[string]func(*fieldReader) {
	b := t.to
	readers := map[string]func(*fieldReader){
		"source":    func(f *fieldReader) { s := Source{}; s.visit(f); b.c.Sources = append(b.c.Sources, s) },
		"process":   func(f *fieldReader) { t.process.visit(f) },
		"module":    func(f *fieldReader) { v := Module{}; v.visit(f); t.process.Modules = append(t.process.Modules, v) },
		"setting":   func(f *fieldReader) { v := Setting{}; v.visit(f); t.process.Settings = append(t.process.Settings, v) },
		"death":     func(f *fieldReader) { t.death = &Death{}; t.death.visit(f) },
		"panic":     func(f *fieldReader) { v := Panic{}; v.visit(f); b.Panic(v) },
		"scheduler": func(f *fieldReader) { t.scheduler = &Scheduler{}; t.scheduler.visit(f) },
		"p":         t.processor,
		"heap":      func(f *fieldReader) { t.heap = &Heap{}; t.heap.visit(f) },
		"frame":     t.frame,
		"stack":     t.stack,
		"sync":      func(f *fieldReader) { v := Sync{}; v.visit(f); b.Sync(v) },
		"goroutine": t.goroutine,
		"wait":      func(f *fieldReader) { v := Wait{}; v.visit(f); b.Wait(v) },
		"thread": func(f *fieldReader) {
			v := Thread{}
			v.visit(f)
			own(f, "stack", t.stacks, &v.Stack)
			b.Thread(v)
		},
		"hold": func(f *fieldReader) {
			v := Hold{}
			v.visit(f)
			own(f, "frame", t.frames, &v.Frame)
			own(f, "site", t.frames, &v.Site)
			b.Hold(v)
		},
		"variable": func(f *fieldReader) { v := Variable{}; v.visit(f); b.Variable(v) },
		"transfer": func(f *fieldReader) { v := Transfer{}; v.visit(f); b.Transfer(v) },
		"alarm":    func(f *fieldReader) { v := Alarm{}; v.visit(f); b.Alarm(v) },
		"loop":     func(f *fieldReader) { v := Loop{}; v.visit(f); own(f, "back", t.frames, &v.Back); b.Loop(v) },
		"coverage": func(f *fieldReader) { v := Coverage{}; v.visit(f); b.Coverage(v) },
		"gap":      func(f *fieldReader) { v := Gap{}; v.visit(f); b.c.Gaps = append(b.c.Gaps, v) },
	}
	maps.Copy(readers, t.reachabilityReaders())
	t.timeline.t = t
	maps.Copy(readers, t.timeline.readers())
	return readers
}

// errNoPath, errNoHeap and errNoRetained are about records that complete another one.
var (
	errNoPath = errors.New("a step record must follow a path record")
	errNoHeap = errors.New("the heapuse record must stand above it")

	errNoParent   = errors.New("a holder is at most one deeper than the one before it")
	errNoRetained = errors.New("a retainedtype record must follow a retained record")
)

// reachabilityReaders are the records of what was found out by walking the heap.
func (t *textReader) reachabilityReaders() map[string]func(*fieldReader) {
	b, heap := t.to, t.ofHeapUse
	return map[string]func(*fieldReader){
		"proof": func(f *fieldReader) { v := Proof{}; v.visit(f); b.Proof(v) },
		"waker": func(f *fieldReader) {
			v := Waker{}
			v.visit(f)
			own(f, "frame", t.frames, &v.Frame)
			own(f, "site", t.frames, &v.Site)
			b.Waker(v)
		},
		"pool": func(f *fieldReader) { v := Pool{}; v.visit(f); b.Pool(v) },
		"pooluse": func(f *fieldReader) {
			v := PoolUse{}
			v.visit(f)
			own(f, "frame", t.frames, &v.Frame)
			b.PoolUse(v)
		},
		"path": func(f *fieldReader) { t.endPath(); t.path = &Path{}; t.path.visit(f) },
		"step": func(f *fieldReader) {
			v := PathStep{}
			v.visit(f)
			if t.path == nil {
				f.fail("step", errNoPath)
				return
			}
			t.path.Steps = append(t.path.Steps, v)
		},
		"heapuse": func(f *fieldReader) { t.heapUse = &HeapUse{}; t.heapUse.visit(f) },
		"heapclass": func(f *fieldReader) {
			v := HeapClass{}
			v.visit(f)
			heap(f, "heapclass", func(h *HeapUse) { h.Classes = append(h.Classes, v) })
		},
		"heaptype": func(f *fieldReader) {
			v := HeapType{}
			v.visit(f)
			heap(f, "heaptype", func(h *HeapUse) { h.Types = append(h.Types, v) })
		},
		"retained": func(f *fieldReader) {
			v := Retained{}
			v.visit(f)
			own(f, "stack", t.stacks, &v.Stack)
			own(f, "created", t.frames, &v.Created)
			heap(f, "retained", func(h *HeapUse) { h.Retained = append(h.Retained, v) })
		},
		"retainedtype": func(f *fieldReader) {
			v := HeapType{}
			v.visit(f)
			heap(f, "retainedtype", func(h *HeapUse) {
				if len(h.Retained) == 0 {
					f.fail("retainedtype", errNoRetained)
					return
				}
				last := &h.Retained[len(h.Retained)-1]
				last.Types = append(last.Types, v)
			})
		},
		"holder": t.holder,
	}
}

// ofHeapUse adds to the heapuse record that came before.
func (t *textReader) ofHeapUse(f *fieldReader, name string, add func(*HeapUse)) {
	if t.heapUse == nil {
		f.fail(name, errNoHeap)
		return
	}
	add(t.heapUse)
}

func (t *textReader) holder(f *fieldReader) {
	v := Holder{}
	v.visit(f)
	own(f, "stack", t.stacks, &v.Stack)
	t.ofHeapUse(f, "holder", func(h *HeapUse) {
		deepest := 0
		if n := len(h.Holders); n > 0 {
			deepest = h.Holders[n-1].Depth + 1
		}
		if v.Depth < 0 || v.Depth > deepest {
			f.fail("holder", errNoParent)
			return
		}
		h.Holders = append(h.Holders, v)
	})
}

func (t *textReader) processor(f *fieldReader) {
	v := Processor{}
	v.visit(f)
	if t.scheduler == nil {
		f.fail("p", errors.New("a p record must follow the scheduler record"))
		return
	}
	t.scheduler.Processors = append(t.scheduler.Processors, v)
}

// own replaces an id of the file by the Builder's.
func own[T ~uint32](f *fieldReader, name string, known map[T]T, id *T) {
	v, ok := known[*id]
	if !ok {
		f.fail(name, fmt.Errorf("%s %d has no record above", name, *id))
	}
	*id = v
}

// errNoID is about a record that nothing could name: id 0 is "none".
var errNoID = errors.New("want a number from 1 on")

func (t *textReader) frame(f *fieldReader) {
	r := frameRecord{}
	r.visit(f)
	if r.ID == 0 {
		f.fail("id", errNoID)
		return
	}
	t.frames[r.ID] = t.to.Frame(r.Frame)
}

func (t *textReader) stack(f *fieldReader) {
	r := stackRecord{}
	r.visit(f)
	if r.ID == 0 {
		f.fail("id", errNoID)
		return
	}
	for i := range r.Frames {
		own(f, "frame", t.frames, &r.Frames[i])
	}
	t.stacks[r.ID] = t.to.Stack(r.Frames, StackNote(r.Note))
}

func (t *textReader) goroutine(f *fieldReader) {
	r := goroutineRecord{}
	r.visit(f)
	own(f, "stack", t.stacks, &r.Stack)
	own(f, "created", t.frames, &r.Created)
	t.to.Label(t.to.Goroutine(r.Goroutine), r.Labels)
}

// fieldReader gives the fields of one line. A field that was read is taken out, so that what is left is unknown.
type fieldReader struct {
	values map[string]string
	err    error
}

// splitFields cuts name=value pairs; values may be quoted.
func splitFields(s string) (*fieldReader, error) {
	f := &fieldReader{values: map[string]string{}}
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("field %q: want name=value", s)
		}
		value, n, err := fieldValue(rest)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		if _, twice := f.values[name]; twice {
			return nil, fmt.Errorf("field %s stands twice", name)
		}
		f.values[name] = value
		s = rest[n:]
	}
	return f, nil
}

// fieldValue returns the raw value at the start of s and its length: everything up to a space outside quotes.
func fieldValue(s string) (string, int, error) {
	i := 0
	for i < len(s) && s[i] != ' ' {
		if s[i] != '"' {
			i++
			continue
		}
		quoted, err := strconv.QuotedPrefix(s[i:])
		if err != nil {
			return "", 0, fmt.Errorf("quoted string at column %d: %w", i+1, err)
		}
		i += len(quoted)
	}
	return s[:i], i, nil
}

func (f *fieldReader) fail(name string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("field %s: %w", name, err)
	}
}

func (f *fieldReader) take(name string) (string, bool) {
	v, ok := f.values[name]
	delete(f.values, name)
	return v, ok
}

// parsed stores the value of a field when it is present and can be parsed.
func parsed[T any](f *fieldReader, name string, v *T, parse func(string) (T, error)) {
	text, ok := f.take(name)
	if !ok {
		return
	}
	value, err := parse(text)
	if err != nil {
		f.fail(name, err)
		return
	}
	*v = value
}

func unquoteText(s string) (string, error) {
	if strings.HasPrefix(s, `"`) {
		return strconv.Unquote(s)
	}
	return s, nil
}

func (f *fieldReader) str(name string, v *string) { parsed(f, name, v, unquoteText) }

func (f *fieldReader) num(name string, v *int64) {
	parsed(f, name, v, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
}

func (f *fieldReader) hex(name string, v *uint64) {
	parsed(f, name, v, func(s string) (uint64, error) { return strconv.ParseUint(s, 0, 64) })
}

func (f *fieldReader) flag(name string, v *bool) { parsed(f, name, v, strconv.ParseBool) }

func (f *fieldReader) real(name string, v *float64) {
	parsed(f, name, v, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
}

func (f *fieldReader) ids(name string, v *[]FrameID) {
	parsed(f, name, v, func(s string) ([]FrameID, error) {
		var ids []FrameID
		for part := range strings.SplitSeq(s, ",") {
			id, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return nil, err
			}
			ids = append(ids, FrameID(id))
		}
		return ids, nil
	})
}

func (f *fieldReader) counts(name string, v *[]uint32) {
	parsed(f, name, v, func(s string) ([]uint32, error) {
		var list []uint32
		for part := range strings.SplitSeq(s, ",") {
			n, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return nil, err
			}
			list = append(list, uint32(n))
		}
		return list, nil
	})
}

func (f *fieldReader) texts(name string, v *[]string) {
	parsed(f, name, v, func(s string) ([]string, error) {
		var list []string
		for s != "" {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, err
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			list = append(list, text)
			s = strings.TrimPrefix(s[len(quoted):], ",")
		}
		return list, nil
	})
}

func (f *fieldReader) enum(name string, names []string, _ func() int, set func(int)) {
	text, ok := f.take(name)
	if !ok {
		return
	}
	text, err := unquoteText(text)
	if err != nil {
		f.fail(name, err)
		return
	}
	for i, n := range names {
		if n == text {
			set(i)
			return
		}
	}
	f.fail(name, fmt.Errorf("unknown value %q", text))
}
