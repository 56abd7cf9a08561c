package main

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// variant is one way to build a probe program.
type variant struct {
	arch    string
	program string   // key of programs, or a source text; "" is the large one
	env     []string // such as GOEXPERIMENT=...
	flags   []string // such as -buildmode=pie
}

// programs are the probes. "large" uses what brings the types of the tables into DWARF, which the linker limits to
// what a program can reach; "medium" does without the packages that take long to build; "small" uses next to nothing, so that what is found in it is found in every program.
var programs = map[string]string{
	"large": `package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"time"
)

var (
	mu   sync.Mutex
	rw   sync.RWMutex
	wg   sync.WaitGroup
	once sync.Once
	pool sync.Pool
	m    sync.Map
)

func main() {
	c := sync.NewCond(&mu)
	mu.Lock()
	time.AfterFunc(time.Millisecond, c.Broadcast)
	c.Wait()
	rw.RLock()
	wg.Add(1)
	go wg.Done()
	wg.Wait()
	once.Do(func() { pool.Put(new(int)) })
	m.Store(1, "x")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t := time.NewTicker(time.Second)
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	runtime.SetFinalizer(new([8]int), func(*[8]int) {})
	debug.SetGCPercent(50)
	pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
	l, err := net.Listen("tcp", "localhost:0")
	fmt.Println(l, err, os.Args, len(os.Environ()))
	http.Serve(l, nil)
	io.Copy(os.Stdout, os.Stdin)
	var p runtime.Pinner
	p.Pin(new(int))
	debug.WriteHeapDump(1)
}
`,
	"medium": `package main

import (
	"sync"
	"time"
)

func main() {
	var mu sync.Mutex
	var rw sync.RWMutex
	var wg sync.WaitGroup
	c := sync.NewCond(&mu)
	seen := map[string]int{}
	ch := make(chan int, 1)
	t := time.AfterFunc(time.Millisecond, func() { c.Broadcast(); ch <- 1; wg.Done() })
	wg.Add(1)
	mu.Lock()
	c.Wait()
	rw.Lock()
	select {
	case n := <-ch:
		seen["x"] = n
	case <-time.After(time.Second):
	}
	wg.Wait()
	println(t.Stop(), len(seen))
}
`,
	"small": "package main\n\nfunc main() {\n\tprintln()\n}\n",
}

// builder builds probes with one toolchain in a temporary folder.
type builder struct {
	dir, toolchain string
	built          int
}

// build makes a program. The name of the file is the same for all, so that nothing of it depends on the order.
func (b *builder) build(v variant) (*elf.File, error) {
	b.built++
	dir := filepath.Join(b.dir, fmt.Sprint(b.built))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	text := v.program
	if !isSource(text) {
		text = programs[cmp.Or(v.program, "large")]
	}
	files := map[string]string{"main.go": text, "go.mod": "module probe\n\ngo 1.21\n"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	args := append([]string{"build", "-trimpath", "-o", "probe"}, v.flags...)
	if _, err := b.run(dir, v, append(args, ".")...); err != nil {
		return nil, err
	}
	f, err := elf.Open(filepath.Join(dir, "probe"))
	if err != nil {
		return nil, fmt.Errorf("probe of %s: %w", b.toolchain, err)
	}
	return f, nil
}

// run executes the toolchain's go command.
func (b *builder) run(dir string, v variant, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+b.toolchain, "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOARCH="+v.arch,
		"CGO_ENABLED=0", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
	cmd.Env = append(cmd.Env, v.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s go %s (%s %v): %w\n%s", b.toolchain, strings.Join(args, " "), v.arch, v.env, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
