package pcln

import (
	"encoding/binary"
	"testing"
	"time"
)

// tiny is the memory of a program with hand-made tables, from tinyBase on: the moduledata, the tables behind it.
type tiny []byte

func (m tiny) Bytes(addr, n uint64) ([]byte, bool) {
	if n == 0 {
		return nil, true
	}
	addr -= tinyBase
	if addr > uint64(len(m)) || n > uint64(len(m))-addr {
		return nil, false
	}
	return m[addr : addr+n : addr+n], true
}

// Places in tiny. The fields of moduledata stand in the order of tinyFields, each in three words.
const (
	tinyHeader = 0x400
	tinyNames  = 0x420
	tinyCUs    = 0x440
	tinyFiles  = 0x450
	tinyPCTab  = 0x470
	tinyFuncs  = 0x4a0
	tinyTree   = 0x540
	tinySize   = 0x580
	tinyBase   = 0x100000
	tinyText   = 0x10000
)

var tinyFields = []string{"next", "pcHeader", "minpc", "maxpc", "text", "etext", "data", "edata", "bss", "ebss", "noptrdata",
	"enoptrdata", "noptrbss", "enoptrbss", "types", "etypes", "rodata", "gofunc", "funcnametab", "cutab", "filetab", "pctab",
	"pclntable", "ftab", "textsectmap"}

func tinyOffsets() offsets {
	o := offsets{}
	for i, f := range tinyFields {
		o["runtime.moduledata."+f] = 24 * uint64(i)
	}
	return o
}

// tinyProgram has two functions: "f" of 16 bytes, into which "g" is inlined at its bytes 4 to 8, and "h" of 16 bytes.
func tinyProgram() tiny {
	m := make(tiny, tinySize)
	le := binary.LittleEndian
	set := func(field string, words ...uint64) {
		for i, w := range words {
			le.PutUint64(m[tinyOffsets()["runtime.moduledata."+field]+8*uint64(i):], w)
		}
	}
	set("pcHeader", tinyBase+tinyHeader)
	set("minpc", tinyText)
	set("maxpc", tinyText+32)
	set("text", tinyText)
	set("etext", tinyText+32)
	set("gofunc", tinyBase+tinyTree)
	set("funcnametab", tinyBase+tinyNames, 10)
	set("cutab", tinyBase+tinyCUs, 2)
	set("filetab", tinyBase+tinyFiles, 11)
	set("pctab", tinyBase+tinyPCTab, 40)
	set("pclntable", tinyBase+tinyFuncs, 0x90)
	set("ftab", tinyBase+tinyFuncs, 3)
	le.PutUint64(m[tinyHeader:], 0x08010000fffffff1)
	le.PutUint64(m[tinyHeader+8:], 2)
	copy(m[tinyNames:], "\x00f\x00g\x00h[x]\x00")
	le.PutUint32(m[tinyCUs+4:], 5)
	copy(m[tinyFiles:], "a.go\x00b.go\x00\x00")
	copy(m[tinyPCTab:], []byte{0,
		2, 16, 0, // 1: value 0 for 16 bytes
		2, 4, 16, 8, 16, 4, 0, // 4: 0 for 4 bytes, 8 for 8, 16 for 4
		22, 4, 20, 4, 20, 8, 0, // 11: lines 10, 20, 30
		0, 4, 2, 4, 1, 8, 0, // 18: the inline tree: -1, then entry 0 for bytes 4 to 8, then -1
		2, 4, 2, 4, 1, 8, 0, // 25: file 0, 1, 0
	})
	copy(m[tinyFuncs:], words32(0, 24, 16, 24+72, 32, 0))
	copy(m[tinyFuncs+24:], words32(0, 1, 0, 0, 4, 25, 11, 3, 0, 9, 0x04000000, 0, 0, 18, ^uint32(0), ^uint32(0), ^uint32(0), 0))
	copy(m[tinyFuncs+24+72:], words32(16, 5, 0, 0, 1, 1, 11))
	copy(m[tinyTree:], words32(0, 3, 2, 0))
	return m
}

func words32(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestTinyProgram(t *testing.T) {
	tab, err := Load(tinyProgram(), tinyOffsets(), tinyBase)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := tab.Find(tinyText + 5)
	if !ok || f.Name() != "f" || f.End != tinyText+16 || f.StartLine() != 9 || f.Flag() != 0 {
		t.Fatalf("%+v, %v", f, ok)
	}
	for pc, want := range map[uint64]int32{0: 0, 3: 0, 4: 8, 11: 8, 12: 16, 15: 16} {
		if got, ok := f.SPDelta(tinyText + pc); !ok || got != want {
			t.Errorf("SPDelta at %d: %d, %v, want %d", pc, got, ok, want)
		}
	}
	if _, ok := f.SPDelta(tinyText + 16); ok {
		t.Error("the table ends with the function")
	}
	calls := f.Calls(tinyText + 5)
	want := []Call{{"g", "b.go", 20, true}, {"f", "a.go", 10, false}}
	if len(calls) != 2 || calls[0] != want[0] || calls[1] != want[1] {
		t.Errorf("%+v, want %+v", calls, want)
	}
	if h, ok := tab.Find(tinyText + 20); !ok || h.Name() != "h[...]" || h.FullName() != "h[x]" {
		t.Errorf("%q, %v", h.FullName(), ok)
	}
}

// FuzzTable holds that no tables make the reader panic, read outside of them, or run without end.
func FuzzTable(f *testing.F) {
	f.Add([]byte(tinyProgram()), uint64(tinyText+5))
	sections := tinyProgram()
	at := tinyOffsets()["runtime.moduledata.textsectmap"]
	binary.LittleEndian.PutUint64(sections[at:], tinyBase+tinyTree)
	binary.LittleEndian.PutUint64(sections[at+8:], 2)
	f.Add([]byte(sections), uint64(tinyText+20))
	f.Fuzz(func(t *testing.T, image []byte, pc uint64) {
		if len(image) > 1<<16 {
			return // nothing new lies there
		}
		began := time.Now()
		tab, err := Load(tiny(image), tinyOffsets(), tinyBase)
		if err != nil {
			return
		}
		if fn, ok := tab.Find(pc); ok {
			ask(fn, pc)
		}
		asked := 0
		tab.All(func(fn Func) bool {
			ask(fn, fn.Entry)
			ask(fn, fn.End-1)
			asked++
			return asked < 100
		})
		tab.Lookup("f", "h", "")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// ask asks everything about one pc.
func ask(f Func, pc uint64) {
	f.SPDelta(pc)
	f.FileLine(pc)
	f.Calls(pc)
	f.DeferReturn()
	f.ArgsSize()
	f.StartLine()
	f.FullName()
	for i := range 8 {
		f.PCData(uint32(i), pc)
		f.FuncData(uint8(i))
	}
	f.PCData(^uint32(0), pc)
	f.FuncData(255)
	for _, m := range []func(uint64) (PointerMap, bool){f.LocalsMap, f.ArgsMap} {
		if words, ok := m(pc); ok && words.Len() > 0 {
			words.Has(words.Len() - 1)
		}
	}
	objects, _ := f.StackObjects()
	for _, o := range objects {
		o.Pointers(f.m.mem)
	}
	runs := 0
	f.EachInlined(func(lo, hi uint64, calls []Inlined) { runs += len(calls) })
}
