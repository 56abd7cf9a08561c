package pcln

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/gopostmortem/postmortem/fixtures"
)

//go:noinline
func keepAlive(...any) {}

// returnPC is the return address of the function that calls it.
//
//go:noinline
func returnPC() uint64 {
	var pc [1]uintptr
	runtime.Callers(2, pc[:])
	return uint64(pc[0])
}

//go:noinline
func noPointers(n int) (uint64, int) {
	pc := returnPC()
	return pc, n + 1
}

//go:noinline
func use(p *int) int { return *p }

// Of the three pointers two are needed after the first call, one after the second, and none after the third.
//
//go:noinline
func fewerAndFewer(p, q, r *int) (pcs [3]uint64, sum int) {
	sum = use(p)
	pcs[0] = returnPC()
	sum += use(q)
	pcs[1] = returnPC()
	sum += use(r)
	pcs[2] = returnPC()
	return pcs, sum
}

type holder struct {
	_ int
	p *int
	_ [3]int
	q *int
}

//go:noinline
func fill(h *holder, p *int) {
	h.p = p
	h.q = p
}

// addressTaken has a variable that the compiler must keep on the stack, because a pointer to it is passed on.
//
//go:noinline
func addressTaken(p *int) (uint64, int) {
	var h holder
	fill(&h, p)
	pc := returnPC()
	fill(&h, p)
	return pc, *h.q
}

func livePointers(t *testing.T, tab *Table, pc uint64) int {
	t.Helper()
	f, ok := tab.Find(pc)
	if !ok {
		t.Fatalf("no function at %#x", pc)
	}
	live := 0
	locals, ok := f.LocalsMap(pc)
	if !ok {
		t.Fatalf("%s has no map of locals", f.Name())
	}
	args, ok := f.ArgsMap(pc)
	if !ok {
		t.Fatalf("%s has no map of arguments", f.Name())
	}
	for _, m := range []PointerMap{locals, args} {
		for i := range m.Len() {
			if m.Has(i) {
				live++
			}
		}
		if m.Has(-1) || m.Has(m.Len()) {
			t.Error("a word outside of the map is no pointer")
		}
	}
	return live
}

// The compiler spills a register argument into its slot among the arguments or among the locals, and marks it as long as it is
// needed.
func TestPointersDieAfterTheirLastUse(t *testing.T) {
	tab := ownTable(t)
	x := new(int)
	pcs, _ := fewerAndFewer(x, new(int), new(int))
	for i, want := range []int{2, 1, 0} {
		if got := livePointers(t, tab, pcs[i]); got != want {
			t.Errorf("after call %d: %d live pointers, want %d", i, got, want)
		}
	}
	pc, _ := noPointers(1)
	if got := livePointers(t, tab, pc); got != 0 {
		t.Errorf("%d live pointers in a function without any", got)
	}
	keepAlive(x)
}

func TestStackObjects(t *testing.T) {
	tab := ownTable(t)
	pc, _ := addressTaken(new(int))
	f, _ := tab.Find(pc)
	objects, ok := f.StackObjects()
	if !ok || len(objects) == 0 {
		t.Fatalf("%s: %v, %v", f.Name(), objects, ok)
	}
	found := false
	for _, o := range objects {
		if o.Size != 48 || o.PtrBytes != 48 || o.Off >= 0 {
			continue
		}
		m, ok := o.Pointers(tab.mem)
		found = ok && m.Len() == 6 && m.Has(1) && m.Has(5) && !m.Has(0) && !m.Has(2) && !m.Has(3) && !m.Has(4)
	}
	if !found {
		t.Errorf("no object of the size and pointers of holder: %+v", objects)
	}
	if _, ok := (StackObject{PtrBytes: 8}).Pointers(tab.mem); ok {
		t.Error("an object with a GC program has no mask")
	}
	if f, ok := tab.Find(mustCall(t, noPointers)); ok {
		if o, ok := f.StackObjects(); !ok || len(o) != 0 {
			t.Errorf("%v, %v", o, ok)
		}
	}
}

func mustCall(t *testing.T, f func(int) (uint64, int)) uint64 {
	t.Helper()
	pc, _ := f(1)
	return pc
}

// Every return address of the compiler's code has maps; functions in assembly may have none.
func TestEveryCallHasMaps(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.p)
			functions, pointers := 0, 0
			p.tab.All(func(f Func) bool {
				if f.Flag()&FlagAsm != 0 || f.u32(funcNPCData) <= PCDataStackMapIndex {
					return true
				}
				at := binary.LittleEndian.Uint32(f.raw[funcSize+4*PCDataStackMapIndex:])
				seen := false
				f.eachValue(at, func(lo, hi uint64, index int32) {
					if index < 0 {
						return
					}
					seen = true
					locals, ok1 := f.LocalsMap(hi) // the map covers the call up to its return address
					_, ok2 := f.ArgsMap(hi)
					if !ok1 || !ok2 && f.ArgsSize() != argsUnknown {
						t.Errorf("%s at %#x: maps %v, %v", f.Name(), hi, ok1, ok2)
					}
					for i := range locals.Len() {
						if locals.Has(i) {
							pointers++
						}
					}
					if delta, ok := f.SPDelta(lo); ok && locals.Len()*8 > int(delta) {
						t.Errorf("%s at %#x: %d words of locals in a frame of %d bytes", f.Name(), lo, locals.Len(), delta)
					}
				})
				if seen {
					functions++
				}
				return true
			})
			if functions < 500 || pointers < 1000 {
				t.Errorf("only %d functions with maps, %d pointers", functions, pointers)
			}
		})
	}
}

func TestNoMaps(t *testing.T) {
	p := load(t, fixtures.Program{Scenario: "lockhog-ledger"})
	found := p.tab.Lookup("runtime.goexit", "runtime.asyncPreempt", "reflect.makeFuncStub")
	if f := found["runtime.asyncPreempt"]; f.Valid() {
		if _, ok := f.LocalsMap(f.Entry + 1); ok {
			t.Error("asyncPreempt saves registers of any kind: it has no map")
		}
	}
	if f := found["reflect.makeFuncStub"]; f.Valid() {
		if _, ok := f.ArgsMap(f.Entry + 1); ok {
			t.Error("the arguments of makeFuncStub are known only at run time")
		}
	}
}

func TestFrameBounds(t *testing.T) {
	for _, c := range []struct {
		sp, fp, varp, argp uint64
		arm64              bool
	}{
		{0x1000, 0x1008, 0x1000, 0x1008, false}, // no frame: only the return address
		{0x1000, 0x1040, 0x1030, 0x1040, false},
		{0x1000, 0x1000, 0x1000, 0x1008, true},
		{0x1000, 0x1040, 0x1038, 0x1048, true},
	} {
		if varp, argp := FrameBounds(c.sp, c.fp, c.arm64); varp != c.varp || argp != c.argp {
			t.Errorf("FrameBounds(%#x, %#x, %v) = %#x, %#x", c.sp, c.fp, c.arm64, varp, argp)
		}
	}
}

// Maps that say anything must not be believed beyond their bounds.
func TestDamagedMaps(t *testing.T) {
	m := tinyProgram()
	funcs := tinyFuncs + 24
	// f: funcdata 1 (locals) and 2 (objects) at gofunc+0x10 and +0x20.
	binary.LittleEndian.PutUint32(m[funcs+funcSize+4*3+4:], 0x10)
	binary.LittleEndian.PutUint32(m[funcs+funcSize+4*3+8:], 0x20)
	for _, c := range []struct {
		n, nbit uint32
		ok      bool
	}{{1, 8, true}, {0, 8, false}, {1, 0, true}, {1, ^uint32(0), false}, {1, 1 << 30, false}, {^uint32(0), 8, false}, {1, 1 << 25, false}} {
		binary.LittleEndian.PutUint32(m[tinyTree+0x10:], c.n)
		binary.LittleEndian.PutUint32(m[tinyTree+0x14:], c.nbit)
		tab, err := Load(m, tinyOffsets(), tinyBase)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := tab.Find(tinyText)
		if _, ok := f.LocalsMap(f.Entry); ok != c.ok {
			t.Errorf("%d maps of %d bits: %v", c.n, c.nbit, ok)
		}
	}
	for _, c := range []struct {
		count      uint64
		size, ptrs uint32
		ok         bool
	}{{1, 16, 16, true}, {1, 16, 24, false}, {1, ^uint32(0), 8, false}, {1, 16, ^uint32(0) - 7, true}, {1 << 40, 16, 16, false}, {100, 16, 16, false}} {
		binary.LittleEndian.PutUint64(m[tinyTree+0x20:], c.count)
		copy(m[tinyTree+0x28:], words32(0, c.size, c.ptrs, 0))
		tab, _ := Load(m, tinyOffsets(), tinyBase)
		f, _ := tab.Find(tinyText)
		if _, ok := f.StackObjects(); ok != c.ok {
			t.Errorf("%+v: %v", c, ok)
		}
	}
}
