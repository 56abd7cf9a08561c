package gocore

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

func TestCheckCounts(t *testing.T) {
	const addr = 0xc000010000
	group := evidence.Sync{Addr: addr, Kind: evidence.SyncWaitGroup, Waiters: 5}
	mutex := evidence.Sync{Addr: addr, Kind: evidence.SyncMutex, Waiters: 5}
	for _, c := range []struct {
		name          string
		sync          evidence.Sync
		found, moving int
		differs       bool
	}{
		{"all found", group, 5, 0, false},
		{"some missing", group, 3, 0, true},
		{"those that move may be they", group, 3, 2, false},
		{"too few move", group, 3, 1, true},
		{"more than it counts", group, 6, 0, true},
		{"mutex", mutex, 5, 0, false},
		{"mutex, one missing", mutex, 4, 0, true},
		{"a channel counts nobody", evidence.Sync{Addr: addr, Kind: evidence.SyncChannel, Waiters: -1}, 3, 0, false},
	} {
		x := &target{moving: c.moving, waiting: map[waitKey]int{
			{addr, evidence.SyncWaitGroup, evidence.WaitZero}: c.found, {addr, evidence.SyncMutex, evidence.WaitLock}: c.found}}
		x.checkCounts(c.sync)
		if differs := len(x.miscounts) > 0; differs != c.differs {
			t.Errorf("%s: differs %t, want %t", c.name, differs, c.differs)
		}
	}
}

// TestCountsOfCores changes what an object keeps of its waiters, in a copy of a core: the goroutines are the same, so a Gap must say that
// the two differ, and of which object. Nothing of the kind may be said of the core as it is.
func TestCountsOfCores(t *testing.T) {
	for _, toolchain := range []string{"", "go1.24.13"} {
		t.Run(versionName(toolchain), func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Join("testdata", "programs", "waits"))
			if err != nil {
				t.Fatal(err)
			}
			s := newSpecimen(t, fixtures.Program{Dir: dir, Toolchain: toolchain})
			if g := gapsOf(s.whole); strings.Contains(g, "who waits") {
				t.Fatalf("the whole core: %s", g)
			}
			const more = 10 // than the goroutines of these cores that are not parked
			if s.t.moving >= more {
				t.Fatalf("%d goroutines are not parked", s.t.moving)
			}
			for _, c := range []struct {
				name, function, want string
				bytes                uint64
				at, value            func(addr uint64) uint64
			}{
				{"mutex", "main.lockGlobal", "who waits for locks", 4, there, func(a uint64) uint64 { return s.half(t, a) + more<<mutexWaiterShift }},
				{"readers of an RWMutex", "main.readBehindWriter", "who waits for locks", 4, after(rwReaderCount),
					func(a uint64) uint64 { return s.half(t, a) + more }},
				{"writers of an RWMutex", "main.writeBehindReaders", "who waits for locks", 4, there,
					func(a uint64) uint64 { return s.half(t, a) + more<<mutexWaiterShift }},
				{"wait group", "main.waitForGroup", "who waits for locks", 4, there, func(a uint64) uint64 { return s.half(t, a) + more }},
				{"condition", "main.waitForCond", "who waits for locks", 4, after(waitKinds["sync.Cond.Wait"].back + s.t.off.NotifyList.Wait),
					func(a uint64) uint64 { return s.half(t, a) + more }},
				{"receivers", "main.receive", "who waits for channels", 8, after(s.t.off.Chan.RecvQ), func(uint64) uint64 { return 0 }},
				{"senders", "main.sendToFull", "who waits for channels", 8, after(s.t.off.Chan.SendQ), func(uint64) uint64 { return 0 }},
				{"a queue of others", "main.send", "who waits for channels", 8, after(s.t.off.Chan.RecvQ),
					func(uint64) uint64 { return s.read(t, s.said(t, "main.receive")+s.t.off.Chan.RecvQ) }},
			} {
				addr := s.said(t, c.function)
				at := c.at(addr)
				e := s.word(t, at, c.value(at))
				e.data = e.data[:c.bytes]
				read, err := readDamaged(t, s.copy(t, s.t.core.Size, e), format.Options{Executable: s.Exe})
				if err != nil {
					t.Fatal(err)
				}
				if gaps := gapsOf(read); !strings.Contains(gaps, c.want) || !strings.Contains(gaps, fmt.Sprintf("%#x", addr)) {
					t.Errorf("%s: the gaps are %q, want %q of %#x", c.name, gaps, c.want, addr)
				}
			}
		})
	}
}

// TestCountsOfPools does the same with the queues of pools: a request more than there is, goroutines less than there are.
func TestCountsOfPools(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "programs", "pools"))
	if err != nil {
		t.Fatal(err)
	}
	sql, shapes := newSpecimen(t, fixtures.Program{Dir: dir}), newSpecimen(t, shapesProgram(t))
	for _, c := range []struct {
		s     *specimen
		kind  poolKind
		edits func(p evidence.Pool) []edit
	}{
		{sql, poolSQL, func(p evidence.Pool) []edit {
			at := p.Addr + sql.t.newPoolSearch().sql.requests + 8
			return []edit{sql.word(t, at, sql.read(t, at)+uint64(sql.t.moving)+1)}
		}},
		{shapes, poolSemaphore, func(p evidence.Pool) (all []edit) {
			const dead = 6
			for _, u := range shapes.whole.PoolUses {
				if u.Pool == p.Addr && u.Role == evidence.PoolWaits && len(all) <= shapes.t.moving {
					e := shapes.word(t, shapes.gOf(t, u.Goroutine)+shapes.t.off.G.Status, dead)
					e.data = e.data[:4]
					all = append(all, e)
				}
			}
			return all
		}},
	} {
		if g := gapsOf(c.s.whole); strings.Contains(g, "who waits") {
			t.Errorf("the whole core: %s", g)
		}
		i := slices.IndexFunc(c.s.whole.Pools, func(p evidence.Pool) bool { return p.Kind == poolNames[c.kind] && p.Waiting > c.s.t.moving+1 })
		if i < 0 {
			t.Fatalf("no %s with enough waiters, of %+v", poolNames[c.kind], c.s.whole.Pools)
		}
		p := c.s.whole.Pools[i]
		read, err := readDamaged(t, c.s.copy(t, c.s.t.core.Size, c.edits(p)...), format.Options{Executable: c.s.Exe})
		if err != nil {
			t.Fatal(err)
		}
		if gaps := gapsOf(read); !strings.Contains(gaps, "who waits for pools") || !strings.Contains(gaps, fmt.Sprintf("%#x", p.Addr)) {
			t.Errorf("%s: the gaps are %q, want one of %#x", p.Kind, gaps, p.Addr)
		}
	}
}

func there(addr uint64) uint64 { return addr }

func after(n uint64) func(uint64) uint64 { return func(addr uint64) uint64 { return addr + n } }

// half reads 4 bytes of the process's memory.
func (s *specimen) half(t testing.TB, addr uint64) uint64 {
	t.Helper()
	v, ok := s.t.core.Mem.Uint32(addr)
	if !ok {
		t.Fatalf("%#x is not in the core", addr)
	}
	return uint64(v)
}

// said is the address of the object of which the program says that goroutines in a function wait for it.
func (s *specimen) said(t *testing.T, function string) uint64 {
	t.Helper()
	for _, l := range wordsOf(t, s.Text) {
		if len(l) > 4 && l[0] == "truth" && l[1] == function {
			return parseHex(t, l[4])
		}
	}
	t.Fatalf("the program says nothing of %s", function)
	return 0
}

// TestWakingAll: who closes a channel takes all waiters out of its queue first, and they are still parked for a moment.
func TestWakingAll(t *testing.T) {
	for _, c := range []struct {
		own, found, moving, waking int
		all, differs               bool
	}{
		{0, 100, 1, 1, true, false},
		{0, 100, 1, 0, true, true},  // nobody is waking them
		{0, 100, 1, 1, false, true}, // a mutex wakes one
		{9, 100, 1, 1, true, true},  // they are taken out at once
		{100, 99, 1, 0, false, false},
	} {
		x := &target{moving: c.moving, waking: c.waking}
		if got := x.differs(c.own, c.found, c.all); got != c.differs {
			t.Errorf("%+v: differs is %t", c, got)
		}
	}
}

func TestPackageOf(t *testing.T) {
	for name, want := range map[string]string{
		"main.(*ledger).lock": "main", "example.com/a.b/store.(*Store).Lock": "example.com/a.b/store", "sync.OnceFunc.func1": "sync",
		"main.lockAll[...]": "main", "example.com/x.get[example.com/y/z.T]": "example.com/x", "memeqbody": "memeqbody",
	} {
		if got := packageOf(name); got != want {
			t.Errorf("packageOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// Two locks in one object at 0x1000: one at 0x1018, one at 0x1020.
func TestAimAt(t *testing.T) {
	l := &contended{addr: 0x1018, lo: 0x1000, hi: 0x1040}
	for _, c := range []struct {
		name    string
		offsets []int64
		words   []uint64
		want    aim
	}{
		{"no pointer into the object", []int64{0x18}, []uint64{0x2000, 0x1040}, aimNowhere},
		{"pointer to the object and the lock's place", []int64{0x18}, []uint64{0x1000}, aimLock},
		{"the sum is in the frame as well", []int64{0x18}, []uint64{0x1018, 0x1000}, aimLock},
		{"the code adds the place of the other lock", []int64{0x20}, []uint64{0x1000}, aimNowhere},
		{"a pointer to the lock itself", nil, []uint64{0x1018}, aimLock},
		{"a pointer to the object, and the code adds nothing", nil, []uint64{0x1000}, aimObject},
		{"only the sum is left: it could be a pointer to the object", []int64{0x18}, []uint64{0x1018}, aimObject},
		{"two pointers, one of which leads elsewhere", []int64{0x18}, []uint64{0x1000, 0x1010}, aimObject},
		{"the sum lies outside", []int64{0x100}, []uint64{0x1000}, aimObject},
	} {
		s := &lockSite{offsets: c.offsets}
		if got := s.aimAt(c.words, l); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
