package gocore

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"sort"
)

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
		all, _ := t.exe.Symbols() // a stripped program has none, and then nothing is found
		t.symtab = slices.DeleteFunc(append([]elf.Symbol{}, all...), func(s elf.Symbol) bool { return s.Size == 0 })
		slices.SortStableFunc(t.symtab, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	}
	after := sort.Search(len(t.symtab), func(i int) bool { return t.symtab[i].Value+t.bias > addr })
	if after == 0 {
		return "", 0, false
	}
	s := t.symtab[after-1]
	off = addr - (s.Value + t.bias)
	return s.Name, off, off < s.Size
}
