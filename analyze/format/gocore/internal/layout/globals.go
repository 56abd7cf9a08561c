package layout

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Origins of the addresses of globals.
const (
	OriginSymbols = "symbols" // the symbol table
	OriginCode    = "code"    // references in the machine code
)

// GlobalNames lists the variables whose addresses Globals can hold, sorted: all that the tables know. Not every release
// has all of them.
func GlobalNames() []string { return slices.Clone(globalNames) }

// globalNames are variables of package runtime (proc.go, runtime2.go, mheap.go, mgc.go, mgcpacer.go, mstats.go, mfinal.go,
// mcleanup.go, netpoll.go, netpoll_epoll.go, panic.go, print.go, runtime1.go, sema.go, signal_unix.go, stack.go, symtab.go,
// time_nofake.go, mprof.go), and two of its linkname neighbours.
var globalNames = []string{
	"runtime.activeModules", "runtime.allfin", "runtime.allglen", "runtime.allgptr", "runtime.allgs", "runtime.allm",
	"runtime.allp", "runtime.argc", "runtime.argslice", "runtime.argv", "runtime.bbuckets", "runtime.buildVersion",
	"runtime.cgoHasExtraM", "runtime.crashing", "runtime.debug", "runtime.envs", "runtime.epfd", "runtime.extraM",
	"runtime.extraMInUse", "runtime.extraMLength", "runtime.faketime", "runtime.fing", "runtime.fingStatus", "runtime.finq",
	"runtime.firstmoduledata", "runtime.forcegc", "runtime.g0", "runtime.gcBlackenEnabled", "runtime.gcCPULimiter",
	"runtime.gcCleanups", "runtime.gcController", "runtime.gcphase", "runtime.gomaxprocs", "runtime.inf",
	"runtime.iscgo", "runtime.islibrary", "runtime.itabTable", "runtime.lastmoduledatap", "runtime.m0", "runtime.mbuckets",
	"runtime.memstats", "runtime.mheap_", "runtime.modinfo", "runtime.modulesSlice", "runtime.ncpu", "runtime.netpollInited",
	"runtime.netpollWaiters", "runtime.numCPUStartup", "runtime.panicking", "runtime.physPageSize", "runtime.pollcache",
	"runtime.printBacklog", "runtime.printBacklogIndex", "runtime.runningPanicDefers", "runtime.runtimeInitTime",
	"runtime.scavenge", "runtime.sched", "runtime.semtable", "runtime.sig", "runtime.stackLarge", "runtime.stackpool",
	"runtime.startNano", "runtime.startupRand", "runtime.sweep", "runtime.waitReasonStrings", "runtime.work",
	"runtime.worldsema", "runtime.writeBarrier", "runtime.zerobase", "runtime.gStatusStrings", "runtime.xbuckets",
	"runtime.overrideWrite", "runtime.crashFD", "runtime.trace", "runtime.timeUnit", "runtime.freezing", "runtime.newprocs",
	"runtime.gcsema", "runtime.allgLock", "runtime.allpLock", "runtime.paniclk", "runtime.mProfCycle",
}

// Global is where a variable is, and how sure that is.
type Global struct {
	Addr    uint64
	Size    uint64   // bytes, from the symbol table; 0 when recovered from code
	For     []string // functions whose code says so; nil for a symbol
	Against []string // functions whose code says otherwise
	// OnePart says that all those functions refer to the same part of the variable, and not to its start. Where a patch release
	// has moved that part, they are wrong together.
	OnePart bool
}

// Weak reports whether the address rests on a single function's word, or on a single part of the variable.
func (g Global) Weak() bool { return len(g.For) == 1 || g.OnePart }

// Globals holds the addresses of the runtime's global variables. It is immutable.
type Globals struct {
	Origin  string // OriginSymbols or OriginCode
	Missing []Missing
	found   map[string]Global
}

// Missing says why a variable was not found.
type Missing struct{ Name, Why string }

// Addr is the address of a variable such as "runtime.allgs".
func (g *Globals) Addr(name string) (addr uint64, ok bool) {
	found, ok := g.found[name]
	return found.Addr, ok
}

// Lookup gives a variable with how it was found.
func (g *Globals) Lookup(name string) (global Global, ok bool) {
	global, ok = g.found[name]
	return global, ok
}

// Names lists the variables that were found, sorted.
func (g *Globals) Names() []string { return slices.Sorted(maps.Keys(g.found)) }

// ErrNoSymbols says that an executable has no symbol table, or that it does not name the runtime's variables.
var ErrNoSymbols = errors.New("the executable has no symbols of the Go runtime (linked with -s, or stripped)")

// FromSymbols takes the addresses from the symbol table of an executable. bias is added to each: the difference between
// where a position-independent executable was loaded and the addresses in its file. Without symbols of the runtime the
// error wraps ErrNoSymbols.
func FromSymbols(f *elf.File, bias uint64) (*Globals, error) {
	symbols, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, ErrNoSymbols
	}
	if err != nil {
		return nil, fmt.Errorf("symbol table: %w", err)
	}
	wanted := make(map[string]bool, len(globalNames))
	for _, name := range globalNames {
		wanted[name] = true
	}
	g := &Globals{Origin: OriginSymbols, found: map[string]Global{}}
	for _, s := range symbols {
		if wanted[s.Name] && s.Section != elf.SHN_UNDEF {
			g.found[s.Name] = Global{Addr: s.Value + bias, Size: s.Size}
		}
	}
	if len(g.found) == 0 {
		return nil, ErrNoSymbols
	}
	for _, name := range globalNames {
		if _, ok := g.found[name]; !ok {
			g.Missing = append(g.Missing, Missing{name, "not in the symbol table"})
		}
	}
	return g, nil
}

// TLSOffset is where a thread of an amd64 executable keeps its g, relative to the base of FS (negative). It is taken from
// the symbol runtime.tlsg and the segment PT_TLS; without symbols it is known when the segment holds nothing else, which
// is so without cgo, and when there is none (the runtime then sets the base itself, and g is in the word before it:
// cmd/link/internal/ld/sym.go, computeTLSOffset). On arm64 running Go code has its g in R28, and ok is false.
func TLSOffset(f *elf.File) (offset int64, ok bool) {
	if f.Machine != elf.EM_X86_64 {
		return 0, false
	}
	i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_TLS })
	if i < 0 {
		return -wordSize, true
	}
	if f.Progs[i].Memsz > maxSize {
		return 0, false
	}
	// The block ends at the base of FS, its size rounded up to its alignment (System V ABI, ELF TLS, variant II).
	block := f.Progs[i].Memsz
	if align := f.Progs[i].Align; align > 1 && align <= maxSize {
		block = (block + align - 1) / align * align
	}
	symbols, _ := f.Symbols() // without them the size of the segment decides
	for _, s := range symbols {
		if s.Name == "runtime.tlsg" && elf.ST_TYPE(s.Info) == elf.STT_TLS {
			return int64(s.Value) - int64(block), s.Value < block
		}
	}
	return -int64(block), f.Progs[i].Memsz == wordSize
}
