package specimen

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("`go env GOROOT` failed: %v", err)
	}
	dir := filepath.Join(string(bytes.TrimSpace(root)), "src", "internal", "trace", "testdata", "tests")
	paths, err := filepath.Glob(filepath.Join(dir, "*.test"))
	if err != nil || len(paths) == 0 {
		t.Skipf("this GOROOT has no src/internal/trace/testdata/tests: %v", err)
	}
	var tests []Test
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, body, ok := strings.Cut(string(text), "-- trace --\n")
		if !ok {
			t.Fatalf("%s has no file \"trace\"", path)
		}
		test := Test{Name: strings.TrimSuffix(filepath.Base(path), ".test"), Fails: strings.Contains(head, "\nFAILURE")}
		if test.Bytes, err = Encode(body); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		tests = append(tests, test)
	}
	return tests
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
// or the data of the string above it.
func Encode(text string) ([]byte, error) {
	var out []byte
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var err error
		switch data, isData := strings.CutPrefix(strings.TrimSpace(line), "data="); {
		case out == nil:
			version, ok := strings.CutPrefix(strings.TrimSpace(line), "Trace Go1.")
			if !ok {
				err = fmt.Errorf("no header")
			}
			out = fmt.Appendf(nil, "go 1.%s trace\x00\x00\x00", version)
		case isData:
			if data, err = strconv.Unquote(data); err == nil {
				out = append(binary.AppendUvarint(out, uint64(len(data))), data...)
			}
		case strings.HasPrefix(line, "\t"):
			out, err = appendArgs(out, fields)
		default:
			code, ok := codes[fields[0]]
			if !ok {
				err = fmt.Errorf("unknown event %s", fields[0])
			}
			if err == nil {
				out, err = appendArgs(append(out, code), fields[1:])
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return out, nil
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
