package gocore

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
	"github.com/gopostmortem/postmortem/analyze/format/internal/native"
)

// target is the dead process: its memory, its program, and where the runtime keeps its data.
type target struct {
	in     format.Input
	core   *elfcore.Core
	image  *elfcore.Image // the program's file, verified; nil when there is none
	exe    *elf.File      // the same, for sections and symbols; nil when there is none
	module elfcore.Module // the program as it was mapped
	bias   uint64         // address in memory minus address in the file
	info   *debug.BuildInfo
	layout *layout.Layout
	off    *offsets
	vars   variables
	tab    *pcln.Table
	roles  map[uint64]role // by entry of function
	arm64  bool
	b      *evidence.Builder

	symbols                 symbolizer
	machines                []*machine          // the runtime's Ms, in the order of allm
	gOwner                  map[uint64]*machine // the M that executes a goroutine, by address of the g
	byAddr                  map[uint64]*machine // the Ms by their own address
	native                  *native.Modules     // shared objects, when a thread may have frames of C
	dead                    *machine            // the M on which the process died; nil when none did
	sites                   map[uint64]evidence.FrameID
	system                  map[uint64]bool         // whether the goroutines that start at a pc are the runtime's own
	reasons                 []string                // wait reasons of this version by number
	kinds                   []waitKind              // what each wait reason waits for
	sema                    map[uint64]semaWait     // what goroutines wait for; nil when they tell it themselves
	semaWalked              *semaWalk               // once the table was walked
	now                     int64                   // nanotime of the newest event in the core: the process lived at least until then
	transfers               map[uint64]transferFunc // by entry of function
	truncated               atomic.Bool             // some transfers were left out
	sleepEntry              uint64                  // time.Sleep
	alarms                  []pendingAlarm
	pollDelay               int64                        // how long the thread that waits for the network will wait, in ns; 0 when unknown
	timers                  map[uint64]uint64            // by channel, up to Go 1.22
	waitGroupWait, condWait uint64                       // entries of functions
	lockEntries             map[uint64]lockFunc          // by entry of function
	libraryEntry            map[uint64]bool              // functions of package sync itself
	suspects                []suspect                    // goroutines that may hold a lock
	workers                 []*worker                    // that have read the goroutines
	acts                    map[uint64]actFunc           // by entry of function
	channels                []uint64                     // that somebody waits for; some of them several times
	locks                   map[uint64]evidence.SyncKind // locks that somebody waits for
	searched                int                          // words compared with locks
	symtab                  []elf.Symbol                 // read when a global is first asked for
	representatives         []subject                    // one goroutine of each distinct stack, when their variables are wanted
	goroutines              int                          // live ones
	broken                  broken                       // stacks of goroutines
	brokenThreads           broken                       // stacks of threads
	waiting                 map[waitKey]int              // goroutines by the lock they wait for
	moving                  int                          // goroutines that are not parked
	waking                  int                          // of them, those that are about to wake all who wait for something
	wakers                  []uint64                     // entries of the functions that do
	queued                  []uint64                     // channels, once for each place in their queues that a goroutine has
	miscounts               []miscount                   // locks that count other numbers of waiters
	unreadable              []uint64                     // locks that are not in the core
	lost                    int                          // goroutines for whose wait the core has no memory
	poolEntries             map[uint64]poolKind          // by entry of function: those in which goroutines wait for a slot
	slotWaiters             []uint64                     // goroutines in them
	labelTexts              map[uint64]string            // by address of the label set
	labelBytes              int                          // of all that were read
	sleepers                []proofRow                   // all live goroutines, for the proof
	never                   int                          // goroutines that can never wake
	figures                 evidence.Heap                // what the runtime says of its heap
	unread                  int                          // goroutines whose structures are not in the core
	seeks                   bool                         // it is searched who could wake whom, and which goroutines can never wake
	gCount, gListed         uint64                       // entries of allgs, and those of them that are in the core
}

// open opens a core and everything that is needed to understand it. The order matters: nothing of the executable is used
// before it is proved.
func open(in format.Input, to *evidence.Builder) (*target, error) {
	if isExecutable(in.Head) {
		return nil, &format.Error{Path: in.Path, Format: formatName, Offset: -1, Doing: "opening",
			Err:  errors.New("this is an executable, not a core dump"),
			Help: "give the core file, and the executable with --exe"}
	}
	core, gaps, err := elfcore.OpenFile(in.File, in.Path, elfcore.Options{})
	if err != nil {
		return nil, asFormatError(in, "opening the core", err)
	}
	for _, g := range gaps {
		to.Gap(g.What, g.Why)
	}
	t := &target{in: in, core: core, b: to, arm64: core.Machine == elf.EM_AARCH64}
	t.describeProcess()
	return t, nil
}

func (t *target) close() { _ = t.core.Close() } // only read from: nothing can be lost

// asFormatError turns an error of elfcore into the facade's type.
func asFormatError(in format.Input, doing string, err error) error {
	fe := &format.Error{Path: in.Path, Format: formatName, Offset: -1, Doing: doing, Err: err}
	var ee *elfcore.Error
	if errors.As(err, &ee) && ee.Path == in.Path {
		fe.Offset, fe.Doing, fe.Err = ee.Offset, ee.Doing, ee.Err
	}
	return fe
}

// findProgram finds and proves the executable. A file that is proved to be another program's is an error, whether the user named it or
// it was found, and so is a named one that cannot be used. When none is found that is a Gap, and the rest of the core is still read.
func (t *target) findProgram() error {
	m, ok := t.core.Executable()
	if !ok {
		m = elfcore.Module{Exe: true}
	}
	t.module = m
	opt := t.in.Options
	image, v, err := t.core.Load(m, elfcore.FindOptions{
		Exe: opt.Executable, Sysroot: opt.Sysroot, DebugDirs: opt.DebugDirs, BesideCore: true})
	if err != nil {
		return t.noProgram(err)
	}
	t.image, t.bias = image, v.Bias
	t.b.Process(func(p *evidence.Process) { p.Executable = image.Path })
	t.b.SourceDetails(func(s *evidence.Source) { s.BuildID = image.Identify().String() })
	t.exe, err = image.ELF()
	if err != nil {
		t.b.Gap("section headers of the executable", err.Error())
	}
	return nil
}

// noProgram decides what a missing or wrong executable means.
func (t *target) noProgram(err error) error {
	var mismatch *elfcore.MismatchError
	named := t.in.Options.Executable != "" && !errors.Is(err, elfcore.ErrUnverified)
	if named || errors.As(err, &mismatch) {
		return &format.Error{Path: t.in.Path, Format: formatName, Offset: -1, Doing: "checking the executable", Err: err,
			Help: "name the executable that the process ran with --exe; a rebuild of the same source is another executable"}
	}
	t.b.Gapf("executable", "%v; name it with --exe", err)
	return nil
}

// readVersion finds the Go version and build information: in the executable, or else in the core's writable memory, where
// the linker puts them (cmd/link/internal/ld/data.go, .go.buildinfo).
func (t *target) readVersion() error {
	if t.image != nil {
		info, err := buildinfo.Read(bytes.NewReader(t.image.Data()))
		if err == nil {
			t.info = info
			return nil
		}
	}
	info, err := t.buildInfoFromMemory()
	if err != nil {
		help := "this is not a core of a Go program, or the part that says so is missing"
		if t.in.Options.Executable == "" {
			help += "; name the executable with --exe"
		}
		return &format.Error{Path: t.in.Path, Format: formatName, Offset: -1, Doing: "looking for the Go build information", Err: err, Help: help}
	}
	t.info = info
	return nil
}

// readLayout finds where the runtime keeps its data: the executable's own debug information first, else the table of the
// version.
func (t *target) readLayout() error {
	arch := "amd64"
	if t.arm64 {
		arch = "arm64"
	}
	known, err := layout.For(t.info.GoVersion, arch)
	if err != nil { // debug information would give offsets, but not what the values mean to this runtime
		return fmt.Errorf("the runtime of %s is not known: %w", t.info.GoVersion, err)
	}
	if t.exe != nil {
		if t.layout, err = layout.FromELF(t.exe, t.info.GoVersion); err == nil {
			if t.off, err = loadOffsets(t.layout); err == nil {
				return nil
			}
		}
	}
	t.layout = known
	if t.off, err = loadOffsets(t.layout); err != nil {
		return fmt.Errorf("the runtime of %s is not known: %w", t.info.GoVersion, err)
	}
	for _, doubt := range t.layout.Doubts() {
		t.b.Gap("layout of the runtime's data", doubt)
	}
	return nil
}

// readProgram finds the function tables.
func (t *target) readProgram() error {
	first, ok := t.vars.addr("runtime.firstmoduledata")
	var err error
	if ok {
		t.tab, err = pcln.Load(t.core.Mem, t.layout, first)
	}
	if !ok || err != nil {
		found, scanErr := t.scanModuledata()
		if scanErr != nil {
			return errors.Join(err, scanErr)
		}
		t.vars.set("runtime.firstmoduledata", found)
		if t.tab, err = pcln.Load(t.core.Mem, t.layout, found); err != nil {
			return err
		}
	}
	t.roles = map[uint64]role{}
	names := make([]string, 0, len(roles))
	for name := range roles {
		names = append(names, name)
	}
	for name, fn := range t.tab.Lookup(names...) {
		t.roles[fn.Entry] = roles[name]
	}
	t.symbols.tab = t.tab
	t.symbols.b = t.b
	return nil
}
