package objtype

import (
	"context"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/heap"
)

// Guess looks into the objects that nothing typed leads to: two neighbouring pointers of which the first is a type's, or an itab's, are taken
// for an interface, and a first word that is a function's entry for a closure.
func (t *Typer) Guess(ctx context.Context) error {
	var failed error
	n := 0
	t.heap.Spans(func(s heap.Span) {
		if s.NoScan || failed != nil {
			return
		}
		if _, small := t.heap.Bits(s.Object(0)); !small {
			return
		}
		if n++; n%64 == 0 {
			failed = ctx.Err()
		}
		for i := range s.Count {
			if o := s.Object(i); t.Of(o) == 0 && t.src.Live(o) {
				t.guess(o)
			}
		}
	})
	return wrap(failed)
}

func (t *Typer) guess(o heap.Object) {
	bits, _ := t.heap.Bits(o)
	mem, ok := t.heap.Read(o, 0, t.heap.Size(o))
	if !ok || len(mem) < 8 {
		return
	}
	if bits&1 == 0 {
		if name, ok := t.src.FuncAt(le.Uint64(mem)); ok {
			t.give(o, "func "+name, Guessed, 0)
		}
	}
	t.pairs(mem, bits, true)
	t.drain()
}

// pairs looks for interfaces in words. Where the pointers among them are known, both words of an interface are.
func (t *Typer) pairs(mem []byte, bits uint64, known bool) {
	for i := uint64(0); 8*i+16 <= uint64(len(mem)); i++ {
		if known && (i > 62 || bits>>i&3 != 3) {
			continue
		}
		tab, data := le.Uint64(mem[8*i:]), le.Uint64(mem[8*i+8:])
		if data == 0 || !t.src.IsType(tab) && !t.src.IsItab(tab) {
			continue
		}
		if o, _, ok := t.target(data); ok && t.labels[t.Of(o)].Rank < Followed {
			t.boxed(tab, data, t.src.IsType(tab), Guessed)
			i++
		}
	}
}

// Words looks for interfaces among the words of a root whose types are not known.
func (t *Typer) Words(mem []byte) {
	t.pairs(mem, 0, false)
	t.drain()
}
