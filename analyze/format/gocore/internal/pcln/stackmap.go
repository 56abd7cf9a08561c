package pcln

import "encoding/binary"

// argsUnknown marks functions in assembly whose arguments are not declared (internal/abi/symtab.go, ArgsSizeUnknown).
const argsUnknown = -0x80000000

// maxStackMap bounds the bits of one pointer map, and maxStackObjects the objects of one frame: a frame has at most 1 GB
// (runtime/proc.go, maxstacksize), but no compiler makes more than some megabytes.
const (
	maxStackMap     = 1 << 26
	maxStackObjects = 1 << 16
)

// A stackmap is {n, nbit int32} and n bitmaps of nbit bits, each from a byte of its own (runtime/symtab.go, stackmap). A
// stackObjectRecord is {off, size, ptrBytes int32, gcdataoff uint32} (runtime/stack.go), and before the first of them stands
// their number in one word. The same in Go 1.21 to 1.26.
const (
	stackMapHead      = 8
	stackObjectRecord = 16
)

// PointerMap says which words of a region hold pointers that are live at a pc. Its words end where the region ends.
type PointerMap struct {
	bits []byte
	n    int
}

// Len is the number of words.
func (m PointerMap) Len() int { return m.n }

// Has reports whether a word, counted from the lowest address, holds a live pointer; false for a word outside of the map.
func (m PointerMap) Has(word int) bool {
	return word >= 0 && word < m.n && m.bits[word>>3]>>(word&7)&1 != 0
}

// FrameBounds gives the places that pointer maps are counted from, as runtime/traceback.go has them: varp is the end of the
// locals, argp the beginning of the arguments. sp is the SP of the frame and fp that of its caller.
func FrameBounds(sp, fp uint64, arm64 bool) (varp, argp uint64) {
	const word = 8
	varp, argp = fp, fp
	if arm64 {
		argp += word // the caller's slot for LR
	} else {
		varp -= word // the return address
	}
	if varp > sp {
		varp -= word // the frame pointer
	}
	return varp, argp
}

// LocalsMap is the map of the local variables of a frame, whose last word ends at varp (see FrameBounds): word i lies at
// varp - 8*(Len-i). pc is the return address as it stands on the stack, or the entry of a function that has not begun; of an
// interrupted frame the map says nothing. ok is false where the function has no maps (assembly) or the pc has none. The
// runtime does the same in stkframe.go, getStackMap.
func (f Func) LocalsMap(pc uint64) (m PointerMap, ok bool) {
	return f.stackMap(FuncDataLocalsPointerMaps, pc)
}

// ArgsMap is the map of the arguments and results of a frame: word i lies at argp + 8*i. pc is as for LocalsMap. ok is false
// where the size of the arguments is not known, or the function has no maps.
func (f Func) ArgsMap(pc uint64) (m PointerMap, ok bool) {
	switch size := f.ArgsSize(); {
	case size == 0:
		return PointerMap{}, true
	case size == argsUnknown || size < 0:
		return PointerMap{}, false
	}
	return f.stackMap(FuncDataArgsPointerMaps, pc)
}

// KeepsPointers reports whether the maps of a function have any words: where they have none, no call of it has a live pointer in its
// frame or among its arguments, and its pcs need not be looked at one by one.
func (f Func) KeepsPointers() bool {
	if f.hasMap(FuncDataLocalsPointerMaps) {
		return true
	}
	return f.ArgsSize() != 0 && f.hasMap(FuncDataArgsPointerMaps)
}

// hasMap reports whether a table has maps of more than no words.
func (f Func) hasMap(table uint8) bool {
	at, ok := f.FuncData(table)
	if !ok {
		return false
	}
	head, ok := f.m.mem.Bytes(at, stackMapHead)
	return ok && binary.LittleEndian.Uint32(head[4:]) != 0
}

// PointerMaps are LocalsMap and ArgsMap together.
func (f Func) PointerMaps(pc uint64) (locals, args PointerMap, okLocals, okArgs bool) {
	index := f.stackMapIndex(pc)
	locals, okLocals = f.mapNumber(FuncDataLocalsPointerMaps, index)
	switch size := f.ArgsSize(); {
	case size == 0:
		okArgs = true
	case size > 0:
		args, okArgs = f.mapNumber(FuncDataArgsPointerMaps, index)
	}
	return locals, args, okLocals, okArgs
}

func (f Func) stackMap(table uint8, pc uint64) (m PointerMap, ok bool) {
	return f.mapNumber(table, f.stackMapIndex(pc))
}

func (f Func) mapNumber(table uint8, index int32) (m PointerMap, ok bool) {
	at, ok := f.FuncData(table)
	if !ok {
		return PointerMap{}, false
	}
	head, ok := f.m.mem.Bytes(at, stackMapHead)
	if !ok {
		return PointerMap{}, false
	}
	maps, bits := int32(binary.LittleEndian.Uint32(head)), int32(binary.LittleEndian.Uint32(head[4:]))
	if maps <= 0 || bits < 0 || bits > maxStackMap || index < 0 || index >= maps {
		return PointerMap{}, false
	}
	if bits == 0 {
		return PointerMap{}, true
	}
	each := uint64(bits+7) >> 3
	data, ok := f.m.mem.Bytes(at+stackMapHead+uint64(index)*each, each)
	return PointerMap{data, int(bits)}, ok
}

// stackMapIndex is the number of the map at a call that returns to pc. A pc without a number is taken for one of the
// prologue, which has the first map.
func (f Func) stackMapIndex(pc uint64) int32 {
	if pc == f.Entry {
		return 0
	}
	index := f.PCData(PCDataStackMapIndex, pc-1)
	if index == -1 {
		return 0
	}
	return index
}

// StackObject is a variable of a frame whose address is taken: it is not in the pointer maps, and lives as long as something
// live points to it (runtime/mgcstack.go).
type StackObject struct {
	Off      int64  // from varp when negative, else from argp
	Size     uint64 // in bytes
	PtrBytes uint64 // behind so many bytes it holds no pointers
	mask     uint64 // address of its pointer mask, a bit for each word; 0 when it has a GC program (large types up to Go 1.23)
}

// Pointers returns the pointer map of the object's words; false when it is not known: then every word may be one.
func (o StackObject) Pointers(mem Memory) (PointerMap, bool) {
	if o.mask == 0 {
		return PointerMap{}, false
	}
	words := o.PtrBytes / 8
	bits, ok := mem.Bytes(o.mask, (words+7)/8)
	return PointerMap{bits, int(words)}, ok
}

// StackObjects lists the variables of a function whose addresses are taken. ok is false when there is a list that cannot be
// read.
func (f Func) StackObjects() (objects []StackObject, ok bool) {
	at, has := f.FuncData(FuncDataStackObjects)
	if !has {
		return nil, true
	}
	count, ok := word(f.m.mem, at)
	if !ok || count > maxStackObjects {
		return nil, false
	}
	raw, ok := f.m.mem.Bytes(at+8, count*stackObjectRecord)
	if !ok {
		return nil, false
	}
	for ; len(raw) >= stackObjectRecord; raw = raw[stackObjectRecord:] {
		size, ptrs := int32(binary.LittleEndian.Uint32(raw[4:])), int32(binary.LittleEndian.Uint32(raw[8:]))
		o := StackObject{Off: int64(int32(binary.LittleEndian.Uint32(raw))), Size: uint64(size), PtrBytes: uint64(ptrs)}
		if ptrs < 0 {
			o.PtrBytes = uint64(-int64(ptrs))
		} else {
			o.mask = f.m.Rodata + uint64(binary.LittleEndian.Uint32(raw[12:]))
		}
		if size < 0 || o.PtrBytes > o.Size {
			return nil, false
		}
		objects = append(objects, o)
	}
	return objects, true
}
