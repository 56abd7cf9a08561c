package godump

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// pprofLimit is where net/http/pprof cuts /debug/pprof/goroutine?debug=2, in bytes (runtime/pprof/pprof.go,
// writeGoroutineStacks: "Give up and use 64 MB").
const pprofLimit = 64 << 20

// finish records what is known at the end of the text only.
func (f *filler) finish() {
	f.flushStack()
	for _, b := range f.away {
		if f.awayAt[b.id] == b {
			f.goroutine(b)
		}
	}
	if f.expect != nil {
		f.keepPanics(f.expect, 0)
	}
	for _, p := range f.panics {
		f.to.Panic(p)
	}
	f.finishDeath()
	f.finishLocks()
	f.to.Process(f.process.fill)
	f.to.Coverage(evidence.Coverage{GoroutinesSeen: f.seen, GoroutinesUnwound: f.unwound,
		ThreadsSeen: f.threads, ThreadsUnwound: min(f.threads, maxThreads)})
	f.gaps()
}

// finishDeath records the death, unless an earlier source, which is a core and knows more, has told of one.
func (f *filler) finishDeath() {
	switch {
	case f.death != nil:
		f.to.Death(func(d *evidence.Death) {
			if *d == (evidence.Death{}) {
				*d = f.death.Death
				d.Goroutine = f.culprit
			}
			if d.Detail == "" {
				d.Detail = f.death.Detail
			}
		})
	case f.live:
		f.to.Death(func(d *evidence.Death) {
			if *d == (evidence.Death{}) {
				d.Live = true
			}
		})
	}
}

// finishLocks adds the locks that several goroutines show. Their state is not in the text, but it follows from who is parked
// at them, but for the moment in which a lock changes hands: at a mutex, only while it is locked (internal/sync/mutex.go);
// the writer of an RWMutex, only while readers are inside; readers and other writers, only while a writer is inside or waits
// for that (sync/rwmutex.go).
func (f *filler) finishLocks() {
	for _, addr := range slices.Sorted(maps.Keys(f.locks)) {
		lock := f.locks[addr]
		if lock.count < 2 {
			continue
		}
		f.to.Sync(evidence.Sync{Addr: addr, Kind: lock.kind, Waiters: -1, Locked: !lock.writer, Pending: lock.writer,
			Trust: evidence.TrustMatched})
	}
}

// gaps says what was not read, and what the text does not hold.
func (f *filler) gaps() {
	if left := f.found.count - 1; left > 0 {
		f.to.Gapf("other goroutine dumps in the file", "%d of %d dumps with %d goroutines were left out (%s); the one at line %d was read",
			left, f.found.count, f.found.goroutines-f.found.best.goroutines, f.otherLines(), f.found.best.line)
	}
	if f.seen == 0 {
		f.to.Gap("goroutines", "the runtime printed none")
	}
	f.cutGap()
	if f.death != nil && f.death.Panicking && f.seen == 1 {
		f.to.Gap("all goroutines but the one that panicked",
			"the dump holds one goroutine: with GOTRACEBACK=single, the default, the runtime prints no others")
	}
	for _, at := range f.faults {
		what := fmt.Sprintf("line %d", at.line)
		if at.id != 0 {
			what = fmt.Sprintf("line %d, in goroutine %d", at.line, at.id)
		}
		f.to.Gap(what, at.what)
	}
	if more := f.faultCount - len(f.faults); more > 0 {
		f.to.Gapf("more lines of the dump", "%d further places could not be read", more)
	}
	if f.read.table.full != nil {
		f.to.Gapf("frames", "more than %d distinct frames: the rest is shown as \"?\"", maxEntries)
	}
	if more := f.moves - maxTransfers; more > 0 {
		f.to.Gapf("reads and writes in progress", "%d beyond the first %d were left out", more, maxTransfers)
	}
	if more := f.threads - maxThreads; more > 0 {
		f.to.Gapf("stacks of threads", "%d beyond the first %d were left out", more, maxThreads)
	}
}

// otherLines names the dumps that were left out by their first lines.
func (f *filler) otherLines() string {
	var names []string
	for _, line := range f.found.lines {
		if line != f.found.best.line && len(names) < listed {
			names = append(names, fmt.Sprint(line))
		}
	}
	text := "at line " + strings.Join(names, ", ")
	if f.found.count-1 > len(names) {
		text += " and further on"
	}
	return text
}

// cutGap tells of a text that ends too early.
func (f *filler) cutGap() {
	last := f.found.best.end >= f.in.Size // the dump reaches the end of the file
	const what = "the rest of the dump"
	switch {
	case f.in.Size == pprofLimit && last:
		f.to.Gapf(what, "truncated, %d goroutines seen: the file has exactly 64 MiB, where net/http/pprof cuts "+
			"/debug/pprof/goroutine?debug=2; a core holds them all", f.seen)
	case f.cut != nil:
		f.to.Gapf(what, "truncated, %d goroutines seen: the text ends in the middle of goroutine %d, which begins at line %d",
			f.seen, f.cut.id, f.cut.line)
	case f.found.partial && last:
		f.to.Gapf(what, "truncated, %d goroutines seen: the text ends in the middle of the header of the next one", f.seen)
	}
}

// process is what the files of frames tell about the build.
type process struct{ root, version, goos, goarch string }

// standard are packages whose files give away where the toolchain's sources lie, because they are in nearly every dump. A
// package of the same path elsewhere would have to be called that as well.
var standard = map[string]bool{"runtime": true, "sync": true, "net": true, "net/http": true, "os": true, "syscall": true,
	"internal/poll": true, "internal/sync": true, "testing": true, "time": true, "os/signal": true, "io": true, "bufio": true}

// learn takes the root of the sources from a file name that ends in src/ and the path of its package:
// /usr/local/go/src/sync/mutex.go. The version is known where the toolchain was fetched as a module:
// .../golang.org/toolchain@v0.0.1-go1.24.13.linux-amd64/src/sync/mutex.go.
func (p *process) learn(f evidence.Frame) {
	dir := path.Dir(f.File)
	at := strings.LastIndex(dir, "/src/")
	if at < 0 {
		return
	}
	pkg := dir[at+len("/src/"):]
	if !standard[pkg] || !strings.HasPrefix(f.Function, pkg+".") {
		return
	}
	if p.root == "" {
		p.root = dir[:at+len("/src/")]
		p.toolchain(dir[:at])
	}
	p.platform(strings.TrimSuffix(path.Base(f.File), path.Ext(f.File)), pkg)
}

func (p *process) toolchain(root string) {
	_, name, ok := strings.Cut(path.Base(root), "toolchain@v0.0.1-")
	if !ok {
		return
	}
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		p.version = name[:dot]
		p.goos, p.goarch, _ = strings.Cut(name[dot+1:], "-")
	}
}

// platform takes system and architecture from files of the toolchain that are compiled for one only: asm_amd64.s,
// zsyscall_linux_amd64.go, sys_linux_arm64.s.
func (p *process) platform(base, pkg string) {
	parts := strings.Split(base, "_")
	n := len(parts)
	if n < 2 || (pkg != "runtime" && pkg != "syscall") {
		return
	}
	if arch := parts[n-1]; p.goarch == "" && architectures[arch] {
		p.goarch = arch
	}
	if n > 2 && p.goos == "" && architectures[parts[n-1]] && systems[parts[n-2]] {
		p.goos = parts[n-2]
	}
}

var (
	architectures = map[string]bool{"amd64": true, "arm64": true, "386": true, "arm": true, "riscv64": true, "loong64": true,
		"ppc64le": true, "s390x": true}
	systems = map[string]bool{"linux": true, "darwin": true, "windows": true, "freebsd": true}
)

// fill completes what earlier sources left open.
func (p *process) fill(to *evidence.Process) {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&to.Language, "go")
	set(&to.Version, p.version)
	set(&to.SourceRoot, p.root)
	set(&to.GOOS, p.goos)
	set(&to.GOARCH, p.goarch)
}
