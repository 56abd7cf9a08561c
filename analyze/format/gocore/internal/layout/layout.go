package layout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Origins of a layout.
const (
	OriginDWARF = "dwarf" // read from the executable
	OriginTable = "table" // from the tables of this package
)

// Layout is where the fields of one runtime's structs are. It is immutable and safe for concurrent use.
type Layout struct {
	Version Version
	Arch    string // "amd64" or "arm64"
	Origin  string // OriginDWARF or OriginTable

	types    *types // of the origin
	fallback *types // of the table, for types that the executable's DWARF leaves out; nil when Origin is table
	table    *table // of the version; nil when the version has none (Origin is then dwarf)

	located sync.Map // path -> location
}

type location struct {
	offset uint64
	shape  shape
	ok     bool
}

// For gives the layout of a runtime from the tables. The version is that of runtime.buildVersion ("go1.26.8",
// "go1.24rc1 X:nogreenteagc"); the architecture is "amd64" or "arm64" (Linux). Without a table for it the error is an
// *UnknownVersionError. Experiments that move fields are accounted for when the tables know them; see Doubts.
func For(version, arch string) (*Layout, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return nil, &UnknownVersionError{Version: clip(version), Arch: arch, Known: Known(arch), Err: err}
	}
	t, err := tableFor(v, arch)
	if err != nil {
		return nil, err
	}
	return &Layout{Version: v, Arch: arch, Origin: OriginTable, types: t.typesFor(v), table: t}, nil
}

// find locates a path: in the origin's types, else in the table.
func (l *Layout) find(path string) location {
	if known, ok := l.located.Load(path); ok {
		return known.(location)
	}
	var at location
	at.offset, at.shape, at.ok = l.typesOf(path).locate(path)
	l.located.Store(path, at)
	return at
}

// typesOf chooses the source for a path. A type that the executable's DWARF describes is never mixed with the
// table: a field that DWARF does not have is absent.
func (l *Layout) typesOf(path string) *types {
	if l.fallback != nil {
		if typ, _ := l.types.splitPath(path); typ == "" {
			return l.fallback
		}
	}
	return l.types
}

// Offset is where a field is, in bytes from the start of the struct that the path begins with: "runtime.g.sched.sp",
// "runtime.hchan.recvq.first", "runtime.p.runq[3]", "runtime.moduledata.pclntable.len". Fields of embedded structs may be
// named as Go would. ok is false when this version has no such field.
func (l *Layout) Offset(path string) (offset uint64, ok bool) {
	at := l.find(path)
	return at.offset, at.ok
}

// OffsetAny is the offset of the first of several paths that exists, for fields that were renamed or moved
// ("sync.Mutex.mu.state" since Go 1.24, "sync.Mutex.state" before).
func (l *Layout) OffsetAny(paths ...string) (offset uint64, ok bool) {
	for _, path := range paths {
		if at := l.find(path); at.ok {
			return at.offset, true
		}
	}
	return 0, false
}

// Size is the number of bytes of a type ("runtime.g") or field ("runtime.g.goid").
func (l *Layout) Size(path string) (size uint64, ok bool) {
	at := l.find(path)
	if !at.ok {
		return 0, false
	}
	return l.typesOf(path).size(at.shape)
}

// Array describes an array type or field ("runtime.semTable", "runtime.p.runq"): the bytes from one element to the next
// and the number of elements. For a slice field the count is 0 and the stride that of its elements.
func (l *Layout) Array(path string) (stride, count uint64, ok bool) {
	at := l.find(path)
	t := l.typesOf(path)
	s := t.resolve(at.shape)
	elem, isSlice := strings.CutPrefix(string(s), "[]")
	if !isSlice {
		var whole shape
		if count, whole, ok = arrayOf(s); !ok {
			return 0, 0, false
		}
		elem = string(whole)
	}
	stride, ok = t.size(shape(elem))
	return stride, count, ok && at.ok
}

// Elem is the path by which the elements of an array or slice can be asked for: the name of a struct, or "" when the
// elements are not structs. Pointers give the name of what they point to.
func (l *Layout) Elem(path string) string {
	at := l.find(path)
	t := l.typesOf(path)
	s := strings.TrimLeft(string(t.resolve(at.shape)), "*[]0123456789")
	if t.structs[s] == nil {
		return ""
	}
	return s
}

// MissingError lists paths that a layout does not have.
type MissingError struct {
	Version Version
	Arch    string
	Paths   []string
}

// Error names the fields and the runtime.
func (e *MissingError) Error() string {
	return fmt.Sprintf("layout of the Go runtime %s on %s: no field %s", e.Version, e.Arch, strings.Join(e.Paths, ", "))
}

// Fields gives the offsets of many paths, in their order. When some do not exist the error is a *MissingError with all
// of them, and their offsets are 0.
func (l *Layout) Fields(want ...string) ([]uint64, error) {
	offsets := make([]uint64, len(want))
	var missing []string
	for i, path := range want {
		at := l.find(path)
		if offsets[i] = at.offset; !at.ok {
			missing = append(missing, path)
		}
	}
	if missing != nil {
		return offsets, &MissingError{l.Version, l.Arch, missing}
	}
	return offsets, nil
}

// FieldNames lists the fields of a struct in order of offset, or nil when there is no such struct.
func (l *Layout) FieldNames(typ string) []string {
	st := l.typesOf(typ).structs[typ]
	if st == nil {
		return nil
	}
	names := make([]string, len(st.fields))
	for i, f := range st.fields {
		names[i] = f.name
	}
	return names
}

// Types lists the names of all structs and arrays of the origin, sorted.
func (l *Layout) Types() []string {
	names := slices.Collect(maps.Keys(l.types.structs))
	return slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(l.types.aliases))))
}

// WaitReasons gives the text of each wait reason by its number, as this version numbers them (runtime/runtime2.go). It is
// nil when the version has no table.
func (l *Layout) WaitReasons() []string {
	if l.table == nil {
		return nil
	}
	return slices.Clone(l.table.waitReasonsFor(l.Version))
}

// StatusName is the runtime's word for a goroutine status ("running"), without the scan bit, or "" for a number that
// this version does not use.
func (l *Layout) StatusName(status uint32) string {
	if l.table == nil {
		return ""
	}
	return l.table.statuses[status&^l.scanBit()]
}

// scanBit is _Gscan, which the garbage collector adds to a status.
func (l *Layout) scanBit() uint32 {
	n, _ := l.Const("runtime._Gscan")
	return uint32(n)
}

// Const is the value of a constant of the runtime in this version: "runtime._Gwaiting", "runtime._KindSpecialFinalizer".
func (l *Layout) Const(name string) (value int64, ok bool) {
	if l.table == nil {
		return 0, false
	}
	value, ok = l.table.constants[name]
	return value, ok
}

// Doubts are the reasons for which a layout may not be that of the process, though its version is known: experiments that
// the tables do not have, a development build, a release candidate, a patch release later than the tables know. It is empty when the layout came from DWARF.
func (l *Layout) Doubts() []string {
	var doubts []string
	if l.Origin == OriginDWARF {
		return nil
	}
	if l.Version.Devel {
		doubts = append(doubts, "the executable was built by a development version of Go")
	}
	if l.Version.Pre != "" {
		doubts = append(doubts, "the executable was built by a pre-release of Go ("+l.Version.Pre+")")
	}
	if l.table.beyond(l.Version) {
		doubts = append(doubts, "the tables were compared with Go up to "+l.table.compared+", and the executable was built by a later patch release")
	}
	for _, x := range l.Version.Experiments {
		if !l.table.knowsExperiment(x) {
			doubts = append(doubts, "the executable was built with GOEXPERIMENT="+x+", whose layouts are not in the tables")
		}
	}
	if name := l.table.conflict(l.Version); name != "" {
		doubts = append(doubts, "the executable's GOEXPERIMENT settings and its patch release both change "+name+", or two settings do")
	}
	return doubts
}
