package pcln

import "testing"

// TestPointerMaps holds the two maps that are asked for together against each by itself, and the answer that a function has none
// against all its maps.
func TestPointerMaps(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.p)
			with, without := 0, 0
			p.tab.All(func(f Func) bool {
				keeps := f.KeepsPointers()
				if keeps {
					with++
				} else {
					without++
				}
				for pc := f.Entry; pc <= min(f.End, f.Entry+256); pc += 4 {
					locals, args, ok1, ok2 := f.PointerMaps(pc)
					wantLocals, want1 := f.LocalsMap(pc)
					wantArgs, want2 := f.ArgsMap(pc)
					if ok1 != want1 || ok2 != want2 || !same(locals, wantLocals) || !same(args, wantArgs) {
						t.Fatalf("%s at %#x: %v %v and %v %v; want %v %v and %v %v", f.Name(), pc, locals, ok1, args, ok2, wantLocals, want1, wantArgs, want2)
					}
					if !keeps && (bits(locals) > 0 || bits(args) > 0) {
						t.Fatalf("%s keeps no pointers, and at %#x it does", f.Name(), pc)
					}
				}
				return true
			})
			if with < 500 || without < 100 {
				t.Errorf("%d functions keep pointers, %d do not", with, without)
			}
		})
	}
}

func same(a, b PointerMap) bool {
	for i := range max(a.Len(), b.Len()) {
		if a.Has(i) != b.Has(i) {
			return false
		}
	}
	return a.Len() == b.Len()
}

func bits(m PointerMap) (n int) {
	for i := range m.Len() {
		if m.Has(i) {
			n++
		}
	}
	return n
}
