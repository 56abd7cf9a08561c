package gocore

import (
	"encoding/binary"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// describeProcess records what the notes of the core say.
func (t *target) describeProcess() {
	arch := "amd64"
	if t.arm64 {
		arch = "arm64"
	}
	t.b.Process(func(p *evidence.Process) {
		p.PID = t.core.Process.PID
		p.GOOS, p.GOARCH = "linux", arch
		p.Executable = t.core.ExecPath()
		p.Threads = len(t.core.Threads)
	})
}

// describeBuild records the build information.
func (t *target) describeBuild() {
	t.b.Process(func(p *evidence.Process) {
		p.Language, p.Version = "go", t.info.GoVersion
		if _, experiment, ok := strings.Cut(t.info.GoVersion, "X:"); ok {
			p.Experiment = experiment
		}
		p.MainPath, p.MainModule = t.info.Path, t.info.Main.Path
		for _, m := range t.info.Deps {
			p.Modules = append(p.Modules, evidence.Module(moduleOf(m)))
		}
		for _, s := range t.info.Settings {
			p.Settings = append(p.Settings, evidence.Setting{Key: s.Key, Value: s.Value})
		}
	})
}

func moduleOf(m *debug.Module) struct{ Path, Version string } {
	if m.Replace != nil {
		return struct{ Path, Version string }{m.Path, m.Replace.Version}
	}
	return struct{ Path, Version string }{m.Path, m.Version}
}

// Bounds on what is read of the command line and the environment.
const (
	maxArgs   = 1 << 10
	maxArgLen = 1 << 12
)

// readArguments reads the command line from the initial stack: argv and envp are arrays of pointers to strings, and a nil
// ends each (System V ABI). Of the environment the names are kept and never the values.
func (t *target) readArguments() {
	argv, ok := t.word("runtime.argv")
	if !ok || argv == 0 {
		return
	}
	args, next := t.strings(argv)
	environ, _ := t.strings(next)
	for i, e := range environ {
		environ[i], _, _ = strings.Cut(e, "=")
	}
	sort.Strings(environ)
	t.b.Process(func(p *evidence.Process) { p.Args, p.Environ = args, environ })
}

func (t *target) strings(at uint64) (list []string, next uint64) {
	for len(list) < maxArgs {
		ptr, ok := t.core.Mem.Uint64(at)
		at += 8
		if !ok || ptr == 0 {
			break
		}
		s, ok := t.core.Mem.CString(ptr, maxArgLen)
		if !ok {
			break
		}
		list = append(list, s)
	}
	return list, at
}

// describeSources records where the toolchain's sources were when the program was built, so that rules can tell the
// standard library from everything else.
func (t *target) describeSources() {
	const probe = "runtime.main"
	fn, ok := t.tab.Lookup(probe)[probe]
	if !ok {
		return
	}
	file, _ := fn.FileLine(fn.Entry)
	if root, ok := strings.CutSuffix(file, "runtime/proc.go"); ok && root != "" {
		t.b.Process(func(p *evidence.Process) { p.SourceRoot = root })
	}
}

// isSystem reports whether goroutines that start at pc are the runtime's own (runtime/traceback.go, isSystemGoroutine).
func (t *target) isSystem(startpc uint64) bool {
	if known, ok := t.system[startpc]; ok {
		return known
	}
	fn, ok := t.tab.Find(startpc)
	system := ok && strings.HasPrefix(fn.Name(), "runtime.") && !userStarts[fn.Name()]
	t.system[startpc] = system
	return system
}

// userStarts are start functions in package runtime whose goroutines run the user's code.
var userStarts = map[string]bool{"runtime.main": true, "runtime.corostart": true, "runtime.handleAsyncEvent": true}

// maxLabelBytes bounds the labels that are kept of one core; programs that label requests share the sets among goroutines.
const maxLabelBytes = 64 << 20

// labels gives the pprof labels of a goroutine. A set is read once.
func (t *target) labels(set uint64) string {
	text, ok := t.labelTexts[set]
	if ok || t.labelBytes > maxLabelBytes {
		return text
	}
	if t.labelTexts == nil {
		t.labelTexts = map[uint64]string{}
	}
	text = t.readLabels(set)
	t.labelTexts[set] = text
	if t.labelBytes += len(text); t.labelBytes > maxLabelBytes {
		t.b.Gapf("labels of goroutines", "they take more than %d MB, and the rest is left out", maxLabelBytes>>20)
	}
	return text
}

// goString reads a string header and its bytes.
func (t *target) goString(addr uint64) (string, bool) {
	const most = 64 << 10
	header, ok := t.core.Mem.Bytes(addr, 16)
	if !ok {
		return "", false
	}
	ptr, n := binary.LittleEndian.Uint64(header), binary.LittleEndian.Uint64(header[8:])
	if n == 0 {
		return "", true
	}
	if n > most {
		return "", false
	}
	b, ok := t.core.Mem.Bytes(ptr, n)
	return string(b), ok
}

// isRuntime reports whether a function belongs to the runtime, whose frames stand on top of every goroutine that was stopped.
func (t *target) isRuntime(fn pcln.Func) bool { return runtimeName(fn.Name()) }

// runtimeName reports whether the name of a function is that of one of the runtime.
func runtimeName(name string) bool {
	return strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "runtime/") || strings.HasPrefix(name, "internal/runtime/")
}
