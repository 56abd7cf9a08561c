package gocore

import (
	"strings"
)

// By the time a core is written the runtime has replaced the value of a panic by its text (runtime/panic.go, preprintpanics).
// The value itself is still where gopanic got it: in the slots of its argument. There its type can be read, and what an error
// wraps.

// panicValue is an interface value: type descriptor and data word.
type panicValue struct{ typ, data uint64 }

// panicValues returns the arguments of the gopanic frames of a thread, the newest panic first: the order of g._panic. A slot
// that the compiler calls stale still holds the value, because nothing else uses it; a value whose type makes no sense is
// dropped by whoever reads it.
func (t *target) panicValues(m *machine) []panicValue {
	var values []panicValue
	mem := t.core.Mem.View()
	for i := range m.parts {
		p := &m.parts[i]
		for k, pc := range p.pcs {
			if fn, ok := t.tab.Find(pc); !ok || fn.Name() != "runtime.gopanic" {
				continue
			}
			args := t.frameArguments(mem, p.pcs, p.sps, k, k == 0 && p.trap)
			if len(args) < 2 || !args[0].known || !args[1].known {
				values = append(values, panicValue{})
				continue
			}
			values = append(values, panicValue{args[0].value, args[1].value})
		}
	}
	return values
}

// Offsets in type descriptors: what follows internal/abi.Type in PtrType, StructType and StructField (internal/abi/type.go,
// Go 1.21 to 1.26; until Go 1.21 runtime/type.go had the same).
const (
	typeSize       = 48
	ptrElem        = typeSize
	structFields   = typeSize + 8
	fieldSize      = 24
	kindInterface  = 20
	kindPointer    = 22
	kindSlice      = 23
	kindStruct     = 25
	maxFields      = 64
	maxErrors      = 16
	maxErrorText   = 1 << 10
	interfaceWords = 16
)

// errorTexts names the field that holds the text, for errors of the standard library whose Error method is that field.
var errorTexts = map[string]string{
	"*errors.errorString": "s", "*fmt.wrapError": "msg", "*fmt.wrapErrors": "msg", "*fs.PathError": "Op", "*os.SyscallError": "Syscall",
}

// errorWalk follows an error to what it wraps.
type errorWalk struct {
	t      *target
	causes []string
}

// wrapped returns what a panic's error wraps, outermost first: the text where it is known, else the type. It stops after
// maxErrors.
func (t *target) wrapped(v panicValue) []string {
	w := &errorWalk{t: t}
	w.inside(v)
	return w.causes
}

// inside looks at the fields of an error that is a struct or a pointer to one.
func (w *errorWalk) inside(v panicValue) {
	typ, addr := v.typ, v.data
	_, kind, ok := w.t.typeOf(typ)
	if ok && kind == kindPointer {
		typ, _ = w.t.core.Mem.Uint64(typ + ptrElem)
		_, kind, ok = w.t.typeOf(typ)
	}
	if !ok || kind != kindStruct || addr == 0 {
		return
	}
	for _, f := range w.t.fieldsOf(typ) {
		name, kind, ok := w.t.typeOf(f.typ)
		switch {
		case !ok:
		case kind == kindInterface && name == "error":
			w.cause(w.t.interfaceAt(addr + f.offset))
		case kind == kindSlice && name == "[]error":
			w.list(addr + f.offset)
		}
	}
}

func (w *errorWalk) list(header uint64) {
	ptr, _ := w.t.core.Mem.Uint64(header)
	n, ok := w.t.core.Mem.Uint64(header + 8)
	for i := uint64(0); ok && i < min(n, maxErrors); i++ {
		w.cause(w.t.interfaceAt(ptr + i*interfaceWords))
	}
}

func (w *errorWalk) cause(v panicValue) {
	if v.typ == 0 || len(w.causes) == maxErrors {
		return
	}
	name, _, ok := w.t.typeOf(v.typ)
	if !ok {
		return
	}
	w.causes = append(w.causes, w.t.errorText(name, v))
	w.inside(v)
}

// errorText is the text of an error of a known type, else its type in parentheses: the method that makes the text cannot be
// run on a core.
func (t *target) errorText(name string, v panicValue) string {
	field, known := errorTexts[name]
	if known {
		elem, _ := t.core.Mem.Uint64(v.typ + ptrElem)
		for _, f := range t.fieldsOf(elem) {
			if s, ok := t.goString(v.data + f.offset); f.name == field && ok && len(s) <= maxErrorText {
				if field == "Op" {
					path, _ := t.goString(v.data + 16) // io/fs.PathError: Op, Path, Err
					s += " " + path
				}
				return s
			}
		}
	}
	if _, kind, ok := t.typeOf(v.typ); ok && kind != kindPointer && kind != kindStruct {
		if s, ok := t.scalarText(kind, v.data); ok && len(s) <= maxErrorText {
			return name + "(" + s + ")"
		}
	}
	return "(" + name + ")"
}

// structField is a field of a struct type.
type structField struct {
	name   string
	typ    uint64
	offset uint64
}

func (t *target) fieldsOf(typ uint64) []structField {
	mem := t.core.Mem
	list, ok1 := mem.Uint64(typ + structFields)
	n, ok2 := mem.Uint64(typ + structFields + 8)
	if !ok1 || !ok2 || n > maxFields {
		return nil
	}
	var fields []structField
	for i := range n {
		raw, ok := mem.Bytes(list+i*fieldSize, fieldSize)
		if !ok {
			return nil
		}
		name, _ := t.typeName(le.Uint64(raw))
		fields = append(fields, structField{name, le.Uint64(raw[8:]), le.Uint64(raw[16:])})
	}
	return fields
}

// interfaceAt reads an interface with methods: an itab, whose second word is the type, and a data word.
func (t *target) interfaceAt(addr uint64) panicValue {
	tab, ok1 := t.core.Mem.Uint64(addr)
	data, ok2 := t.core.Mem.Uint64(addr + 8)
	if !ok1 || !ok2 || tab == 0 {
		return panicValue{}
	}
	typ, ok := t.core.Mem.Uint64(tab + 8)
	if !ok {
		return panicValue{}
	}
	return panicValue{typ, data}
}

// nilPanic begins the text of the error that gopanic puts in the place of a nil (runtime/panic.go, PanicNilError).
const nilPanic = "panic called with nil argument"

// valueOf finds the value of a panic whose text the runtime has put in its place. Where the type is one whose text can be read,
// it must be the text of the panic: a stale slot would say something else.
func (t *target) valueOf(v panicValue, text string) (typ string, causes []string) {
	if v.typ == 0 && strings.HasPrefix(text, nilPanic) {
		return "*runtime.PanicNilError", nil
	}
	name, kind, ok := t.typeOf(v.typ)
	if !ok || kind == kindString && name == "string" {
		return "", nil
	}
	if _, known := errorTexts[name]; known && name != "*fs.PathError" {
		if own := t.errorText(name, v); own != text && !strings.HasPrefix(text, own) {
			return "", nil
		}
	}
	return name, t.wrapped(v)
}
