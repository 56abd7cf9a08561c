package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// eachTable runs a test for every release and architecture.
func eachTable(t *testing.T, check func(t *testing.T, l *Layout)) {
	t.Helper()
	for _, release := range Known("") {
		for _, arch := range Arches() {
			t.Run(release+"_"+arch, func(t *testing.T) {
				l, err := For(tableToolchain(t, release), arch)
				if err != nil {
					t.Fatal(err)
				}
				if l.Origin != OriginTable || len(l.Doubts()) > 0 {
					t.Errorf("origin %s, doubts %q", l.Origin, l.Doubts())
				}
				check(t, l)
			})
		}
	}
}

// tableToolchain is the version that the table of a release was made with.
func tableToolchain(t *testing.T, release string) string {
	t.Helper()
	table, err := loadTable("go" + release + "_amd64")
	if err != nil {
		t.Fatal(err)
	}
	return table.toolchain
}

// measured are offsets that were read from cores with a debugger, before these tables existed.
var measured = map[string]struct{ size, goid, waiting, sig uint64 }{
	"1.21": {408, 152, 312, 216},
	"1.22": {424, 152, 312, 216},
	"1.23": {432, 160, 320, 224},
	"1.24": {440, 160, 320, 228},
	"1.25": {440, 152, 312, 220},
	"1.26": {456, 152, 320, 224},
}

func TestMeasuredOffsets(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		want := measured[l.Version.Release()]
		size, _ := l.Size("runtime.g")
		at, err := l.Fields("runtime.g.goid", "runtime.g.waiting", "runtime.g.sig")
		if err != nil {
			t.Fatal(err)
		}
		if size != want.size || at[0] != want.goid || at[1] != want.waiting || at[2] != want.sig {
			t.Errorf("runtime.g: size %d, goid, waiting and sig at %d; want %+v", size, at, want)
		}
	})
}

// needed are the paths that a reader of cores relies on, in every version; alternatives stand in one line.
const needed = `
	runtime.g.stack.lo runtime.g.stack.hi runtime.g._panic runtime.g._defer runtime.g.m runtime.g.sched.sp runtime.g.sched.pc
	runtime.g.sched.g runtime.g.sched.lr runtime.g.sched.bp runtime.g.syscallsp runtime.g.syscallpc runtime.g.param
	runtime.g.atomicstatus runtime.g.goid runtime.g.schedlink runtime.g.waitsince runtime.g.waitreason runtime.g.preempt
	runtime.g.paniconfault runtime.g.parkingOnChan runtime.g.lockedm runtime.g.sig runtime.g.writebuf runtime.g.sigcode0
	runtime.g.sigcode1 runtime.g.sigpc runtime.g.parentGoid runtime.g.gopc runtime.g.ancestors runtime.g.startpc
	runtime.g.waiting runtime.g.cgoCtxt runtime.g.labels runtime.g.timer runtime.g.selectDone
	runtime.m.g0 runtime.m.gsignal runtime.m.curg runtime.m.p runtime.m.id runtime.m.mallocing runtime.m.throwing
	runtime.m.preemptoff runtime.m.locks runtime.m.dying runtime.m.spinning runtime.m.blocked runtime.m.incgo
	runtime.m.ncgocall runtime.m.alllink runtime.m.lockedg runtime.m.procid runtime.m.lockedExt runtime.m.isextra
	runtime.m.profileTimerValid runtime.m.chacha8.seed|runtime.m.fastrand|runtime.m.cheaprand
	runtime.p.id runtime.p.status runtime.p.schedtick runtime.p.m runtime.p.runqhead runtime.p.runqtail runtime.p.runq[255]
	runtime.p.runnext runtime.p.gFree runtime.p.timers.heap.len|runtime.p.timers.len
	runtime.schedt.midle runtime.schedt.npidle runtime.schedt.runq.head runtime.schedt.runqsize|runtime.schedt.runq.size
	runtime.schedt.gcwaiting runtime.schedt.stopwait runtime.schedt.lastpoll
	runtime.sudog.g runtime.sudog.next runtime.sudog.elem runtime.sudog.waitlink runtime.sudog.c runtime.sudog.isSelect
	runtime.hchan.qcount runtime.hchan.dataqsiz runtime.hchan.closed runtime.hchan.recvq.first runtime.hchan.sendq.last
	runtime._panic.arg runtime._panic.link runtime._panic.recovered runtime._defer.sp runtime._defer.pc runtime._defer.fn
	runtime._defer.link runtime._defer.heap runtime.semaRoot.treap runtime.semaRoot.nwait runtime.semTable[250].root.treap
	runtime.notifyList.wait runtime.notifyList.head runtime.pollDesc.fd runtime.pollDesc.rg runtime.pollDesc.wg
	runtime.pollDesc.link runtime.timer.when runtime.timer.f runtime.timer.arg
	runtime.moduledata.pcHeader runtime.moduledata.pclntable.array runtime.moduledata.pclntable.len runtime.moduledata.ftab
	runtime.moduledata.findfunctab runtime.moduledata.funcnametab runtime.moduledata.cutab runtime.moduledata.filetab
	runtime.moduledata.pctab runtime.moduledata.minpc runtime.moduledata.maxpc runtime.moduledata.text
	runtime.moduledata.etext runtime.moduledata.noptrdata runtime.moduledata.data runtime.moduledata.ebss
	runtime.moduledata.enoptrbss runtime.moduledata.gofunc runtime.moduledata.rodata runtime.moduledata.types
	runtime.moduledata.textsectmap runtime.moduledata.modulename runtime.moduledata.hasmain runtime.moduledata.next
	runtime.pcHeader.magic runtime.pcHeader.nfunc runtime.pcHeader.funcnameOffset runtime._func.entryOff
	runtime._func.nameOff runtime._func.pcsp runtime._func.npcdata runtime._func.cuOffset runtime._func.startLine
	runtime._func.funcID runtime._func.nfuncdata runtime.inlinedCall.funcID runtime.inlinedCall.nameOff
	runtime.inlinedCall.parentPc runtime.inlinedCall.startLine
	runtime.gcControllerState.heapMarked runtime.gcControllerState.heapLive runtime.gcControllerState.gcPercent
	runtime.gcControllerState.memoryLimit runtime.gcControllerState.lastHeapGoal runtime.mstats.numgc
	runtime.mstats.gc_cpu_fraction runtime.mstats.last_gc_unix runtime.mstats.pause_total_ns runtime.workType.cycles
	runtime.workType.mode runtime.workType.tstart runtime.mheap.arenas runtime.mheap.allspans.len runtime.mheap.sweepgen
	runtime.mheap.pages.inUse runtime.mheap.central[135].mcentral runtime.mspan.startAddr runtime.mspan.npages
	runtime.mspan.elemsize runtime.mspan.nelems runtime.mspan.allocBits runtime.mspan.state runtime.mspan.spanclass
	runtime.mspan.freeindex runtime.mspan.specials runtime.heapArena.spans[8191] runtime.special.next runtime.special.kind
	runtime.finblock.fin|runtime.finBlock.fin internal/abi.Type.Size_ internal/abi.Type.Str internal/abi.FuncType.InCount
	runtime.itab.Type|runtime.itab._type|internal/abi.ITab.Type runtime.eface.data runtime.iface.tab runtime.stringStruct.len
	runtime.funcval.fn sync.Mutex.state|sync.Mutex.mu.state sync.Mutex.sema|sync.Mutex.mu.sema sync.RWMutex.w
	sync.RWMutex.writerSem sync.RWMutex.readerSem sync.RWMutex.readerCount sync.RWMutex.readerWait sync.WaitGroup.state
	sync.WaitGroup.sema sync.Cond.L sync.Cond.notify.head sync.Once.m internal/poll.FD.fdmu.state internal/poll.FD.Sysfd
	runtime.ucontext.uc_mcontext runtime.siginfo.si_signo runtime.mutex.key`

func TestNeededPaths(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		for _, alternatives := range strings.Fields(needed) {
			if _, ok := l.OffsetAny(strings.Split(alternatives, "|")...); !ok {
				t.Errorf("no %s", alternatives)
			}
		}
	})
}

// TestSignalFrame pins the kernel's ABI, which does not move: uc_mcontext is at 40 and 176, and holds R8 first on amd64
// (asm/sigcontext.h: then RIP is the 17th) and 31 registers after the fault address on arm64.
func TestSignalFrame(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		want := map[string]map[string]uint64{
			"amd64": {"runtime.ucontext.uc_mcontext": 40, "runtime.sigcontext.r8": 0, "runtime.sigcontext.rsp": 120, "runtime.sigcontext.rip": 128},
			"arm64": {"runtime.ucontext.uc_mcontext": 176, "runtime.sigcontext.regs[30]": 248, "runtime.sigcontext.sp": 256, "runtime.sigcontext.pc": 264},
		}[l.Arch]
		for path, offset := range want {
			if got, ok := l.Offset(path); !ok || got != offset {
				t.Errorf("%s at %d, %v; want %d", path, got, ok, offset)
			}
		}
	})
}

func TestAbsent(t *testing.T) {
	l, err := For("go1.26.8", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", ".", "[", "runtime", "runtime.g.", "runtime.g.nosuch", "runtime.g.lo", "runtime.nosuch.x", "runtime.g..goid",
		"runtime.g.goid.x", "runtime.p.runq[256]", "runtime.p.runq[-1]", "runtime.p.runq[x]", "runtime.g[0]", "runtime.schedt.runqsize", "runtime.g.writebuf.str"} {
		if offset, ok := l.Offset(path); ok {
			t.Errorf("Offset(%q) = %d; want none", path, offset)
		}
		if size, ok := l.Size(path); ok {
			t.Errorf("Size(%q) = %d; want none", path, size)
		}
	}
	_, err = l.Fields("runtime.g.goid", "runtime.g.nosuch", "runtime.m.none")
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Paths) != 2 || !strings.Contains(err.Error(), "go1.26.8 on amd64: no field runtime.g.nosuch, runtime.m.none") {
		t.Errorf("Fields of absent paths: %v", err)
	}
}

func TestNestedPaths(t *testing.T) {
	l, err := For("go1.26.8", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	sched, _ := l.Offset("runtime.g.sched")
	pc, _ := l.Offset("runtime.gobuf.pc")
	if got, _ := l.Offset("runtime.g.sched.pc"); got != sched+pc {
		t.Errorf("g.sched.pc at %d, want %d + %d", got, sched, pc)
	}
	promoted, ok := l.Offset("runtime.m.profileTimer")
	if direct, _ := l.Offset("runtime.m.mOS.profileTimer"); !ok || promoted != direct {
		t.Errorf("m.profileTimer at %d, %v; m.mOS.profileTimer at %d", promoted, ok, direct)
	}
	stride, count, ok := l.Array("runtime.semTable")
	if size, _ := l.Size("runtime.semTable"); !ok || count != 251 || stride*count != size {
		t.Errorf("semTable: %d elements of %d bytes, %d in all", count, stride, size)
	}
	if fifth, _ := l.Offset("runtime.semTable[5].root"); fifth != 5*stride {
		t.Errorf("semTable[5] at %d, want %d", fifth, 5*stride)
	}
	if stride, _, ok := l.Array("runtime.moduledata.textsectmap"); !ok || stride != 24 {
		t.Errorf("elements of moduledata.textsectmap have %d bytes, %v", stride, ok)
	}
	if elem := l.Elem("runtime.g.m"); elem != "runtime.m" {
		t.Errorf("g.m points to %q", elem)
	}
	if size, _ := l.Size("runtime.moduledata.modulename"); size != 16 {
		t.Errorf("a string has %d bytes", size)
	}
	if names := l.FieldNames("runtime.stack"); len(names) != 2 || names[0] != "lo" {
		t.Errorf("fields of runtime.stack: %q", names)
	}
}

func TestFacts(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		reasons := l.WaitReasons()
		if len(reasons) < 30 || reasons[0] != "" {
			t.Fatalf("%d wait reasons, the first %q", len(reasons), reasons[0])
		}
		text := strings.Join(reasons, "|")
		for _, want := range []string{"IO wait", "chan receive", "select (no cases)", "semacquire", "sync.Cond.Wait", "sleep", "sync.Mutex.Lock"} {
			if !strings.Contains(text, want) {
				t.Errorf("no wait reason %q", want)
			}
		}
		for status, want := range map[uint32]string{0: "idle", 1: "runnable", 2: "running", 3: "syscall", 4: "waiting", 0x1004: "waiting", 9: "preempted", 5: "", 77: ""} {
			if got := l.StatusName(status); got != want {
				t.Errorf("status %#x is %q, want %q", status, got, want)
			}
		}
		for name, want := range map[string]int64{"runtime._Gscan": 0x1000, "runtime._Gwaiting": 4, "internal/abi.FuncID_gopark": -1} {
			if got, ok := l.Const(name); want >= 0 && (!ok || got != want) {
				t.Errorf("constant %s = %d, %v; want %d", name, got, ok, want)
			}
		}
	})
}

// TestWaitReasonNumbers pins a number that differs between versions (runtime/runtime2.go of each).
func TestWaitReasonNumbers(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		want := map[string]int{"1.21": 18, "1.22": 18, "1.23": 18, "1.24": 18, "1.25": 19, "1.26": 13}[l.Version.Release()]
		if got := slices.Index(l.WaitReasons(), "semacquire"); got != want {
			t.Errorf("semacquire is number %d, want %d", got, want)
		}
	})
}

func TestDoubts(t *testing.T) {
	for version, want := range map[string]string{
		"go1.26rc1":              "pre-release",
		"go1.26.9999":            "by a later patch release",
		"devel go1.26-abc":       "development version",
		"go1.26.8 X:nosuchthing": "GOEXPERIMENT=nosuchthing",
	} {
		l, err := For(version, "arm64")
		if err != nil {
			t.Fatal(err)
		}
		if doubts := strings.Join(l.Doubts(), ", "); !strings.Contains(doubts, want) {
			t.Errorf("doubts of %q: %q, want %q", version, doubts, want)
		}
	}
}

// memory is a process's memory that begins at an address.
type memory struct {
	base int64
	data []byte
}

func (m memory) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, at-m.base)
}

// goroutine makes a runtime.g of a layout with the given fields.
func goroutine(t *testing.T, l *Layout, fields map[string]uint64) memory {
	t.Helper()
	size, _ := l.Size("runtime.g")
	m := memory{base: 0xc000002000, data: make([]byte, size)}
	for name, value := range fields {
		offset, ok := l.Offset("runtime.g." + name)
		if !ok {
			t.Fatalf("no field %s", name)
		}
		width, _ := l.Size("runtime.g." + name)
		if width == 4 {
			binary.LittleEndian.PutUint32(m.data[offset:], uint32(value))
		} else {
			binary.LittleEndian.PutUint64(m.data[offset:], value)
		}
	}
	return m
}

func TestCheckG(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		good := func() map[string]uint64 {
			return map[string]uint64{"stack.lo": 0xc000100000, "stack.hi": 0xc000100800, "sched.sp": 0xc000100700, "goid": 18, "atomicstatus": 4, "sched.g": 0xc000002000}
		}
		if err := l.CheckG(goroutine(t, l, good()), 0xc000002000); err != nil {
			t.Errorf("a parked goroutine: %v", err)
		}
		for field, value := range map[string]uint64{"stack.lo": 0xc000200000, "stack.hi": 1, "sched.sp": 0x7f0000000000, "goid": 0xc000100000000000, "atomicstatus": 0x4242, "m": 0xc000100001, "sched.g": 0xc000004000} {
			bad := good()
			bad[field] = value
			if err := l.CheckG(goroutine(t, l, bad), 0xc000002000); err == nil {
				t.Errorf("a goroutine with %s = %#x is not refused", field, value)
			}
		}
		if err := l.CheckG(memory{}, 0x1000); err == nil {
			t.Error("unreadable memory is not an error")
		}
	})
}

// TestCheckGFindsWrongLayout reads a goroutine of Go 1.26 with the layouts of others: those that place goid elsewhere see
// something else in it.
func TestCheckGFindsWrongLayout(t *testing.T) {
	right, err := For("go1.26", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := For("go1.23", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	m := goroutine(t, right, map[string]uint64{"stack.lo": 0xc000100000, "stack.hi": 0xc000100800, "sched.sp": 0xc000100700,
		"goid": 18, "atomicstatus": 4, "schedlink": 0xc000004001})
	if err := right.CheckG(m, 0xc000002000); err != nil {
		t.Error(err)
	}
	a, _ := right.Offset("runtime.g.goid")
	b, _ := wrong.Offset("runtime.g.goid")
	if a == b {
		t.Fatal("goid is at the same place in Go 1.23 and 1.26")
	}
}
