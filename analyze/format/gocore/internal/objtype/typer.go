package objtype

import (
	"context"
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// Source is what types are found with.
type Source struct {
	Mem    *elfcore.Memory
	Heap   *heap.Heap
	Live   func(heap.Object) bool // whether the object is reachable: nothing else is looked at
	NameOf func(addr uint64) (name string, kind uint8, ok bool)
	// TypesLo and TypesHi bound the descriptors of the program.
	TypesLo, TypesHi uint64
	// IsType and IsItab say whether a word is the address of a descriptor of a type, or of a pair of a type and an interface.
	IsType, IsItab func(addr uint64) bool
	// FuncAt names the function that begins at an address.
	FuncAt func(pc uint64) (name string, ok bool)
	Swiss  bool   // maps are those of Go 1.24 and later (internal/runtime/maps)
	ChanAt uint64 // offset of hchan.buf
	LenAt  uint64 // offset of hchan.dataqsiz
}

// Rank says how a type was found, from worst to best. A better one replaces a worse.
type Rank uint8

// The ranks.
const (
	Unknown  Rank = iota
	Guessed       // from the shape, or through a pointer into the middle of something
	Followed      // a typed pointer or an interface leads to it, and class and pointers fit
	Header        // the runtime keeps the type with the object
)

// Label is a type as it is told.
type Label struct {
	Name string
	Rank Rank
}

// claim is what an object was found to be.
type claim struct {
	label uint32
	size  uint32 // of the type, cut: of two types that fit the larger is the outer one
}

// Typer labels objects. It is for one goroutine.
type Typer struct {
	src    Source
	heap   *heap.Heap
	dwarf  *dwarfTypes
	types  map[ref]*typ
	labels []Label
	number map[Label]uint32
	claims []claim // of each place of the heap; label 0 is unknown
	queue  []item
	names  map[nameKey]string
}

// item is a part of an object whose contents are to be followed.
type item struct {
	o     heap.Object
	at    uint64
	count uint64
	t     *typ
	rank  Rank
}

type nameKey struct {
	prefix string
	t      *typ
}

// New returns a Typer that knows nothing yet. It takes eight bytes for each place of the heap.
func New(src Source) *Typer {
	return &Typer{src: src, heap: src.Heap, types: map[ref]*typ{}, labels: []Label{{}}, number: map[Label]uint32{{}: 0},
		claims: make([]claim, src.Heap.Objects()), names: map[nameKey]string{}}
}

// Of is the label of an object, as a number below Labels.
func (t *Typer) Of(o heap.Object) uint32 { return t.claims[t.heap.Number(o)].label }

// Labels are the labels by number; the first stands for what is not known.
func (t *Typer) Labels() []Label { return t.labels }

// Headers labels the objects that carry their type.
func (t *Typer) Headers(ctx context.Context) error {
	var failed error
	t.heap.Spans(func(s heap.Span) {
		if s.NoScan || failed != nil || t.heap.TypeOf(s.Object(0)) == 0 && s.Large {
			return
		}
		if failed = ctx.Err(); failed != nil {
			return
		}
		if _, small := t.heap.Bits(s.Object(0)); small {
			return
		}
		for i := range s.Count {
			if o := s.Object(i); t.src.Live(o) {
				t.header(o, s.Elem)
			}
		}
		t.drain()
	})
	return wrap(failed)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("finding the types of objects: %w", err)
	}
	return nil
}

// header labels an object by the type that the runtime keeps for it. It is one value when no second would fit into its class.
func (t *Typer) header(o heap.Object, size uint64) {
	d := t.typeAt(ref{abi: t.heap.TypeOf(o)})
	if d == nil || d.size == 0 {
		return
	}
	from := t.heap.HeaderBytes(o)
	n := (size - from) / d.size
	if n == 0 {
		return
	}
	if n == 1 {
		t.give(o, d.name, Header, d.size)
	} else {
		t.give(o, t.named("[]", d), Header, d.size)
	}
	t.push(item{o, from, n, d, Followed})
}

// named is a name made of a prefix and that of a type.
func (t *Typer) named(prefix string, d *typ) string {
	key := nameKey{prefix, d}
	name, ok := t.names[key]
	if !ok {
		name = prefix + d.name
		t.names[key] = name
	}
	return name
}

// give labels an object; false when what is known of it already is as good.
func (t *Typer) give(o heap.Object, name string, rank Rank, size uint64) bool {
	c := &t.claims[t.heap.Number(o)]
	size = min(size, 1<<32-1)
	if have := t.labels[c.label].Rank; have > rank || have == rank && (rank != Followed || uint64(c.size) >= size) {
		return false
	}
	label := Label{name, rank}
	n, ok := t.number[label]
	if !ok {
		n = uint32(len(t.labels))
		t.labels = append(t.labels, label)
		t.number[label] = n
	}
	c.label, c.size = n, uint32(size)
	return true
}

func (t *Typer) push(i item) {
	if len(i.t.places) > 0 {
		t.queue = append(t.queue, i)
	}
}

// drain follows what is in the queue, and what that leads to.
func (t *Typer) drain() {
	for len(t.queue) > 0 {
		i := t.queue[len(t.queue)-1]
		t.queue = t.queue[:len(t.queue)-1]
		mem, ok := t.heap.Read(i.o, i.at, min(i.count*i.t.size, t.heap.Size(i.o)-i.at))
		if ok {
			t.values(mem, i.t, i.count, i.rank)
		}
	}
}

// values follows count values of a type that lie one behind the other.
func (t *Typer) values(mem []byte, d *typ, count uint64, rank Rank) {
	if d == nil || d.size == 0 || len(d.places) == 0 {
		return
	}
	for n := uint64(0); n < count && uint64(len(mem)) >= d.size; n++ {
		for i := range d.places {
			t.follow(mem, &d.places[i], rank)
		}
		mem = mem[d.size:]
	}
}

// follow goes where a place of a value leads.
func (t *Typer) follow(mem []byte, p *place, rank Rank) {
	at := func(i uint64) uint64 {
		if p.at+i+8 > uint64(len(mem)) {
			return 0
		}
		return le.Uint64(mem[p.at+i:])
	}
	v := at(0)
	if v == 0 {
		return
	}
	switch p.kind {
	case kindPointer:
		t.pointer(v, t.typeAt(p.elem), rank)
	case kindSlice:
		t.slice(v, at(16), t.typeAt(p.elem), rank)
	case kindString:
		t.text(v, at(8), rank)
	case kindChan:
		t.channel(v, t.typeAt(p.elem), rank)
	case kindMap:
		t.aMap(v, t.typeAt(p.elem), rank)
	case kindFunc:
		t.closure(v, rank)
	case kindInterface:
		t.boxed(v, at(8), p.eface, rank)
	case kindArray:
		if e := t.typeAt(p.elem); e != nil && p.at < uint64(len(mem)) {
			t.values(mem[p.at:], e, p.count, rank)
		}
	}
}

// Value follows a value outside of the heap whose type is that of a descriptor.
func (t *Typer) Value(addr, descriptor uint64) { t.value(addr, t.typeAt(ref{abi: descriptor})) }

// value follows a variable of a type at an address outside of the heap.
func (t *Typer) value(addr uint64, d *typ) {
	if d == nil || d.size == 0 || d.size > 1<<30 || len(d.places) == 0 {
		return
	}
	if mem, ok := t.src.Mem.Bytes(addr, d.size); ok {
		t.values(mem, d, 1, Followed)
		t.drain()
	}
}
