package gocore

import "fmt"

// whereIs says what the object at addr is part of, as far as it is known.
func (t *target) whereIs(addr uint64) string {
	for _, m := range t.tab.Modules {
		for _, s := range []struct {
			name   string
			lo, hi uint64
		}{{"data", m.Data, m.EData}, {"data", m.NoPtrData, m.ENoPtrData}, {"bss", m.BSS, m.EBSS}, {"bss", m.NoPtrBSS, m.ENoPtrBSS}} {
			if addr >= s.lo && addr < s.hi {
				if name, off, ok := t.globalAt(addr); ok {
					return "global " + name + plus(off)
				}
				return "a global variable"
			}
		}
	}
	return ""
}

func plus(off uint64) string {
	if off == 0 {
		return ""
	}
	return fmt.Sprintf("+%d", off)
}

// globalAt finds the variable that holds addr in the symbol table.
func (t *target) globalAt(addr uint64) (name string, off uint64, ok bool) {
	if t.exe == nil {
		return "", 0, false
	}
	if t.symtab == nil {
		t.symtab, _ = t.exe.Symbols() // a stripped program has none, and then nothing is found
	}
	for _, s := range t.symtab {
		if at := s.Value + t.bias; addr >= at && addr < at+s.Size {
			return s.Name, addr - at, true
		}
	}
	return "", 0, false
}
