package layout

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// probe is a small program that keeps the types of most tables in its DWARF.
const probe = `package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

func main() {
	var mu sync.Mutex
	c := sync.NewCond(&mu)
	ch := make(chan map[string]int, 1)
	time.AfterFunc(time.Millisecond, c.Broadcast)
	mu.Lock()
	c.Wait()
	select {
	case m := <-ch:
		fmt.Println(m)
	case <-time.After(time.Second):
		fmt.Fprintln(os.Stderr, "late")
	}
}
`

// network is a program with large parts of the standard library.
const network = `package main

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

func main() {
	fmt.Println(debug.ReadBuildInfo())
	fmt.Println(http.ListenAndServe("localhost:0", nil))
}
`

// lacking skips a test because of a tool that is missing, which on CI is a failure.
func lacking(t testing.TB, tool string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %v", tool, err)
	}
	t.Skipf("needs %s: %v", tool, err)
}

// local is the release of the toolchain that runs the tests.
func local(t testing.TB) string {
	t.Helper()
	v, err := ParseVersion(runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	return v.Release()
}

// goCommand prepares the go command of a toolchain, which must be on the machine already.
func goCommand(t testing.TB, toolchain, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		lacking(t, "the go command", err)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOPROXY=off", "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// toolchains finds those with which the tables were made or compared, as far as they are on the machine.
func toolchains(t testing.TB) []string {
	t.Helper()
	var found []string
	for _, release := range Known("") {
		table, err := loadTable("go" + release + "_amd64")
		if err != nil {
			t.Fatal(err)
		}
		names := []string{table.toolchain, table.compared}
		for _, e := range table.earlier {
			names = append(names, e.toolchain)
		}
		for _, name := range names {
			if out, err := goCommand(t, name, t.TempDir(), nil, "version").CombinedOutput(); err != nil {
				t.Logf("%s is not on this machine: %s", name, out)
			} else if !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	if len(found) == 0 {
		lacking(t, "a Go toolchain of the tables", os.ErrNotExist)
	}
	return found
}

// build makes a program. The environment may set GOARCH and so on.
func build(t testing.TB, toolchain, source string, env []string, flags ...string) *elf.File {
	t.Helper()
	f, _ := buildFile(t, toolchain, source, env, flags...)
	return f
}

func buildFile(t testing.TB, toolchain, source string, env []string, flags ...string) (f *elf.File, path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": source, "go.mod": "module probe\n\ngo 1.21\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"build", "-o", "probe"}, flags...)
	if out, err := goCommand(t, toolchain, dir, env, append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("%s go %s %v: %v\n%s", toolchain, strings.Join(args, " "), env, err, out)
	}
	path = filepath.Join(dir, "probe")
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, path
}

// programOf makes the Program of an executable from its pclntab, as a reader of a stripped one does. text is the address of
// runtime.text.
func programOf(t testing.TB, f *elf.File, text uint64) Program {
	t.Helper()
	var pclntab []byte
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro"} {
		if s := f.Section(name); s != nil && pclntab == nil {
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			pclntab = data
		}
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(pclntab, text))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]gosym.Func{}
	for _, fn := range table.Funcs {
		if _, again := byName[fn.Name]; !again {
			byName[fn.Name] = fn
		}
	}
	return Program{
		Func: func(name string) (uint64, uint64, bool) {
			fn, ok := byName[name]
			return fn.Entry, fn.End, ok
		},
		Read: func(p []byte, addr uint64) error { return readSegment(f, p, addr) },
	}
}

func readSegment(f *elf.File, p []byte, addr uint64) error {
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD && addr >= s.Vaddr && addr < s.Vaddr+s.Filesz {
			_, err := s.ReadAt(p, int64(addr-s.Vaddr))
			return err
		}
	}
	return fmt.Errorf("no segment holds %#x", addr)
}

// symbol gives the address of a symbol.
func symbol(t testing.TB, f *elf.File, name string) uint64 {
	t.Helper()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name {
			return s.Value
		}
	}
	t.Fatalf("no symbol %s", name)
	return 0
}
