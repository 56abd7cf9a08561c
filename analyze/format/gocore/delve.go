package gocore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	delvecore "github.com/go-delve/delve/pkg/proc/core"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// Arguments and local variables are delve's ground: it reads location lists and types of any DWARF. It is asked for a few
// goroutines only (216 to 297 us each), only with an executable that was proved to be the right one, and behind recover, a
// deadline and a cap: on hostile input it may panic, run for long or allocate much.

// Bounds on what delve may cost.
const (
	delveDeadline  = 20 * time.Second
	maxDWARF       = 512 << 20 // bytes of debug information; delve keeps an index of it in memory
	maxDelveGs     = 20_000    // it reads the goroutines one by one until it finds the one it is asked for
	maxDelveStacks = 64        // goroutines
	maxDelveFrames = 24        // of each
	maxDelveDepth  = 10_000    // frames of a goroutine: it keeps every one of them
)

// subject is a goroutine whose variables are wanted, with its frames as they stand in the Case.
type subject struct {
	goid   int64
	frames []evidence.FrameID
}

// readVariables loads the variables of the goroutines that the options name.
func (t *target) readVariables(ctx context.Context) {
	subjects := t.subjects()
	if len(subjects) == 0 {
		return
	}
	if why := t.noVariables(); why != "" {
		t.b.Gap("arguments and local variables", why)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, delveDeadline)
	defer cancel()
	done := make(chan delveAnswer, 1)
	ask := delveQuestion{core: t.in.File.Name(), exe: t.image.Path, dirs: t.in.Options.DebugDirs, subjects: subjects,
		frame: t.b.FrameOf}
	go func() { done <- ask.answer(ctx) }()
	select {
	case a := <-done:
		for _, v := range a.variables {
			t.b.Variable(v)
		}
		if a.err != nil {
			t.b.Gapf("arguments and local variables", "delve: %v", a.err)
		}
	case <-ctx.Done():
		t.b.Gapf("arguments and local variables", "delve had not read them after %v", delveDeadline)
	}
}

// subjects are the goroutines whose variables are wanted.
func (t *target) subjects() []subject {
	if t.in.Options.Variables == format.VariablesNone {
		return nil
	}
	var list []subject
	if m := t.dead; m != nil && m.flags.Has(evidence.FlagCrashed) && m.goid != 0 {
		s := subject{goid: m.goid}
		u := newUnwinder(t)
		for _, p := range m.parts {
			if p.place == placeGoroutine {
				s.frames = t.symbols.appendFrames(s.frames, u.numbers(nil, p.pcs), p.trap, u)
			}
		}
		if len(s.frames) <= maxDelveDepth {
			list = append(list, s)
		}
	}
	for _, r := range t.representatives {
		if len(list) == 0 || r.goid != list[0].goid {
			list = append(list, r)
		}
	}
	return list
}

// noVariables says why variables cannot be had; "" when they can.
func (t *target) noVariables() string {
	switch {
	case t.exe == nil:
		return "there is no executable"
	case t.exe.Section(".debug_info") == nil && t.exe.Section(".zdebug_info") == nil:
		return "the executable has no debug information (linked with -w, or stripped)"
	case t.goroutines > maxDelveGs:
		return fmt.Sprintf("the process has more than %d goroutines, and delve would read them all", maxDelveGs)
	}
	size := uint64(0)
	for _, s := range t.exe.Sections {
		if strings.Contains(s.Name, "debug_") {
			size += s.Size
		}
	}
	if size > maxDWARF {
		return fmt.Sprintf("the executable has %d bytes of debug information, more than delve is given", size)
	}
	return ""
}

// delveQuestion is what delve is asked. It holds copies only, so that an answer that comes too late touches nothing.
type delveQuestion struct {
	core, exe string
	dirs      []string
	subjects  []subject
	frame     func(evidence.FrameID) evidence.Frame
}

type delveAnswer struct {
	variables []evidence.Variable
	err       error
}

// answer asks delve. A panic in it is an error.
func (q *delveQuestion) answer(ctx context.Context) (a delveAnswer) {
	defer func() {
		if v := recover(); v != nil {
			a.err = fmt.Errorf("it panicked: %v", v)
		}
	}()
	group, err := delvecore.OpenCore(q.core, q.exe, q.dirs)
	if err != nil {
		return delveAnswer{err: err}
	}
	defer group.Detach(false) //nolint:errcheck // a core has nothing to detach from
	for _, s := range q.subjects {
		if ctx.Err() != nil || overMemory() {
			return delveAnswer{a.variables, errors.New("it was stopped by the deadline or the memory cap")}
		}
		vars, err := q.variablesOf(group.Selected, s)
		if err != nil && a.err == nil {
			a.err = fmt.Errorf("goroutine %d: %w", s.goid, err)
		}
		a.variables = append(a.variables, vars...)
	}
	return a
}

// maxDelveHeap is how much this process's heap may be while delve works.
const maxDelveHeap = 2 << 30

func overMemory() bool {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse > maxDelveHeap
}

// loading keeps delve from following anything: strings, slices, maps and pointers are named by length or address.
var loading = proc.LoadConfig{MaxStructFields: 0}

func (q *delveQuestion) variablesOf(tgt *proc.Target, s subject) ([]evidence.Variable, error) {
	g, err := proc.FindGoroutine(tgt, s.goid)
	if err != nil {
		return nil, err
	}
	frames, err := proc.GoroutineStacktrace(tgt, g, len(s.frames)+maxDelveFrames, 0)
	if err != nil {
		return nil, err
	}
	var out []evidence.Variable
	depth, loaded := 0, 0
	for i := range frames {
		at, ok := q.match(s.frames, depth, &frames[i])
		if !ok {
			continue
		}
		depth = at + 1
		if strings.HasPrefix(q.frame(s.frames[at]).Function, "runtime.") || loaded == maxDelveFrames {
			continue
		}
		loaded++
		out = append(out, loadFrame(tgt, g, frames[i:], s.goid, at)...)
	}
	return out, nil
}

// match finds the frame of the Case that delve's frame is, at depth from or further out: the same pc, and the same line where
// calls were inlined.
func (q *delveQuestion) match(frames []evidence.FrameID, from int, f *proc.Stackframe) (int, bool) {
	for i := from; i < len(frames); i++ {
		if own := q.frame(frames[i]); own.PC == f.Current.PC && own.Line == f.Call.Line {
			return i, true
		}
	}
	return 0, false
}

func loadFrame(tgt *proc.Target, g *proc.G, frames []proc.Stackframe, goid int64, depth int) []evidence.Variable {
	scope := proc.FrameToScope(tgt, tgt.Memory(), g, 0, frames...)
	args, err := scope.FunctionArguments(loading)
	if err != nil {
		return nil // no debug information for this function: assembly, or a wrapper
	}
	locals, _ := scope.LocalVariables(loading)
	var out []evidence.Variable
	for i, v := range append(args, locals...) {
		value, ok := valueText(v)
		if !ok || v.Flags&proc.VariableReturnArgument != 0 {
			continue
		}
		out = append(out, evidence.Variable{Goroutine: goid, Depth: depth, Name: v.Name, Type: v.TypeString(), Value: value,
			Argument: i < len(args), Trust: evidence.TrustRead})
	}
	return out
}

// valueText prints a variable without its contents; ok is false when it has no value at this pc.
func valueText(v *proc.Variable) (string, bool) {
	if v.Unreadable != nil || v.Name == "" {
		return "", false
	}
	switch v.Kind {
	case reflect.Pointer, reflect.UnsafePointer, reflect.Interface:
		return pointerText(v), len(v.Children) > 0
	case reflect.String:
		return fmt.Sprintf("string of %d bytes", v.Len), true
	case reflect.Slice:
		if v.Base == 0 {
			return "nil", true
		}
		return fmt.Sprintf("len %d, cap %d", v.Len, v.Cap), true
	case reflect.Map:
		if v.Base == 0 && v.Len == 0 {
			return "nil", true
		}
		return fmt.Sprintf("len %d", v.Len), true
	case reflect.Chan, reflect.Struct, reflect.Array:
		return "", false // channels stand among the objects; the others would be their contents
	case reflect.Func:
		if v.Base == 0 {
			return "nil", true
		}
		return fmt.Sprintf("%#x", v.Base), true
	}
	if v.Value == nil {
		return "", false
	}
	return v.Value.String(), true
}

func pointerText(v *proc.Variable) string {
	if len(v.Children) == 0 || v.Children[0].Addr == 0 {
		return "nil"
	}
	return fmt.Sprintf("%#x", v.Children[0].Addr)
}
