package specimen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Test is a trace of Go's own tests.
type Test struct {
	Name  string
	Bytes []byte
	Fails bool // internal/trace is expected to fail on it
}

// OfGo gives the traces that Go ships for testing internal/trace. A GOROOT without them skips the test.
func OfGo(t testing.TB) []Test {
	t.Helper()
	tests, err := ofGo()
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) == 0 {
		t.Skip("this GOROOT has no src/internal/trace/testdata/tests")
	}
	return tests
}

// SeedsOfGo gives the small ones of them, where there are any.
func SeedsOfGo() []Test {
	const most = 1 << 10 // bytes
	tests, _ := ofGo()   // a fuzz target does without them
	return slices.DeleteFunc(tests, func(t Test) bool { return len(t.Bytes) > most })
}

func ofGo() ([]Test, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	dir := filepath.Join(string(bytes.TrimSpace(root)), "src", "internal", "trace", "testdata", "tests")
	paths, err := filepath.Glob(filepath.Join(dir, "*.test"))
	if err != nil {
		return nil, err
	}
	var tests []Test
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		head, body, ok := strings.Cut(string(text), "-- trace --\n")
		if !ok {
			return nil, fmt.Errorf("%s has no file \"trace\"", path)
		}
		test := Test{Name: strings.TrimSuffix(filepath.Base(path), ".test"), Fails: strings.Contains(head, "\nFAILURE")}
		if test.Bytes, err = Encode(body); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		tests = append(tests, test)
	}
	return tests, nil
}

// codes are the types of events (internal/trace/tracev2/events.go, Go 1.26), by their names in the text form: numbered from 1.
var codes = codesOf(1, `EventBatch Stacks Stack Strings String CPUSamples CPUSample Frequency ProcsChange ProcStart ProcStop ProcSteal
	ProcStatus GoCreate GoCreateSyscall GoStart GoDestroy GoDestroySyscall GoStop GoBlock GoUnblock GoSyscallBegin GoSyscallEnd
	GoSyscallEndBlocked GoStatus STWBegin STWEnd GCActive GCBegin GCEnd GCSweepActive GCSweepBegin GCSweepEnd GCMarkAssistActive
	GCMarkAssistBegin GCMarkAssistEnd HeapAlloc HeapGoal GoLabel UserTaskBegin UserTaskEnd UserRegionBegin UserRegionEnd UserLog GoSwitch
	GoSwitchDestroy GoCreateBlocked GoStatusStack ExperimentalBatch Sync ClockSnapshot EndOfGeneration`)

func codesOf(first int, names string) map[string]byte {
	m := map[string]byte{}
	for i, name := range strings.Fields(names) {
		m[name] = byte(first + i)
	}
	return m
}

// Encode turns the text form of a trace into bytes. A line is the header, an event with its arguments, or (indented) a frame of the stack
// or the data of the string above it. The size of a batch may be written as "auto".
func Encode(text string) ([]byte, error) {
	e := &encoder{}
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := e.line(line, fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	e.endBatch()
	return e.out, nil
}

type encoder struct {
	out  []byte
	data int // where the data of a batch begin whose size is still to be written; 0 for none
}

func (e *encoder) line(line string, fields []string) (err error) {
	data, isData := strings.CutPrefix(strings.TrimSpace(line), "data=")
	switch {
	case e.out == nil:
		version, ok := strings.CutPrefix(strings.TrimSpace(line), "Trace Go1.")
		if !ok {
			return errors.New("no header")
		}
		e.out = fmt.Appendf(nil, "go 1.%s trace\x00\x00\x00", version)
	case isData:
		if data, err = strconv.Unquote(data); err == nil {
			e.out = append(binary.AppendUvarint(e.out, uint64(len(data))), data...)
		}
	case strings.HasPrefix(line, "\t"):
		e.out, err = appendArgs(e.out, fields)
	default:
		return e.event(fields)
	}
	return err
}

func (e *encoder) event(fields []string) (err error) {
	code, ok := codes[fields[0]]
	if !ok {
		return fmt.Errorf("unknown event %s", fields[0])
	}
	if fields[0] == "EventBatch" || fields[0] == "EndOfGeneration" {
		e.endBatch()
	}
	last := len(fields) - 1
	auto := fields[last] == "size=auto"
	if auto {
		fields = fields[:last]
	}
	e.out, err = appendArgs(append(e.out, code), fields[1:])
	if auto {
		e.data = len(e.out)
	}
	return err
}

// endBatch writes the size of the batch before its data.
func (e *encoder) endBatch() {
	if e.data > 0 {
		e.out = slices.Insert(e.out, e.data, binary.AppendUvarint(nil, uint64(len(e.out)-e.data))...)
		e.data = 0
	}
}

// appendArgs appends the values of name=value.
func appendArgs(out []byte, args []string) ([]byte, error) {
	for _, arg := range args {
		if strings.HasPrefix(arg, "#") {
			break
		}
		_, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("argument %q has no value", arg)
		}
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", arg, err)
		}
		out = binary.AppendUvarint(out, v)
	}
	return out, nil
}
