package heap

import "testing"

// TestHold: the words that are held are those of the object that was named, whatever is held in others of its span.
func TestHold(t *testing.T) {
	h := &Heap{objects: 50, spans: []span{
		{form: formBits, size: 64, first: 0, nelems: 10}, {form: formHeader, size: 1024, first: 10, nelems: 8},
		{form: formBits, size: 512, first: 18, nelems: 32},
	}}
	m := h.NewMarker(nil, nil)
	want := map[Object]uint64{}
	for _, hold := range []struct {
		o      Object
		offset uint64
	}{{objectAt(0, 3), 8}, {objectAt(0, 3), 56}, {objectAt(0, 4), 8}, {objectAt(2, 31), 504}, {objectAt(2, 31), 504}, {objectAt(2, 0), 0}} {
		if !m.Hold(hold.o, hold.offset) {
			t.Errorf("word %d of %#x is not held", hold.offset, hold.o)
		}
		want[hold.o] |= 1 << (hold.offset / 8)
	}
	for span, s := range h.spans {
		for i := range s.nelems {
			o := objectAt(uint32(span), uint64(i))
			if got := m.heldOf(o); got != want[o] {
				t.Errorf("object %d of span %d: words %b are held, want %b", i, span, got, want[o])
			}
		}
	}
	for o, offset := range map[Object]uint64{objectAt(1, 2): 8, objectAt(0, 1): 64, objectAt(2, 1): 512} {
		if m.Hold(o, offset) {
			t.Errorf("word %d of %#x is held: there is no such word in a bitmap", offset, o)
		}
	}
	if h.spans[1].held || !h.spans[0].held || !h.spans[2].held {
		t.Errorf("%+v", h.spans)
	}
}
