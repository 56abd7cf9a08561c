package gocore

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
	"github.com/gopostmortem/postmortem/fixtures"
)

// reachSpecimen is a whole core of the program reach.
func reachSpecimen(t testing.TB, p fixtures.Program) *specimen {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "reach"))
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	s := newSpecimen(t, p)
	if s.whole.Proof == nil || !s.whole.Proof.Done || s.whole.Proof.Never < 48 {
		t.Fatalf("the whole core has no proof: %+v", s.whole.Proof)
	}
	return s
}

// field is the address of a field at an address.
func (s *specimen) field(t testing.TB, at uint64, path string) uint64 {
	t.Helper()
	off, ok := s.t.layout.Offset(path)
	if !ok {
		t.Fatalf("no %s", path)
	}
	return at + off
}

// arenas are the addresses of the runtime's records of arenas.
func (s *specimen) arenas(t testing.TB) (list []uint64) {
	t.Helper()
	mheap := s.global(t, "runtime.mheap_")
	numbers := s.field(t, mheap, "runtime.mheap.heapArenas")
	l2 := s.read(t, s.field(t, mheap, "runtime.mheap.arenas"))
	for i := range s.read(t, numbers+8) {
		list = append(list, s.read(t, l2+8*s.read(t, s.read(t, numbers)+8*i)))
	}
	return list
}

// never counts the verdicts of a case.
func neverOf(c *evidence.Case) (n int) {
	gs := c.Goroutines()
	for row := range gs.Len() {
		if gs.Wake(row) == evidence.WakeNever {
			n++
		}
	}
	return n
}

// refuses holds that a core gives no verdict at all, and says why.
func refuses(t *testing.T, c *evidence.Case, want string) {
	t.Helper()
	if c.Proof == nil || c.Proof.Done || !strings.Contains(c.Proof.Refused, want) {
		t.Errorf("%+v, want a refusal with %q", c.Proof, want)
	}
	gs := c.Goroutines()
	for row := range gs.Len() {
		if gs.Wake(row) != evidence.WakeUnknown {
			t.Errorf("goroutine %d is said to be %s", gs.ID(row), gs.Wake(row))
			return
		}
	}
}

func TestProofRefuses(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	marks := make([]byte, 1024) // no page has inline mark bits
	for name, c := range map[string]struct {
		edits func() []edit
		want  string
	}{
		"the bitmap elsewhere": {func() (all []edit) {
			for _, a := range s.arenas(t) {
				e := s.word(t, s.field(t, a, "runtime.heapArena.pageUseSpanInlineMarkBits"), 0)
				e.data = marks
				all = append(all, e)
			}
			return all
		}, "pointer map of goroutine"},
		"no spans": {func() (all []edit) {
			for _, a := range s.arenas(t) {
				e := s.word(t, s.field(t, a, "runtime.heapArena.spans"), 0)
				e.data = make([]byte, 8*8192)
				all = append(all, e)
			}
			return all
		}, "the heap has no spans"},
		"a span's record nowhere": {func() []edit {
			a := s.arenas(t)[0]
			return []edit{s.word(t, s.field(t, a, "runtime.heapArena.spans"), 1<<40)}
		}, "is not in the core"},
		"too many arenas": {func() []edit {
			return []edit{s.word(t, s.field(t, s.global(t, "runtime.mheap_"), "runtime.mheap.heapArenas")+8, 1<<40)}
		}, "which cannot be"},
		"finalizers nowhere": {func() []edit { return []edit{s.word(t, s.global(t, "runtime.allfin"), 1<<50)} }, "finalizers"},
		"pointer mask nowhere": {func() []edit {
			return []edit{s.word(t, s.field(t, s.t.tab.Modules[0].Addr, "runtime.moduledata.gcbssmask.bytedata"), 1<<50)}
		}, "pointer mask"},
		"no pointers in the variables": {func() []edit {
			e := s.word(t, s.field(t, s.t.tab.Modules[0].Addr, "runtime.moduledata.gcbssmask.n"), 0)
			e.data = e.data[:4]
			return []edit{e}
		}, "makes no sense"},
		"a second module": {func() []edit {
			return []edit{s.word(t, s.field(t, s.t.tab.Modules[0].Addr, "runtime.moduledata.next"), 1<<50)}
		}, "plugins"},
		"a stack elsewhere": {func() []edit {
			return []edit{s.word(t, s.waiting(t, "sleep")[0]+s.t.off.G.SP, 0x1000)}
		}, "outside of its stack"},
		"a processor of another type": {func() []edit {
			p := s.read(t, s.read(t, s.global(t, "runtime.allp")))
			return []edit{s.word(t, p-8, s.t.tab.Modules[0].Addr)}
		}, "processor"},
		"a processor elsewhere": {func() []edit {
			list := s.read(t, s.global(t, "runtime.allp"))
			return []edit{s.word(t, list, s.read(t, list)+64)}
		}, "processor"},
		"cleanups nowhere": {func() []edit {
			return []edit{s.word(t, s.field(t, s.global(t, "runtime.gcCleanups"), "runtime.cleanupQueue.all"), 1<<50)}
		}, "cleanups"},
		"a special record of a new kind": {func() []edit {
			e := s.word(t, s.field(t, s.aSpecial(t), "runtime.special.kind"), 200)
			e.data = e.data[:1]
			return []edit{e}
		}, "special record of kind 200"},
		"special records nowhere": {func() []edit {
			return []edit{s.word(t, s.field(t, s.aSpecial(t), "runtime.special.next"), 1<<50)}
		}, "special record"},
		"a finalizer's record nowhere": {func() []edit {
			return []edit{s.word(t, s.field(t, s.spanOf(t, s.waiting(t, "sleep")[0]), "runtime.mspan.specials"), 1<<50)}
		}, "special record"},
		"arenas of the user": {func() []edit {
			e := s.word(t, s.field(t, s.spanOf(t, s.waiting(t, "sleep")[0]), "runtime.mspan.isUserArenaChunk"), 1)
			e.data = e.data[:1]
			return []edit{e}
		}, "package arena"},
		"a list of arenas of the user": {func() []edit {
			return []edit{s.word(t, s.field(t, s.global(t, "runtime.mheap_"), "runtime.mheap.userArenaArenas")+8, 1)}
		}, "package arena"},
		"a thread's goroutine without a thread": {func() []edit {
			e := s.word(t, s.waiting(t, "sleep")[0]+s.t.off.G.Status, statusRunning)
			e.data = e.data[:4]
			return []edit{e}
		}, "its thread is not in the core"},
		"an arena's record nowhere": {func() []edit {
			mheap := s.global(t, "runtime.mheap_")
			first := s.read(t, s.read(t, s.field(t, mheap, "runtime.mheap.heapArenas")))
			return []edit{s.word(t, s.read(t, s.field(t, mheap, "runtime.mheap.arenas"))+8*first, 1<<50)}
		}, "the record of the heap's arena"},
		"defers in a circle": {func() []edit {
			at := s.channelOf(t, s.gOf(t, s.first(t, "lostSend")))
			return []edit{s.word(t, s.waiting(t, "sleep")[0]+s.t.off.G.Defer, at), s.word(t, at+s.t.off.Defer.Link, at)}
		}, "has no end"},
		"defers nowhere": {func() []edit {
			g := s.waiting(t, "sleep")[0]
			return []edit{s.word(t, g+s.t.off.G.Defer, 1<<50)}
		}, "defer record"},
	} {
		t.Run(name, func(t *testing.T) {
			path := s.copy(t, s.t.core.Size, c.edits()...)
			read, err := readDamaged(t, path, format.Options{Executable: s.Exe})
			if err != nil {
				t.Fatal(err)
			}
			refuses(t, read, c.want)
		})
	}
}

// Of a core that was cut nothing is proved, wherever the cut is.
func TestProofRefusesCutCores(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	for _, percent := range []int64{10, 50, 70, 90, 97} {
		path := s.copy(t, s.t.core.Size*percent/100)
		read, _ := readDamaged(t, path, format.Options{Executable: s.Exe})
		if n := neverOf(read); n > 0 || read.Proof != nil && read.Proof.Done {
			t.Errorf("cut at %d %%: %d never wake, %+v", percent, n, read.Proof)
		}
	}
}

// A layout of another version reads other fields: the proof must notice.
func TestProofRefusesOtherLayouts(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	for _, version := range []string{"go1.25.7", "go1.24.13", "go1.23.12", "go1.22.12", "go1.21.13"} {
		other, err := layout.For(version, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		b := evidence.NewBuilder()
		f, err := os.Open(s.Core)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b.Source(evidence.Source{Path: s.Core})
		opened, err := open(inputOf(t, f, s.Core, format.Options{Executable: s.Exe}), b)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.close()
		for _, step := range []func() error{opened.findProgram, opened.readVersion, opened.understand} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		opened.layout = other
		if opened.off, err = loadOffsets(other); err != nil {
			t.Fatal(err)
		}
		if err := opened.readRuntime(context.Background()); err != nil {
			continue // refused as a whole
		}
		if c := b.Finish(); c.Proof != nil && c.Proof.Done || neverOf(c) > 0 {
			t.Errorf("with the layout of %s: %+v", version, c.Proof)
		}
	}
}

// A heap of an unknown version is not read.
func TestProofRefusesOtherVersions(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	known := s.t.layout.Version
	defer func() { s.t.layout.Version = known }()
	for version, want := range map[string]string{
		"go1.27.1": "1.22 to 1.26", "go1.21.13": "1.22 to 1.26", "go2.0": "1.22 to 1.26",
		"go1.22.1 X:noallocheaders": "noallocheaders", "devel go1.26-3f2a8b1c": "development",
	} {
		v, err := layout.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		s.t.layout.Version = v
		p := newProver(s.t, nil)
		if err := p.prepare(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
}

// Goroutines that are not what the heap has, and goroutines that are missing.
func TestProofRefusesOtherGoroutines(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	g := s.waiting(t, "sleep")[0]
	for name, c := range map[string]struct {
		change func(*target) []proofRow
		want   string
	}{
		"a g in the middle of an object": {func(*target) []proofRow { return []proofRow{{g: g + 16, id: 7}} }, "goroutine 7"},
		"a g outside of the heap":        {func(*target) []proofRow { return []proofRow{{g: s.t.tab.Modules[0].Data, id: 7}} }, "goroutine 7"},
		"one that was not read":          {func(x *target) []proofRow { x.unread = 1; return nil }, "structures of 1 goroutines"},
		"a list that was cut":            {func(x *target) []proofRow { x.gCount, x.gListed = 5, 4; return nil }, "only 4 of 5 entries"},
	} {
		unread, count, listed := s.t.unread, s.t.gCount, s.t.gListed
		p := newProver(s.t, c.change(s.t))
		if err := p.prepare(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		s.t.unread, s.t.gCount, s.t.gListed = unread, count, listed
	}
}

// spanOf is the runtime's record of the span of an object.
func (s *specimen) spanOf(t testing.TB, addr uint64) uint64 {
	t.Helper()
	const arena, page = 64 << 20, 8 << 10
	return s.read(t, s.field(t, s.arenas(t)[0], "runtime.heapArena.spans")+addr%arena/page*8)
}

// aSpecial is the first special record of the heap.
func (s *specimen) aSpecial(t testing.TB) uint64 {
	t.Helper()
	spans := s.field(t, s.arenas(t)[0], "runtime.heapArena.spans")
	for i := range uint64(8192) {
		if span := s.read(t, spans+8*i); span != 0 {
			if first := s.read(t, s.field(t, span, "runtime.mspan.specials")); first != 0 {
				return first
			}
		}
	}
	t.Fatal("the heap has no special record")
	return 0
}

// The bitmaps of a program without Green Tea lie at the very end of their spans.
func TestProofRefusesOtherBitmaps(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{Env: []string{"GOEXPERIMENT=nogreenteagc"}})
	var all []edit
	for _, a := range s.arenas(t) {
		e := s.word(t, s.field(t, a, "runtime.heapArena.pageUseSpanInlineMarkBits"), 0)
		e.data = bytes.Repeat([]byte{0xff}, 1024)
		all = append(all, e)
	}
	read, err := readDamaged(t, s.copy(t, s.t.core.Size, all...), format.Options{Executable: s.Exe})
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, read, "pointer map")
}

// A goroutine that somebody is waking at the moment of death is taken out of the queue first, and its status changes later.
func TestWakeInFlight(t *testing.T) {
	for _, toolchain := range []string{"", "go1.24.13"} {
		t.Run(versionName(toolchain), func(t *testing.T) {
			s := reachSpecimen(t, fixtures.Program{Toolchain: toolchain})
			for name, change := range map[string]func(g uint64) []edit{
				"lostReceive": func(g uint64) []edit { return unlink(t, s, g) },
				"lostSend":    func(g uint64) []edit { return unlink(t, s, g) },
				"lostSelect": func(g uint64) []edit {
					return []edit{s.word(t, s.field(t, g, "runtime.g.selectDone"), 1)}
				},
				"lostHead": func(g uint64) []edit { // its channel is being closed
					c := s.channelOf(t, g)
					e := s.word(t, c+s.t.off.Chan.Closed, 1)
					e.data = e.data[:4]
					return []edit{e}
				},
				"lostLock": func(g uint64) []edit { return dequeue(t, s, g) },
				"lostWait": func(g uint64) []edit { return dequeue(t, s, g) },
				"lostCond": func(g uint64) []edit {
					row := s.rowOf(t, g)
					return []edit{s.word(t, row.WaitsOn+waitKinds["sync.Cond.Wait"].back+s.t.off.NotifyList.Head, 0)}
				},
			} {
				id := s.first(t, name)
				path := s.copy(t, s.t.core.Size, change(s.gOf(t, id))...)
				read, err := readDamaged(t, path, format.Options{Executable: s.Exe})
				if err != nil {
					t.Fatal(err)
				}
				if g, ok := read.Goroutines().ByID(id); !ok || g.Wake == evidence.WakeNever {
					t.Errorf("%s: goroutine %d is being woken, and said to be %s", name, id, g.Wake)
				}
				if g, _ := s.whole.Goroutines().ByID(id); g.Wake != evidence.WakeNever {
					t.Errorf("%s: goroutine %d of the whole core is %s", name, id, g.Wake)
				}
			}
		})
	}
}

// first is a goroutine with a function on its stack.
func (s *specimen) first(t testing.TB, function string) int64 {
	t.Helper()
	for _, g := range s.whole.Goroutines().All() {
		for _, f := range s.whole.Stack(g.Stack).All() {
			if f.Function == "main."+function {
				return g.ID
			}
		}
	}
	t.Fatalf("no goroutine in %s", function)
	return 0
}

func (s *specimen) gOf(t testing.TB, id int64) uint64 {
	t.Helper()
	list, err := s.t.allgs()
	if err != nil {
		t.Fatal(err)
	}
	for ; len(list) >= 8; list = list[8:] {
		if g := le.Uint64(list); s.read(t, g+s.t.off.G.ID) == uint64(id) {
			return g
		}
	}
	t.Fatalf("no goroutine %d", id)
	return 0
}

func (s *specimen) rowOf(t testing.TB, g uint64) evidence.Goroutine {
	t.Helper()
	row, ok := s.whole.Goroutines().ByID(int64(s.read(t, g+s.t.off.G.ID)))
	if !ok {
		t.Fatalf("no row of %#x", g)
	}
	return row
}

func (s *specimen) channelOf(t testing.TB, g uint64) uint64 {
	t.Helper()
	return s.read(t, s.read(t, g+s.t.off.G.Waiting)+s.t.off.Sudog.C)
}

// unlink takes a goroutine out of the queue of its channel, in which it is alone.
func unlink(t testing.TB, s *specimen, g uint64) []edit {
	c := s.channelOf(t, g)
	return []edit{s.word(t, c+s.t.off.Chan.RecvQ, 0), s.word(t, c+s.t.off.Chan.SendQ, 0)}
}

// dequeue takes everybody out of the queues of semaphores.
func dequeue(t testing.TB, s *specimen, _ uint64) (all []edit) {
	table := s.global(t, "runtime.semtable")
	stride, count, _ := s.t.layout.Array("runtime.semTable")
	for i := range count {
		all = append(all, s.word(t, s.field(t, table+i*stride, "runtime.semaRoot.treap"), 0))
	}
	return all
}

// Damage anywhere in the heap and in the runtime's records of it must neither stop the reader nor take long.
func TestProofOfDamagedHeaps(t *testing.T) {
	s := reachSpecimen(t, fixtures.Program{})
	r := rand.New(rand.NewPCG(1, 2))
	arenas := s.arenas(t)
	mheap := s.global(t, "runtime.mheap_")
	values := []uint64{0, 1, ^uint64(0), 1 << 40, mheap, arenas[0], 0xc000000000, 0xc000000008}
	for range 40 {
		var edits []edit
		for range 20 {
			at := mheap + 8*r.Uint64N(9000)
			switch r.IntN(4) {
			case 0:
				at = arenas[0] + 8*r.Uint64N(12000)
			case 1:
				at = s.read(t, s.field(t, arenas[0], "runtime.heapArena.spans")+8*r.Uint64N(64)) + 8*r.Uint64N(20)
			case 2:
				at = s.t.tab.Modules[0].Addr + 8*r.Uint64N(90)
			}
			if src, ok := s.t.core.Mem.Source(at &^ 7); ok && src.Kind != 0 && at > 1<<16 {
				if _, ok := s.t.core.Mem.Uint64(at &^ 7); ok && src.Path == s.Core {
					edits = append(edits, s.word(t, at&^7, values[r.IntN(len(values))]))
				}
			}
		}
		path := s.copy(t, s.t.core.Size, edits...)
		if _, err := readDamaged(t, path, format.Options{Executable: s.Exe}); err != nil {
			checkError(t, path, err)
		}
		os.Remove(path)
	}
}
