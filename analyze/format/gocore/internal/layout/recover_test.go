package layout

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// always are the variables without which a core of a stripped program cannot be read well: Recover must find them in every
// ordinary executable of the toolchains of the tables.
var always = []string{
	"runtime.allgs", "runtime.allglen", "runtime.allgptr", "runtime.allm", "runtime.allp", "runtime.gomaxprocs", "runtime.sched",
	"runtime.semtable", "runtime.printBacklog", "runtime.printBacklogIndex", "runtime.memstats", "runtime.gcController",
	"runtime.work", "runtime.gcphase", "runtime.writeBarrier", "runtime.mheap_",
	"runtime.firstmoduledata", "runtime.m0", "runtime.g0", "runtime.panicking", "runtime.argc", "runtime.argv", "runtime.debug",
	"runtime.allfin", "runtime.finq", "runtime.forcegc", "runtime.runtimeInitTime",
}

// recovered compares what Recover says of an executable with its symbols, and returns how many it found.
func recovered(t *testing.T, f *elf.File, version string, must []string) int {
	t.Helper()
	arch, err := archOf(f)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := FromSymbols(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Recover(version, arch, programOf(t, f, symbol(t, f, "runtime.text")))
	if err != nil {
		t.Fatal(err)
	}
	weak := 0
	for _, name := range got.Names() {
		found, _ := got.Lookup(name)
		if want, ok := truth.Addr(name); !ok || found.Addr != want {
			t.Errorf("%s: recovered %#x from %v (against %v), the symbol table says %#x", name, found.Addr, found.For, found.Against, want)
		}
		if found.Weak() {
			weak++
		}
	}
	for _, name := range must {
		if _, ok := got.Addr(name); !ok {
			i := slices.IndexFunc(got.Missing, func(m Missing) bool { return m.Name == name })
			t.Errorf("%s was not found: %v", name, got.Missing[max(i, 0):][:min(1, len(got.Missing))])
		}
	}
	t.Logf("%d found, %d of them weak, %d not: %v", len(got.Names()), weak, len(got.Missing), got.Missing)
	return len(got.Names())
}

// TestRecover checks executables of every toolchain of the tables that is on the machine.
func TestRecover(t *testing.T) {
	for _, toolchain := range toolchains(t) {
		for _, arch := range Arches() {
			for _, mode := range []string{"exe", "pie"} {
				t.Run(toolchain+"_"+arch+"_"+mode, func(t *testing.T) {
					f := build(t, toolchain, probe, []string{"GOARCH=" + arch}, "-buildmode="+mode)
					recovered(t, f, toolchain, always)
				})
			}
		}
	}
}

// TestRecoverOtherBuilds checks what changes code: instruction sets, a large program, cgo, other patch releases.
func TestRecoverOtherBuilds(t *testing.T) {
	toolchain := "go" + local(t)
	if table, err := loadTable(toolchain + "_amd64"); err == nil {
		toolchain = table.toolchain
	}
	// Instruction sets change the number of references of some functions, which then do not vote.
	few := []string{"runtime.allgs", "runtime.allm", "runtime.allp", "runtime.sched", "runtime.semtable", "runtime.mheap_"}
	tests := []struct {
		name, source string
		env          []string
		must         []string
	}{
		{"v3", probe, []string{"GOARCH=amd64", "GOAMD64=v3"}, few},
		{"v8.1", probe, []string{"GOARCH=arm64", "GOARM64=v8.1"}, few},
		{"network_amd64", network, []string{"GOARCH=amd64"}, always},
		{"network_arm64", network, []string{"GOARCH=arm64"}, always},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recovered(t, build(t, "local", test.source, test.env), toolchain, test.must)
		})
	}
}

func TestRecoverCgo(t *testing.T) {
	for arch, compiler := range map[string]string{"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"} {
		t.Run(arch, func(t *testing.T) {
			if _, err := exec.LookPath(compiler); err != nil {
				lacking(t, compiler, err)
			}
			f := build(t, "local", withC(probe), []string{"GOARCH=" + arch, "CGO_ENABLED=1", "CC=" + compiler})
			recovered(t, f, runtime.Version(), always)
		})
	}
}

// TestRecoverOtherPatches checks patch releases that the tables were not made with, where they are on the machine.
func TestRecoverOtherPatches(t *testing.T) {
	core := []string{"runtime.allgs", "runtime.allm", "runtime.allp", "runtime.sched", "runtime.mheap_", "runtime.firstmoduledata"}
	checked := 0
	for _, toolchain := range []string{"go1.21.0", "go1.22.0", "go1.23.0", "go1.24.0", "go1.25.0", "go1.26.0", "go1.26.1"} {
		if _, err := goCommand(t, toolchain, t.TempDir(), nil, "version").CombinedOutput(); err != nil {
			continue
		}
		checked++
		for _, arch := range Arches() {
			t.Run(toolchain+"_"+arch, func(t *testing.T) {
				f := build(t, toolchain, probe, []string{"GOARCH=" + arch})
				recovered(t, f, toolchain, core)
				sameAsTable(t, f, toolchain, arch)
			})
		}
	}
	if checked == 0 {
		lacking(t, "the toolchain of another patch release", errors.New("GOTOOLCHAIN=go1.24.0 go version fetches one"))
	}
}

// TestRecoverStripped reads an executable that was linked without symbols, and compares with one that has them.
func TestRecoverStripped(t *testing.T) {
	for _, arch := range Arches() {
		with := build(t, "local", probe, []string{"GOARCH=" + arch}, "-trimpath")
		without := build(t, "local", probe, []string{"GOARCH=" + arch}, "-trimpath", "-ldflags=-s -w")
		if _, err := FromSymbols(without, 0); !errors.Is(err, ErrNoSymbols) {
			t.Errorf("FromSymbols of a stripped executable: %v", err)
		}
		truth, err := FromSymbols(with, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Recover(runtime.Version(), arch, programOf(t, without, without.Section(".text").Addr))
		if err != nil {
			t.Fatal(err)
		}
		if got.Origin != OriginCode || len(got.Names()) < len(always) {
			t.Errorf("%s: %d found by %s", arch, len(got.Names()), got.Origin)
		}
		for _, name := range got.Names() {
			a, _ := got.Addr(name)
			if want, _ := truth.Addr(name); a != want {
				t.Errorf("%s %s: %#x, its twin with symbols has it at %#x", arch, name, a, want)
			}
		}
	}
}

func TestSymbolsBias(t *testing.T) {
	f := build(t, "local", probe, []string{"GOARCH=amd64"})
	plain, err := FromSymbols(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := FromSymbols(f, 0x555500000000)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range plain.Names() {
		a, _ := plain.Addr(name)
		if b, _ := moved.Addr(name); b-a != 0x555500000000 {
			t.Errorf("%s at %#x, with a bias at %#x", name, a, b)
		}
	}
	if g, _ := plain.Lookup("runtime.allgs"); g.Size != 24 || plain.Origin != OriginSymbols {
		t.Errorf("runtime.allgs: %+v from %s", g, plain.Origin)
	}
}

// fake is a Program of made code: each function is a list of LEAQ addr(RIP), AX.
func fake(functions map[string][]uint64) Program {
	const step = 0x1000
	starts, memory := map[string]uint64{}, map[uint64][]byte{}
	next := uint64(0x400000)
	for _, name := range sortedKeys(functions) {
		var code []byte
		for _, addr := range functions[name] {
			disp := int32(addr - (next + uint64(len(code)) + 7))
			code = append(code, 0x48, 0x8d, 0x05, byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
		}
		starts[name], memory[next] = next, append(code, 0xc3, 0xcc, 0xcc)
		next += step
	}
	return Program{
		Func: func(name string) (uint64, uint64, bool) {
			start, ok := starts[name]
			return start, start + uint64(len(memory[start])), ok
		},
		Read: func(p []byte, addr uint64) error {
			if n := copy(p, memory[addr]); n < len(p) {
				return os.ErrInvalid
			}
			return nil
		},
	}
}

func sortedKeys(m map[string][]uint64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestVote(t *testing.T) {
	from := func(function string, nth, total int) ref {
		return ref{variable: "v", function: function, nth: nth, total: total, add: 8}
	}
	refs := []ref{from("a", 0, 1), from("b", 1, 2), from("c", 0, 1), {variable: "v", function: "d", total: 1}}
	tests := []struct {
		name      string
		functions map[string][]uint64
		want      uint64
		votes     int
		why       string
	}{
		{"all agree", map[string][]uint64{"a": {0x500008}, "b": {1 << 22, 0x500008}, "c": {0x500008}}, 0x500000, 3, ""},
		{"one of four against", map[string][]uint64{"a": {0x500008}, "b": {1 << 22, 0x500008}, "c": {0x500008}, "d": {0x600000}}, 0x500000, 3, ""},
		{"two against one", map[string][]uint64{"a": {0x500008}, "b": {1 << 22, 0x500008}, "c": {0x600008}}, 0, 0, "2 functions say 0x500000, 1 otherwise"},
		{"one changed", map[string][]uint64{"a": {0x500008}, "b": {0x600008, 0x700008, 0x800008}, "c": {0x500008}}, 0x500000, 2, ""},
		{"one against one", map[string][]uint64{"a": {0x500008}, "b": {1 << 22, 0x600008}}, 0, 0, "only a refers to it"},
		{"one of two", map[string][]uint64{"a": {0x500008}, "b": {0x600008}}, 0, 0, "only a refers to it"},
		{"the only one", map[string][]uint64{"c": {0x500008}}, 0x500000, 1, ""},
		{"none", map[string][]uint64{"x": {0x500008}}, 0, 0, "not in the executable"},
		{"all changed", map[string][]uint64{"a": {}, "b": {}}, 0, 0, "0 references, 1 when the table was made"},
		{"not data", map[string][]uint64{"a": {0x900008}}, 0, 0, "address 0x900000 is not that of a variable"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := fake(test.functions)
			p.InData = func(addr uint64) bool { return addr < 0x900000 }
			s := &scanner{program: p, arch: "amd64", scanned: map[string]scan{}}
			got, err := s.vote(refs)
			if test.why != "" {
				if err == nil || !strings.Contains(err.Error(), test.why) {
					t.Errorf("error %v, want %q", err, test.why)
				}
				return
			}
			if err != nil || got.Addr != test.want || len(got.For) != test.votes || !got.Weak() {
				t.Errorf("%#x by %v, %v; want %#x by %d", got.Addr, got.For, err, test.want, test.votes)
			}
		})
	}
}

// TestWeak checks when agreement counts as independent.
func TestWeak(t *testing.T) {
	tests := []struct {
		name string
		refs []ref
		weak bool
	}{
		{"one function", []ref{{"v", "a", 0, 1, 0}}, true},
		{"two at the start", []ref{{"v", "a", 0, 1, 0}, {"v", "b", 0, 1, 0}}, false},
		{"two at the same part", []ref{{"v", "a", 0, 1, 8}, {"v", "b", 0, 1, 8}}, true},
		{"two at different parts", []ref{{"v", "a", 0, 1, 8}, {"v", "b", 0, 1, 16}}, false},
	}
	for _, test := range tests {
		functions := map[string][]uint64{}
		for _, r := range test.refs {
			functions[r.function] = []uint64{0x500000 + r.add}
		}
		s := &scanner{program: fake(functions), arch: "amd64", scanned: map[string]scan{}}
		got, err := s.vote(test.refs)
		if err != nil || got.Addr != 0x500000 || got.Weak() != test.weak {
			t.Errorf("%s: %+v, %v; want weak %v", test.name, got, err, test.weak)
		}
	}
}

func TestRecoverBadProgram(t *testing.T) {
	broken := map[string]Program{
		"unreadable": {Func: func(string) (uint64, uint64, bool) { return 0x1000, 0x1100, true }, Read: func([]byte, uint64) error { return os.ErrInvalid }},
		"backwards":  {Func: func(string) (uint64, uint64, bool) { return 0x1100, 0x1000, true }, Read: func([]byte, uint64) error { return nil }},
		"endless":    {Func: func(string) (uint64, uint64, bool) { return 0, 1 << 63, true }, Read: func([]byte, uint64) error { return nil }},
		"no code": {Func: func(string) (uint64, uint64, bool) { return 0x1000, 0x1100, true }, Read: func(p []byte, _ uint64) error {
			copy(p, bytes.Repeat([]byte{0x06}, len(p)))
			return nil
		}},
		"empty": {Func: func(string) (uint64, uint64, bool) { return 0, 0, false }},
	}
	for name, p := range broken {
		got, err := Recover("go1.26.8", "amd64", p)
		if err != nil || len(got.Names()) != 0 || len(got.Missing) == 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for _, m := range got.Missing {
			if m.Name == "" || m.Why == "" {
				t.Errorf("%s: a variable without name or reason: %v", name, fmt.Sprint(m))
			}
		}
	}
}

func TestTLSOffset(t *testing.T) {
	for _, flags := range []string{"-ldflags=", "-ldflags=-s -w", "-buildmode=pie"} {
		if got, ok := TLSOffset(build(t, "local", probe, []string{"GOARCH=amd64"}, flags)); !ok || got != -8 {
			t.Errorf("%s: g at FS%+d, %v; want -8", flags, got, ok)
		}
	}
	if got, ok := TLSOffset(build(t, "local", probe, []string{"GOARCH=arm64"})); ok {
		t.Errorf("arm64 has g at %d", got)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		lacking(t, "gcc", err)
	}
	with := build(t, "local", withC(probe), []string{"GOARCH=amd64", "CGO_ENABLED=1"})
	if got, ok := TLSOffset(with); !ok || got >= 0 {
		t.Errorf("with cgo g is at FS%+d, %v", got, ok)
	}
}
