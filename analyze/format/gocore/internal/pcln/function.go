package pcln

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// The layout of runtime._func, Go 1.20 to 1.26 (runtime/runtime2.go).
const (
	funcNameOff   = 4
	funcArgs      = 8
	funcDeferRet  = 12
	funcPCSP      = 16
	funcPCFile    = 20
	funcPCLn      = 24
	funcNPCData   = 28
	funcCUOffset  = 32
	funcStartLine = 36
	funcID        = 40
	funcFlag      = 41
	funcNFuncData = 43
	funcSize      = 44
)

// Flags of a function (internal/abi/symtab.go, FuncFlag).
const (
	FlagTopFrame = 1 << iota // the outermost frame of its stack
	FlagSPWrite              // writes an arbitrary value to SP: cannot be unwound in the middle
	FlagAsm
)

// Indexes of PCDATA and FUNCDATA tables (internal/abi/symtab.go).
const (
	PCDataUnsafePoint   = 0
	PCDataStackMapIndex = 1
	PCDataInlTreeIndex  = 2

	FuncDataArgsPointerMaps    = 0
	FuncDataLocalsPointerMaps  = 1
	FuncDataStackObjects       = 2
	FuncDataInlTree            = 3
	FuncDataOpenCodedDeferInfo = 4
	FuncDataArgInfo            = 5
)

// Func is one function of the table.
type Func struct {
	m          *Module
	raw        []byte // the _func record and what follows it
	Entry, End uint64
}

// Valid reports whether f is a function: the zero Func is none.
func (f Func) Valid() bool { return f.m != nil }

func (f Func) u32(off int) uint32 { return binary.LittleEndian.Uint32(f.raw[off:]) }

// Flag returns the function's flags.
func (f Func) Flag() uint8 { return f.raw[funcFlag] }

// ArgsSize is the size of the stack space of arguments and results, in bytes.
func (f Func) ArgsSize() int32 { return int32(f.u32(funcArgs)) }

// DeferReturn is the address after the function's call of deferreturn, or 0.
func (f Func) DeferReturn() uint64 {
	if off := f.u32(funcDeferRet); off != 0 {
		return f.Entry + uint64(off)
	}
	return 0
}

// StartLine is the line of the func keyword.
func (f Func) StartLine() int { return int(int32(f.u32(funcStartLine))) }

// rawName is the name as stored, with full type arguments; it aliases the table.
func (f Func) rawName() []byte { return cstring(f.m.names, f.u32(funcNameOff)) }

// Name is the name as the runtime prints it: type arguments are shortened to [...] (runtime/traceback.go,
// printFuncName; runtime/symtab.go, funcNameForPrint).
func (f Func) Name() string { return printName(string(f.rawName())) }

// FullName is the name as the linker wrote it.
func (f Func) FullName() string { return string(f.rawName()) }

func printName(name string) string {
	open := strings.IndexByte(name, '[')
	if open < 0 {
		return name
	}
	end := len(name) - 1
	for end > open && name[end] != ']' {
		end--
	}
	if end <= open {
		return name
	}
	return name[:open] + "[...]" + name[end+1:]
}

func cstring(table []byte, off uint32) []byte {
	if uint64(off) >= uint64(len(table)) {
		return nil
	}
	rest := table[off:]
	rest = rest[:min(len(rest), maxName)]
	if n := bytes.IndexByte(rest, 0); n >= 0 {
		return rest[:n]
	}
	return nil
}

// SPDelta is how far the frame of the function reaches below the return address slot (amd64) or below the caller's SP
// (arm64) at pc, in bytes.
func (f Func) SPDelta(pc uint64) (int32, bool) { return f.value(f.u32(funcPCSP), pc) }

// PCData is the value of a PCDATA table at pc; -1 when there is no such table.
func (f Func) PCData(table uint32, pc uint64) int32 {
	if table >= f.u32(funcNPCData) {
		return -1
	}
	at := funcSize + 4*uint64(table)
	if at+4 > uint64(len(f.raw)) {
		return -1
	}
	v, ok := f.value(binary.LittleEndian.Uint32(f.raw[at:]), pc)
	if !ok {
		return -1
	}
	return v
}

// FuncData is the address of a FUNCDATA table.
func (f Func) FuncData(table uint8) (uint64, bool) {
	if table >= f.raw[funcNFuncData] {
		return 0, false
	}
	at := funcSize + 4*uint64(f.u32(funcNPCData)) + 4*uint64(table)
	if at+4 > uint64(len(f.raw)) {
		return 0, false
	}
	off := binary.LittleEndian.Uint32(f.raw[at:])
	if off == ^uint32(0) {
		return 0, false
	}
	return f.m.GoFunc + uint64(off), true
}

// value walks a pc-value table: pairs of a value delta (zig-zag varint) and a pc delta (varint), from value -1 at the
// entry (runtime/symtab.go, pcvalue and step).
func (f Func) value(off uint32, target uint64) (int32, bool) {
	if off == 0 || uint64(off) >= uint64(len(f.m.pctab)) {
		return -1, false
	}
	p := f.m.pctab[off:]
	pc, val := f.Entry, int32(-1)
	for first := true; ; first = false {
		uv, n := varint(p)
		if n == 0 || (uv == 0 && !first) {
			return -1, false
		}
		p = p[n:]
		val += zigzag(uv)
		pcDelta, n := varint(p)
		if n == 0 {
			return -1, false
		}
		p = p[n:]
		pc += uint64(pcDelta) * f.m.quantum
		if target < pc {
			return val, true
		}
	}
}

// varint reads an unsigned varint of at most 32 bits; n is 0 when the table ends.
func varint(p []byte) (v uint32, n int) {
	for shift := uint(0); n < len(p) && n < 5; shift += 7 {
		b := p[n]
		n++
		v |= uint32(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, n
		}
	}
	return 0, 0
}

// Call is one logical call at a pc: the innermost first, inlined calls before the function that holds them.
type Call struct {
	Function string
	File     string
	Line     int
	Inlined  bool // inlined into the next Call
}

// inlinedCall is the size of a runtime.inlinedCall: funcID, nameOff, parentPc, startLine (runtime/symtabinl.go).
const inlinedCall = 16

// maxInline bounds the depth of inlining: a loop in a damaged tree must end.
const maxInline = 256

// Calls expands the inlined calls at pc, which must be the address of the call or trap instruction (a return address minus
// one). Source: runtime/symtabinl.go.
func (f Func) Calls(pc uint64) []Call {
	tree, hasTree := f.FuncData(FuncDataInlTree)
	if !hasTree {
		return []Call{f.call(f.Name(), pc, false)}
	}
	var calls []Call
	at := pc
	for len(calls) < maxInline {
		index := f.PCData(PCDataInlTreeIndex, at)
		if index < 0 {
			break
		}
		raw, ok := f.m.mem.Bytes(tree+inlinedCall*uint64(index), inlinedCall)
		if !ok {
			break
		}
		name := printName(string(cstring(f.m.names, binary.LittleEndian.Uint32(raw[4:]))))
		calls = append(calls, f.call(name, at, true))
		parent := f.Entry + uint64(binary.LittleEndian.Uint32(raw[8:]))
		if parent < f.Entry || parent >= f.End {
			break
		}
		at = parent
	}
	return append(calls, f.call(f.Name(), at, false))
}

func (f Func) call(name string, pc uint64, inlined bool) Call {
	file, line := f.FileLine(pc)
	return Call{Function: name, File: file, Line: line, Inlined: inlined}
}

// FileLine is the source position of pc; "" and 0 when the tables do not tell.
func (f Func) FileLine(pc uint64) (string, int) {
	fileNo, ok1 := f.value(f.u32(funcPCFile), pc)
	line, ok2 := f.value(f.u32(funcPCLn), pc)
	if !ok1 || !ok2 || fileNo < 0 {
		return "", 0
	}
	at := 4 * (uint64(f.u32(funcCUOffset)) + uint64(fileNo))
	if at+4 > uint64(len(f.m.cutab)) {
		return "", int(line)
	}
	off := binary.LittleEndian.Uint32(f.m.cutab[at:])
	if off == ^uint32(0) {
		return "", int(line)
	}
	return string(cstring(f.m.files, off)), int(line)
}

// EachInlined visits the runs of code that belong to inlined calls, in the order of addresses: their extent and the inlined
// functions, innermost first.
func (f Func) EachInlined(visit func(lo, hi uint64, calls []Inlined)) {
	tree, ok := f.FuncData(FuncDataInlTree)
	if !ok || f.u32(funcNPCData) <= PCDataInlTreeIndex {
		return
	}
	at := funcSize + 4*uint64(PCDataInlTreeIndex)
	if at+4 > uint64(len(f.raw)) {
		return
	}
	f.eachValue(binary.LittleEndian.Uint32(f.raw[at:]), func(lo, hi uint64, index int32) {
		if index >= 0 {
			visit(lo, hi, f.inlined(tree, index))
		}
	})
}

// Inlined is one inlined call: the function, and the place of the call in the code, which tells two calls of the same function
// apart.
type Inlined struct {
	Function string
	Call     uint64
}

// inlined lists an inlined call and those it was inlined through.
func (f Func) inlined(tree uint64, index int32) []Inlined {
	var calls []Inlined
	for index >= 0 && len(calls) < maxInline {
		raw, ok := f.m.mem.Bytes(tree+inlinedCall*uint64(index), inlinedCall)
		if !ok {
			break
		}
		parent := f.Entry + uint64(binary.LittleEndian.Uint32(raw[8:]))
		name := printName(string(cstring(f.m.names, binary.LittleEndian.Uint32(raw[4:]))))
		calls = append(calls, Inlined{name, parent})
		if parent < f.Entry || parent >= f.End {
			break
		}
		index = f.PCData(PCDataInlTreeIndex, parent)
	}
	return calls
}

// eachValue visits the runs of a pc-value table.
func (f Func) eachValue(off uint32, visit func(lo, hi uint64, value int32)) {
	if off == 0 || uint64(off) >= uint64(len(f.m.pctab)) {
		return
	}
	p := f.m.pctab[off:]
	pc, val := f.Entry, int32(-1)
	for first := true; pc < f.End; first = false {
		uv, n := varint(p)
		if n == 0 || (uv == 0 && !first) {
			return
		}
		val += zigzag(uv)
		delta, m := varint(p[n:])
		if m == 0 {
			return
		}
		p = p[n+m:]
		next := pc + uint64(delta)*f.m.quantum
		visit(pc, next, val)
		pc = next
	}
}

// zigzag undoes the encoding of signed numbers.
func zigzag(uv uint32) int32 {
	if uv&1 != 0 {
		return int32(^(uv >> 1))
	}
	return int32(uv >> 1)
}
