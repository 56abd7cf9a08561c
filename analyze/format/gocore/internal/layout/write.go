package layout

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Reference says that the Nth (from 0) data reference of the code of Function, which has Total of them (see DataRefs), is
// the address of Variable plus Add.
type Reference struct {
	Variable, Function string
	Nth, Total         int
	Add                uint64
}

// Source is what a table is generated from.
type Source struct {
	Toolchain   string // "go1.26.8"
	Arch        string
	Programs    []TypeSource            // where types come from; the first that has one counts
	Base        []TypeSource            // the same for the architecture in whose table the common types stand; or nil
	BaseName    string                  // that table, "go1.26_amd64"
	Experiments map[string][]TypeSource // the same, built with a GOEXPERIMENT
	WaitReasons []string
	Statuses    map[uint32]string
	Constants   map[string]int64
	BaseOf      map[string]int64 // the constants of the base
	References  []Reference
	Others      []OtherPatch // oldest first; the last is the newest
}

// OtherPatch is another patch release of the same release.
type OtherPatch struct {
	Before      int // the patch release after this one, when that one changed layouts; else 0
	Toolchain   string
	Programs    []TypeSource
	WaitReasons []string
}

// TypeSource is a program with DWARF, and which types to take from it: by default those that a table holds. Types of
// package main are written as types of package runtime, whose declarations they were copied from.
type TypeSource struct {
	Program *elf.File
	Names   []string
}

// typesOf merges the types of several programs.
func typesOf(sources []TypeSource) (*types, error) {
	all := newTypes()
	for _, s := range sources {
		want := s.Names
		if want == nil {
			want = rootTypes
		}
		found, err := typesOfProgram(s.Program, want)
		if err != nil {
			return nil, err
		}
		if s.Names != nil {
			found = found.renamed("main.", "runtime.")
		}
		all = found.with(all)
	}
	return all, nil
}

// renamed gives the types under another package's name.
func (t *types) renamed(from, to string) *types {
	named := newTypes()
	for name, st := range t.structs {
		other := &structType{name: strings.Replace(name, from, to, 1), size: st.size}
		for _, f := range st.fields {
			f.shape = shape(strings.Replace(string(f.shape), from, to, 1))
			other.fields = append(other.fields, f)
		}
		named.structs[other.name] = other
	}
	for name, s := range t.aliases {
		named.aliases[strings.Replace(name, from, to, 1)] = shape(strings.Replace(string(s), from, to, 1))
	}
	return named
}

const tableHead = `# Layouts of the Go runtime's data on linux/%s: DWARF of probe programs, constants of the runtime's source, and code that
# refers to global variables. Generated, do not edit: go generate ./analyze/format/gocore/internal/layout
toolchain %s
arch %s
`

// WriteTable writes the text of a table, which For reads. The bytes depend on the source only.
func WriteTable(w io.Writer, s Source) error {
	own, err := typesOf(s.Programs)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, tableHead, s.Arch, s.Toolchain, s.Arch)
	if s.Base == nil {
		writeTypes(&b, newTypes(), own)
		writeFacts(&b, s)
	} else {
		base, err := typesOf(s.Base)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "base %s\n", s.BaseName)
		writeTypes(&b, base, own)
		writeDropped(&b, base, own)
		writeConstants(&b, s.Constants, s.BaseOf)
	}
	if len(s.Others) > 0 {
		fmt.Fprintf(&b, "compared %s\n", s.Others[len(s.Others)-1].Toolchain)
	}
	writeReferences(&b, s.References)
	if err := s.writePatches(&b, own); err != nil {
		return err
	}
	if err := writeExperiments(&b, own, s.Experiments); err != nil {
		return err
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// writeTypes writes the types of own that are not the same in base.
func writeTypes(b *strings.Builder, base, own *types) {
	for _, name := range slices.Sorted(maps.Keys(own.structs)) {
		if st := own.structs[name]; !st.equal(base.structs[name]) {
			st.write(b)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(own.aliases)) {
		if s := own.aliases[name]; base.aliases[name] != s {
			fmt.Fprintf(b, "alias %s %s\n", name, s)
		}
	}
}

func writeDropped(b *strings.Builder, base, own *types) {
	for _, name := range slices.Sorted(maps.Keys(base.structs)) {
		if own.structs[name] == nil {
			fmt.Fprintf(b, "drop %s\n", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(base.aliases)) {
		if own.aliases[name] == "" {
			fmt.Fprintf(b, "drop %s\n", name)
		}
	}
}

func (st *structType) equal(other *structType) bool {
	return other != nil && st.size == other.size && slices.Equal(st.fields, other.fields)
}

func (st *structType) write(b *strings.Builder) {
	fmt.Fprintf(b, "type %s %d\n", st.name, st.size)
	for _, f := range st.fields {
		mark := ""
		if f.embedded {
			mark = " +"
		}
		fmt.Fprintf(b, " %s %d %s%s\n", f.name, f.offset, f.shape, mark)
	}
}

func writeFacts(b *strings.Builder, s Source) {
	writeReasons(b, s.WaitReasons)
	for _, number := range slices.Sorted(maps.Keys(s.Statuses)) {
		fmt.Fprintf(b, "status %d %s\n", number, s.Statuses[number])
	}
	writeConstants(b, s.Constants, nil)
}

func writeReasons(b *strings.Builder, reasons []string) {
	for i, text := range reasons {
		fmt.Fprintf(b, "reason %d %s\n", i, text)
	}
}

// writeConstants writes the constants that are not the same in the base.
func writeConstants(b *strings.Builder, own, base map[string]int64) {
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if value, ok := base[name]; !ok || value != own[name] {
			fmt.Fprintf(b, "const %s %d\n", name, own[name])
		}
	}
}

// writePatches writes what was different in earlier patch releases. One that is not the last before a change must be as
// the next that is, and the newest must be as the table.
func (s *Source) writePatches(b *strings.Builder, own *types) error {
	following, reasons := own, s.WaitReasons
	var sections []string
	for _, other := range slices.Backward(s.Others) {
		was, err := typesOf(other.Programs)
		if err != nil {
			return fmt.Errorf("%s: %w", other.Toolchain, err)
		}
		if other.Before > 0 {
			sections = append(sections, other.section(s, own, was))
			following, reasons = was, other.WaitReasons
			continue
		}
		var changed strings.Builder
		if writeTypes(&changed, following, was); changed.Len() > 0 || !slices.Equal(reasons, other.WaitReasons) {
			return fmt.Errorf("%s has other types or wait reasons than the releases after it: find the patch release that changed them:\n%s", other.Toolchain, changed.String())
		}
	}
	for _, section := range slices.Backward(sections) {
		b.WriteString(section)
	}
	return nil
}

// section is the text of an earlier patch release.
func (o *OtherPatch) section(s *Source, own, was *types) string {
	var b strings.Builder
	fmt.Fprintf(&b, "before %d %s\n", o.Before, o.Toolchain)
	writeTypes(&b, own, was)
	writeDropped(&b, own, was)
	if !slices.Equal(o.WaitReasons, s.WaitReasons) {
		writeReasons(&b, o.WaitReasons)
	}
	return b.String()
}

func writeReferences(b *strings.Builder, refs []Reference) {
	sorted := slices.SortedFunc(slices.Values(refs), func(x, y Reference) int {
		return cmp.Or(cmp.Compare(x.Variable, y.Variable), cmp.Compare(x.Function, y.Function),
			cmp.Compare(x.Total, y.Total), cmp.Compare(x.Nth, y.Nth))
	})
	for _, r := range sorted {
		fmt.Fprintf(b, "ref %s %s %d/%d %d\n", r.Variable, r.Function, r.Nth, r.Total, r.Add)
	}
}

func writeExperiments(b *strings.Builder, own *types, programs map[string][]TypeSource) error {
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		changed, err := typesOf(programs[name])
		if err != nil {
			return fmt.Errorf("experiment %s: %w", name, err)
		}
		if err := own.accountsFor(changed); err != nil {
			return fmt.Errorf("experiment %s: %w", name, err)
		}
		fmt.Fprintf(b, "experiment %s\n", name)
		writeTypes(b, own, changed)
	}
	return nil
}

// accountsFor checks that no struct which the program of an experiment leaves out holds one whose size the experiment
// changes: its own layout would then be another, and not known.
func (t *types) accountsFor(changed *types) error {
	for _, name := range slices.Sorted(maps.Keys(t.structs)) {
		if changed.structs[name] != nil {
			continue
		}
		for _, f := range t.structs[name].fields {
			before, _ := t.size(f.shape)
			if after, ok := t.with(changed).size(f.shape); ok && after != before {
				return fmt.Errorf("field %s of %s has %d bytes and not %d, but the probe program has no %s", f.name, name, after, before, name)
			}
		}
	}
	return nil
}
