package fold

import (
	"reflect"
	"runtime"
	"testing"
	"unsafe"
)

// TestMemory has a hundred thousand goroutines alive that wait, call and wake each other: what is kept of each is bounded.
func TestMemory(t *testing.T) {
	const n, most = 100_000, 60 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	gs := make([]G, n)
	f := New(testStacks)
	mix(f, gs, 4)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > most {
		t.Errorf("%d MB for %d goroutines of %d bytes", used>>20, n, unsafe.Sizeof(G{}))
	} else {
		t.Logf("%d bytes for each goroutine: G %d, extra %d, ring %d", used/n, unsafe.Sizeof(G{}), unsafe.Sizeof(extra{}),
			unsafe.Sizeof(ring{}))
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(gs)
}

// TestMemoryOfTasks is the same of a trace that has regions: the long rings are bounded.
func TestMemoryOfTasks(t *testing.T) {
	f := New(testStacks)
	gs := make([]G, 20_000)
	f.Begin(0)
	g := &G{ID: 1 << 40}
	f.Appear(0, g, StateRunning, stackMain)
	f.Region(0, g, 0, "r", 0)
	mix(f, gs, 6)
	if len(f.rings.longs) != maxLong+1 {
		t.Errorf("%d long rings", len(f.rings.longs))
	}
	if bytes := len(f.rings.longs)*longRing*int(unsafe.Sizeof(stretch{})) + len(f.rings.blocks)*ringBlock*int(unsafe.Sizeof(ring{})); bytes > 16<<20 {
		t.Errorf("%d MB of rings", bytes>>20)
	}
}

// TestNoAllocations folds what has its rows already without allocating.
func TestNoAllocations(t *testing.T) {
	f := New(testStacks)
	gs := make([]G, 50)
	mix(f, gs, 50)
	w, at := newWords(f), f.now
	got := testing.AllocsPerRun(200, func() {
		for i := range gs {
			g, by := &gs[i], &gs[(i+1)%len(gs)]
			at += 1000
			f.Syscall(at, g, stackWrite)
			f.Sysexit(at+10, g, true)
			f.Run(at+20, g)
			f.Block(at+30, g, w.sync, stackLockA)
			f.Unblock(at+40, g, by, stackUnlockA)
			f.Run(at+50, g)
			f.Block(at+60, g, w.recv, stackRecv)
			f.Unblock(at+70, g, by, stackSend)
			f.Run(at+80, g)
		}
	})
	if got > 4 { // the loads by slice grow now and then
		t.Errorf("%v allocations for %d events", got, 9*len(gs))
	}
}

// TestNoPointers keeps the collector away from the large tables.
func TestNoPointers(t *testing.T) {
	for _, row := range []any{site{}, release{}, holds{}, ring{}, stretch{}, extra{}, region{}, G{}, P{}} {
		if at := pointerIn(reflect.TypeOf(row)); at != "" {
			t.Errorf("%T has a pointer: %s", row, at)
		}
	}
	if n := unsafe.Sizeof(G{}); n > 144 {
		t.Errorf("a G is %d bytes", n)
	}
}

// pointerIn names a field that the collector would look at.
func pointerIn(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if at := pointerIn(t.Field(i).Type); at != "" {
				return t.Field(i).Name + " " + at
			}
		}
		return ""
	case reflect.Array:
		return pointerIn(t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.String, reflect.Interface, reflect.Func, reflect.Chan:
		return t.String()
	}
	return ""
}
