package layout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// sample is a table with a line of every kind.
const sample = `# a comment
toolchain go1.99.0
arch amd64
type a.inner 16
 x 0 8
 y 8 *a.outer
type a.outer 64
 inner 0 a.inner +
 list 16 []a.inner
 name 40 string
 pair 56 [2]4
alias a.many [3]a.outer
reason 0 
reason 1 chan receive (nil chan)
status 0 idle
status 4 waiting for cgo callback
const a.limit -7
ref a.v a.f 1/3 8
experiment new
type a.inner 24
 x 8 8
`

func parsed(t *testing.T, text string) *table {
	t.Helper()
	table, err := parseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestParseTable(t *testing.T) {
	table := parsed(t, sample)
	l := &Layout{Origin: OriginTable, types: table.types, table: table}
	for path, want := range map[string]uint64{"a.outer.x": 0, "a.outer.inner.y": 8, "a.outer.list.len": 24, "a.outer.list.cap": 32,
		"a.outer.name.str": 40, "a.outer.pair[1]": 60, "a.many[2].pair[1]": 188} {
		if got, ok := l.Offset(path); !ok || got != want {
			t.Errorf("%s at %d, %v; want %d", path, got, ok, want)
		}
	}
	if got := l.WaitReasons(); !slices.Equal(got, []string{"", "chan receive (nil chan)"}) {
		t.Errorf("wait reasons %q", got)
	}
	if got := l.StatusName(4); got != "waiting for cgo callback" {
		t.Errorf("status 4 is %q", got)
	}
	if n, _ := l.Const("a.limit"); n != -7 {
		t.Errorf("constant %d", n)
	}
	if want := (ref{"a.v", "a.f", 1, 3, 8}); len(table.refs) != 1 || table.refs[0] != want {
		t.Errorf("references %v, want %v", table.refs, want)
	}
	if got, _ := table.typesFor(Version{Experiments: []string{"new", "unknown"}}).size("a.inner"); got != 24 {
		t.Errorf("under the experiment a.inner has %d bytes", got)
	}
	if !table.knowsExperiment("new") || table.knowsExperiment("unknown") {
		t.Error("experiments are confused")
	}
}

func TestParseTableRefuses(t *testing.T) {
	for _, line := range []string{"nonsense", "type a", "type a -1", "type a 99999999999", " x 0 8", "type a 8\n x", "type a 8\n x 0", "type a 8\n x -1 8",
		"type a 8\n x 0 8 -", "reason 1 late", "reason x", "status x idle", "status 1", "const a", "const a 1.5", "ref a b 3/3 0",
		"ref a b -1/3 0", "ref a b 1 0", "ref a b 0/1 -8", "ref a b[x y] 0/1 0", "alias a", "toolchain", "experiment"} {
		_, err := parseTable("# head\n" + line + "\n")
		if err == nil {
			t.Errorf("the line %q is not refused", line)
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("the error of %q names no line: %v", line, err)
		}
	}
}

func TestConflict(t *testing.T) {
	table := parsed(t, "type a 8\nbefore 3 go1.99.2\ntype b 4\nexperiment x\ntype a 16\nexperiment y\ntype a 24\nexperiment z\ntype b 8\n")
	tests := []struct {
		v    Version
		want string
	}{
		{Version{Patch: 3, Experiments: []string{"x", "z", "none"}}, ""},
		{Version{Patch: 3, Experiments: []string{"x", "y"}}, "a"},
		{Version{Patch: 2, Experiments: []string{"z"}}, "b"},
		{Version{Patch: 2, Experiments: []string{"x"}}, ""},
	}
	for _, test := range tests {
		if got := table.conflict(test.v); got != test.want {
			t.Errorf("%+v: both change %q, want %q", test.v, got, test.want)
		}
	}
}

func TestEarlierPatches(t *testing.T) {
	table := parsed(t, `toolchain go1.99.7
type a 30
type new 8
reason 0 x
reason 1 y
compared go1.99.9
before 3 go1.99.2
type a 10
drop new
reason 0 x
before 5 go1.99.4
type a 20
experiment e
type a 40
`)
	for patch, want := range map[int]struct {
		size    uint64
		isNew   bool
		reasons int
		beyond  bool
	}{0: {10, false, 1, false}, 2: {10, false, 1, false}, 3: {20, true, 2, false}, 4: {20, true, 2, false}, 5: {30, true, 2, false}, 9: {30, true, 2, false}, 10: {30, true, 2, true}} {
		v := Version{Major: 1, Minor: 99, Patch: patch}
		types := table.typesFor(v)
		size, _ := types.size("a")
		if size != want.size || (types.structs["new"] != nil) != want.isNew || len(table.waitReasonsFor(v)) != want.reasons || table.beyond(v) != want.beyond {
			t.Errorf("patch release %d: a has %d bytes, new %v, %d wait reasons, beyond %v; want %+v",
				patch, size, types.structs["new"] != nil, len(table.waitReasonsFor(v)), table.beyond(v), want)
		}
	}
	if table.types.structs["new"] == nil {
		t.Error("an earlier patch release changed the table itself")
	}
	for _, bad := range []string{"before x go1.99.1", "before 0 go1.99.1", "before 1"} {
		if _, err := parseTable(bad); err == nil {
			t.Errorf("%q is not refused", bad)
		}
	}
}

// TestMovedInPatches pins what was found in executables of patch releases: runtime.m of Go 1.24 got a slice of 24 bytes in
// 1.24.6 (and of 1.23 in 1.23.12), so that what stands behind it moved.
func TestMovedInPatches(t *testing.T) {
	for _, test := range []struct{ before, after string }{{"go1.24.5", "go1.24.6"}, {"go1.24rc1", "go1.24.13"}, {"go1.23.11", "go1.23.12"}} {
		for _, arch := range Arches() {
			old, err := For(test.before, arch)
			if err != nil {
				t.Fatal(err)
			}
			now, err := For(test.after, arch)
			if err != nil {
				t.Fatal(err)
			}
			for field, moved := range map[string]uint64{"traceback": 0, "ncgocall": 24, "alllink": 24, "lockedg": 24} {
				a, _ := old.Offset("runtime.m." + field)
				b, ok := now.Offset("runtime.m." + field)
				if !ok || b-a != moved {
					t.Errorf("%s: m.%s at %d in %s, at %d in %s; want %d apart", arch, field, a, test.before, b, test.after, moved)
				}
			}
		}
	}
	old, _ := For("go1.23.3", "amd64")
	now, _ := For("go1.23.4", "amd64")
	if a, b := len(old.WaitReasons()), len(now.WaitReasons()); a+1 != b {
		t.Errorf("%d wait reasons in Go 1.23.3, %d in 1.23.4", a, b)
	}
}

// TestHostileTypes gives tables whose types contain themselves or overflow: lookups end.
func TestHostileTypes(t *testing.T) {
	table := parsed(t, `type a 8
 a 0 a +
 b 0 b +
type b 8
 a 0 a +
alias c c
alias d [2147483647]d
alias e [2147483647][2147483647][2147483647]8
alias f [
alias g [x]8
`)
	l := &Layout{Origin: OriginTable, types: table.types, table: table}
	for _, path := range []string{"a.nosuch", "b.a.b.a.nosuch", "c", "d", "d[1]", "e[5]", "f", "f[0]", "g", "g[0]", "c.x"} {
		l.Offset(path)
		l.Size(path)
		l.Array(path)
		l.Elem(path)
	}
	if _, ok := l.Size("d"); ok {
		t.Error("an endless type has a size")
	}
}

// TestArm64Inherits checks that what the table of arm64 leaves out is that of amd64, and that what it says wins.
func TestArm64Inherits(t *testing.T) {
	for _, release := range Known("") {
		amd, err := For("go"+release, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		arm, err := For("go"+release, "arm64")
		if err != nil {
			t.Fatal(err)
		}
		a, _ := amd.Size("runtime.g")
		b, _ := arm.Size("runtime.g")
		c, _ := amd.Size("runtime.ucontext")
		d, _ := arm.Size("runtime.ucontext")
		if a != b || c == d {
			t.Errorf("Go %s: runtime.g has %d and %d bytes, ucontext %d and %d", release, a, b, c, d)
		}
		base, _ := amd.Const("runtime.arenaBaseOffsetUintptr")
		if own, ok := arm.Const("runtime.arenaBaseOffsetUintptr"); !ok || own == base {
			t.Errorf("Go %s: heap arenas start at %#x on arm64 and %#x on amd64", release, own, base)
		}
		if _, ok := arm.Size("runtime.mcontext"); ok {
			t.Errorf("Go %s: arm64 has a type of amd64", release)
		}
		if len(arm.WaitReasons()) != len(amd.WaitReasons()) || len(arm.table.constants) < 100 {
			t.Errorf("Go %s: arm64 lacks facts", release)
		}
	}
}

// TestTablesAreSound checks each struct of each table: fields within its size, in order, of known types.
func TestTablesAreSound(t *testing.T) {
	eachTable(t, func(t *testing.T, l *Layout) {
		sets := map[string]*types{"": l.types}
		for x := range l.table.experiments {
			sets[x] = l.table.typesFor(Version{Patch: maxNumber, Experiments: []string{x}})
		}
		for _, x := range slices.Sorted(maps.Keys(sets)) {
			for _, name := range slices.Sorted(maps.Keys(sets[x].structs)) {
				if err := sound(sets[x], sets[x].structs[name]); err != nil {
					t.Errorf("%s %s: %v", x, name, err)
				}
			}
		}
	})
}

func sound(all *types, st *structType) error {
	end := uint64(0)
	for _, f := range st.fields {
		size, ok := all.size(f.shape)
		if !ok {
			return fmt.Errorf("the type %s of field %s is not known", f.shape, f.name)
		}
		if f.offset < end {
			return fmt.Errorf("field %s at %d overlaps the one before, which ends at %d", f.name, f.offset, end)
		}
		end = f.offset + size
	}
	if end > st.size {
		return fmt.Errorf("fields end at %d, beyond its %d bytes", end, st.size)
	}
	return nil
}

func FuzzParseTable(f *testing.F) {
	f.Add(sample)
	f.Add("type a 8\n a 0 a +\n")
	f.Add("base go1.26_amd64\ndrop x\n")
	f.Add("alias d [2]d\nexperiment x\nexperiment x\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseTable(text)
		if err != nil {
			return
		}
		var b strings.Builder
		writeTypes(&b, newTypes(), table.types)
		again, err := parseTable(b.String())
		if err != nil {
			t.Fatalf("what was parsed is written as %q: %v", b.String(), err)
		}
		var c strings.Builder
		writeTypes(&c, newTypes(), again.types)
		if b.String() != c.String() {
			t.Errorf("written as %q, then as %q", b.String(), c.String())
		}
		l := &Layout{Origin: OriginTable, types: table.types, table: table}
		for _, name := range l.Types() {
			l.Size(name)
			l.Offset(name + ".x")
			l.Offset(name + "[1]")
		}
	})
}
