package objtype

import (
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// target finds the live object behind a pointer, and the offset in its contents.
func (t *Typer) target(addr uint64) (o heap.Object, offset uint64, ok bool) {
	o, ok = t.heap.Find(addr)
	if !ok || !t.src.Live(o) {
		return o, 0, false
	}
	begin := t.heap.Base(o) + t.heap.HeaderBytes(o)
	return o, addr - begin, addr >= begin
}

// whole reports whether bytes from the beginning of an object's contents to end fill an object of its class.
func (t *Typer) whole(o heap.Object, end uint64) bool {
	end += t.heap.HeaderBytes(o)
	return roundUp(end) == t.heap.Size(o)
}

// tiny reports whether an object may be a block that several small values share.
func (t *Typer) tiny(o heap.Object, size uint64) bool {
	return size < tinyBytes && t.heap.Size(o) == tinyBytes && t.heap.NoScan(o)
}

// pointer follows a pointer to one value.
func (t *Typer) pointer(addr uint64, d *typ, rank Rank) {
	if d == nil || d.size == 0 {
		return
	}
	o, at, ok := t.target(addr)
	if !ok || at+d.size > t.heap.Size(o) {
		return
	}
	fits := !d.masked || t.heap.Fits(o, d.mask, at, true)
	switch {
	case t.tiny(o, d.size):
		t.give(o, d.name, Guessed, 0)
		return
	case at == 0 && t.whole(o, d.size) && fits:
		if t.give(o, d.name, rank, d.size) {
			t.push(item{o, t.heap.HeaderBytes(o), 1, d, rank})
		}
		return
	}
	t.inside(o, at, 1, d)
}

// inside follows a pointer into an object of which nothing better is known.
func (t *Typer) inside(o heap.Object, at, n uint64, d *typ) {
	if len(d.places) == 0 || at%8 != 0 || d.masked && !t.heap.Fits(o, d.mask, at, false) {
		return
	}
	if c := &t.claims[t.heap.Number(o)]; c.label == 0 {
		c.label = t.seen()
		t.push(item{o, at + t.heap.HeaderBytes(o), n, d, Guessed})
	}
}

// seen is the label of objects that were looked into once without knowing what they are.
func (t *Typer) seen() uint32 {
	label := Label{"", Guessed}
	n, ok := t.number[label]
	if !ok {
		n = uint32(len(t.labels))
		t.labels = append(t.labels, label)
		t.number[label] = n
	}
	return n
}

// slice follows a pointer to the elements of a slice of some capacity.
func (t *Typer) slice(addr, n uint64, d *typ, rank Rank) {
	if d == nil || d.size == 0 || n == 0 || n > 1<<40/d.size {
		return
	}
	o, at, ok := t.target(addr)
	if !ok || at+n*d.size > t.heap.Size(o) {
		return
	}
	name := t.named("[]", d)
	fits := !d.masked || t.heap.Fits(o, d.mask, at, false)
	switch {
	case t.tiny(o, n*d.size):
		t.give(o, name, Guessed, 0)
	case !fits:
	case t.whole(o, at+n*d.size):
		if t.give(o, name, rank, d.size) {
			t.push(item{o, at%d.size + t.heap.HeaderBytes(o), (at + n*d.size) / d.size, d, rank})
		}
	default:
		if t.give(o, name, Guessed, 0) {
			t.push(item{o, at + t.heap.HeaderBytes(o), n, d, Guessed})
		}
	}
}

// text follows a pointer to the bytes of a string.
func (t *Typer) text(addr, n uint64, rank Rank) {
	o, at, ok := t.target(addr)
	if !ok || n > t.heap.Size(o) || at+n > t.heap.Size(o) || !t.heap.NoScan(o) {
		return
	}
	if t.tiny(o, n) || !t.whole(o, at+n) {
		rank = Guessed
	}
	t.give(o, "string", rank, 1)
}

// channel follows a pointer to a channel (runtime/chan.go, hchan: the elements lie behind it when they have no pointers).
func (t *Typer) channel(addr uint64, d *typ, rank Rank) {
	o, at, ok := t.target(addr)
	if !ok || at != 0 || d == nil {
		return
	}
	if !t.give(o, t.named("chan ", d), rank, t.heap.Size(o)) {
		return
	}
	buf, ok1 := t.word(addr + t.src.ChanAt)
	n, ok2 := t.word(addr + t.src.LenAt)
	if to, _, ok := t.target(buf); ok1 && ok2 && ok && to != o {
		t.slice(buf, n, d, rank)
	}
}

// closure follows a pointer to a closure, whose first word is its code.
func (t *Typer) closure(addr uint64, rank Rank) {
	o, at, ok := t.target(addr)
	if !ok || at != 0 {
		return
	}
	pc, ok := t.word(addr)
	if name, found := t.src.FuncAt(pc); ok && found {
		t.give(o, "func "+name, rank, t.heap.Size(o))
	}
}

// boxed follows the two words of an interface.
func (t *Typer) boxed(tab, data uint64, eface bool, rank Rank) {
	if !eface {
		var ok bool
		if tab, ok = t.word(tab + atItabType); !ok {
			return
		}
	}
	d := t.typeAt(ref{abi: tab})
	if d == nil {
		return
	}
	if !d.direct {
		t.pointer(data, d, rank)
		return
	}
	var mem [8]byte
	le.PutUint64(mem[:], data)
	t.values(mem[:], d, 1, rank)
}
