package main

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// referenceVariants are the programs of which none may contradict a reference for the table to have it. Position-independent
// code and other instruction sets give some functions another number of references: those stand in the table twice.
var referenceVariants = []variant{
	{},
	{program: "small"},
	{program: "small", flags: []string{"-buildmode=pie"}},
	{program: "small", env: []string{"GOAMD64=v3", "GOARM64=v8.1"}},
}

// perVariable is how many functions are recorded for a variable. Two must agree; the others are for executables of
// other patch releases, whose functions differ here and there.
const perVariable = 7

// references finds the references to the wanted variables that all variants share, and those of other patch releases do not
// contradict: there a variable may have grown, so that what functions refer to in it is elsewhere.
func (b *builder) references(s *layout.Source, release string) error {
	var programs []*witness
	for _, v := range referenceVariants {
		v.arch = s.Arch
		if err := b.witness(v, &programs); err != nil {
			return err
		}
	}
	for _, toolchain := range otherPatches(release) {
		other := &builder{dir: filepath.Join(b.dir, "refs-"+toolchain), toolchain: toolchain}
		if err := os.Mkdir(other.dir, 0o755); err != nil {
			return err
		}
		if err := other.witness(variant{arch: s.Arch, program: "small"}, &programs); err != nil {
			return err
		}
	}
	s.References = choose(shared(programs))
	return nil
}

// witness builds a program and adds what its code says.
func (b *builder) witness(v variant, programs *[]*witness) error {
	f, err := b.build(v)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := witnessOf(f, v.arch)
	if err != nil {
		return fmt.Errorf("%s: %w", b.toolchain, err)
	}
	*programs = append(*programs, w)
	return nil
}

// witness is what the code of one program says.
type witness struct {
	totals map[string]int // references of each function
	refs   map[layout.Reference]bool
}

// contradicts reports whether the function of a reference is here, with as many references, but without this one.
func (w *witness) contradicts(r layout.Reference) bool {
	total, ok := w.totals[r.Function]
	return ok && total == r.Total && !w.refs[r]
}

// shared gives the references that no program contradicts, and whether all have the function.
func shared(programs []*witness) map[layout.Reference]bool {
	agreed := map[layout.Reference]bool{}
	for _, from := range programs {
		for r := range from.refs {
			if slices.ContainsFunc(programs, func(w *witness) bool { return w.contradicts(r) }) {
				continue
			}
			agreed[r] = !slices.ContainsFunc(programs, func(w *witness) bool {
				_, ok := w.totals[r.Function]
				return !ok
			})
		}
	}
	return agreed
}

// choose keeps for each variable a few references of different functions: those of functions that every program has
// (found says true) and with few references first, since short code is the least likely to change in a patch release.
func choose(found map[layout.Reference]bool) []layout.Reference {
	byVariable := map[string][]layout.Reference{}
	for r := range found {
		byVariable[r.Variable] = append(byVariable[r.Variable], r)
	}
	var chosen []layout.Reference
	for _, list := range byVariable {
		slices.SortFunc(list, func(x, y layout.Reference) int {
			return cmp.Or(cmp.Compare(rank(found[x]), rank(found[y])), cmp.Compare(x.Total, y.Total),
				cmp.Compare(x.Function, y.Function), cmp.Compare(x.Nth, y.Nth))
		})
		chosen = append(chosen, firstOfEach(list)...)
	}
	return chosen
}

// firstOfEach takes the first few functions, and one reference for each form of their code. Functions that refer to a
// part of the variable that none before them did go first: those that refer to the same part are no independent witnesses,
// since all are wrong when the part moves.
func firstOfEach(list []layout.Reference) []layout.Reference {
	parts := map[uint64]int{}
	turn := map[string]int{}
	for _, r := range list {
		if _, ok := turn[r.Function]; !ok {
			turn[r.Function] = parts[r.Add]
			parts[r.Add]++
		}
	}
	slices.SortStableFunc(list, func(x, y layout.Reference) int { return cmp.Compare(turn[x.Function], turn[y.Function]) })
	type form struct {
		function string
		total    int
	}
	functions, forms := map[string]bool{}, map[form]bool{}
	var chosen []layout.Reference
	for _, r := range list {
		f := form{r.Function, r.Total}
		if forms[f] || !functions[r.Function] && len(functions) == perVariable {
			continue
		}
		functions[r.Function], forms[f] = true, true
		chosen = append(chosen, r)
	}
	return chosen
}

func rank(everywhere bool) int {
	if everywhere {
		return 0
	}
	return 1
}

// witnessOf finds the references to the wanted variables in the code of package runtime.
func witnessOf(f *elf.File, arch string) (*witness, error) {
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	variables := wantedVariables(symbols)
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		return nil, err
	}
	w := &witness{totals: map[string]int{}, refs: map[layout.Reference]bool{}}
	for name, fn := range functionsOf(symbols) {
		if fn.Value < text.Addr || fn.Value+fn.Size > text.Addr+text.Size {
			continue
		}
		refs, err := layout.DataRefs(arch, code[fn.Value-text.Addr:][:fn.Size], fn.Value)
		if err != nil {
			continue // such as assembly with tables in it: not a witness
		}
		w.totals[name] = len(refs)
		for i, addr := range refs {
			if v, ok := variableAt(variables, addr); ok {
				w.refs[layout.Reference{Variable: v.Name, Function: name, Nth: i, Total: len(refs), Add: addr - v.Value}] = true
			}
		}
	}
	if len(w.refs) == 0 {
		return nil, fmt.Errorf("no references to the runtime's variables in %d symbols", len(symbols))
	}
	return w, nil
}

// functionsOf gives the functions of package runtime by the name that the pclntab has: there the name of assembly lacks
// the suffix .abi0 that symbols have. A function that exists with and without it is two under one name, so left out, and so
// are instances of generic functions, whose name in the pclntab is that of all of them.
func functionsOf(symbols []elf.Symbol) map[string]elf.Symbol {
	found, twice := map[string]elf.Symbol{}, map[string]bool{}
	for _, s := range symbols {
		name := strings.TrimSuffix(s.Name, ".abi0")
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || !strings.HasPrefix(name, "runtime.") || strings.Contains(name, "[") {
			continue
		}
		if _, again := found[name]; again {
			twice[name] = true
		}
		found[name] = s
	}
	for name := range twice {
		delete(found, name)
	}
	return found
}

// wantedVariables lists the symbols of the variables by address.
func wantedVariables(symbols []elf.Symbol) []elf.Symbol {
	var list []elf.Symbol
	for _, s := range symbols {
		if slices.Contains(layout.GlobalNames(), s.Name) && s.Size > 0 {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(x, y elf.Symbol) int { return cmp.Compare(x.Value, y.Value) })
	return list
}

// variableAt finds the variable that an address is in.
func variableAt(variables []elf.Symbol, addr uint64) (elf.Symbol, bool) {
	i := sort.Search(len(variables), func(i int) bool { return variables[i].Value > addr }) - 1
	if i < 0 || addr-variables[i].Value >= variables[i].Size {
		return elf.Symbol{}, false
	}
	return variables[i], true
}
