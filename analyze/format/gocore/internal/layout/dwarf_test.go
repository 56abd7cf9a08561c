package layout

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestDWARFEqualsTable compares executables of every toolchain of the tables that is on the machine with its tables.
func TestDWARFEqualsTable(t *testing.T) {
	for _, toolchain := range toolchains(t) {
		for _, arch := range Arches() {
			t.Run(toolchain+"_"+arch, func(t *testing.T) {
				f := build(t, toolchain, probe, []string{"GOARCH=" + arch})
				sameAsTable(t, f, toolchain, arch)
			})
		}
	}
}

// sameAsTable requires that all types in an executable's DWARF are those of the table.
func sameAsTable(t *testing.T, f *elf.File, version, arch string) {
	t.Helper()
	got, err := FromELF(f, version)
	if err != nil {
		t.Fatal(err)
	}
	want, err := For(version, arch)
	if err != nil {
		t.Fatal(err)
	}
	if got.Origin != OriginDWARF || got.Arch != arch || len(got.Doubts()) > 0 {
		t.Errorf("origin %s, architecture %s, doubts %q", got.Origin, got.Arch, got.Doubts())
	}
	if len(got.types.structs) < 150 {
		t.Errorf("only %d structs in DWARF", len(got.types.structs))
	}
	for _, name := range slices.Sorted(maps.Keys(got.types.structs)) {
		if a, b := got.types.structs[name], want.types.structs[name]; !a.equal(b) {
			t.Errorf("%s: DWARF has %+v, the table %+v", name, a, b)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got.types.aliases)) {
		if a, b := got.types.aliases[name], want.types.aliases[name]; a != b {
			t.Errorf("%s: DWARF has %s, the table %s", name, a, b)
		}
	}
}

// TestExperiments compares executables built under a GOEXPERIMENT setting with what the table says of it. The test is of
// Go 1.26, whose settings change the runtime's data.
func TestExperiments(t *testing.T) {
	if local(t) != "1.26" {
		t.Skipf("the toolchain is %s", local(t))
	}
	for _, arch := range Arches() {
		ordinary, err := For(runtime.Version(), arch)
		if err != nil {
			t.Fatal(err)
		}
		for x, changes := range map[string]string{"nogreenteagc": "runtime.p", "goroutineleakprofile": "", "runtimesecret": ""} {
			t.Run(x+"_"+arch, func(t *testing.T) {
				version := runtime.Version() + " X:" + x
				sameAsTable(t, build(t, "local", probe, []string{"GOARCH=" + arch, "GOEXPERIMENT=" + x}), version, arch)
				l, err := For(version, arch)
				if err != nil {
					t.Fatal(err)
				}
				a, _ := ordinary.Size(changes)
				if b, _ := l.Size(changes); changes != "" && a == b {
					t.Errorf("%s has %d bytes with and without %s", changes, a, x)
				}
			})
		}
	}
}

// TestDWARFFallsBack asks for a type that the program does not use.
func TestDWARFFallsBack(t *testing.T) {
	f := build(t, "local", "package main\n\nfunc main() { println() }\n", []string{"GOARCH=amd64"})
	l, err := FromELF(f, runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	if l.types.structs["internal/poll.FD"] != nil {
		t.Fatal("the probe has internal/poll.FD: choose another type")
	}
	if size, ok := l.Size("internal/poll.FD"); !ok || size == 0 {
		t.Error("a type that DWARF leaves out does not come from the table")
	}
	if _, ok := l.Offset("runtime.g.nosuch"); ok {
		t.Error("a field that DWARF does not have was found")
	}
	if len(l.WaitReasons()) == 0 {
		t.Error("no wait reasons")
	}
}

// TestDWARFOfUnknownVersion reads a program as if it were of a release without tables.
func TestDWARFOfUnknownVersion(t *testing.T) {
	f := build(t, "local", probe, []string{"GOARCH=arm64"})
	l, err := FromELF(f, "go1.99.1")
	if err != nil {
		t.Fatal(err)
	}
	if size, _ := l.Size("runtime.g"); size == 0 {
		t.Error("no runtime.g")
	}
	if l.WaitReasons() != nil || l.StatusName(4) != "" {
		t.Error("facts of a release that is not known")
	}
	if _, ok := l.Const("runtime._Gwaiting"); ok {
		t.Error("constants of a release that is not known")
	}
	if _, ok := l.Size("runtime.nosuch"); ok {
		t.Error("a type that does not exist has a size")
	}
	var unknown *UnknownVersionError
	if _, err := FromELF(f, "unreadable"); !errors.As(err, &unknown) {
		t.Errorf("FromELF with an unreadable version: %v", err)
	}
}

func TestNoDWARF(t *testing.T) {
	for _, flags := range []string{"-ldflags=-w", "-ldflags=-s -w"} {
		f := build(t, "local", probe, []string{"GOARCH=amd64"}, flags)
		if l, err := FromELF(f, runtime.Version()); !errors.Is(err, ErrNoDWARF) {
			t.Errorf("%s: %v, %v; want ErrNoDWARF", flags, l, err)
		}
	}
}

// TestDWARFForms reads the encodings that linkers and other tools make.
func TestDWARFForms(t *testing.T) {
	version := runtime.Version()
	t.Run("pie", func(t *testing.T) {
		sameAsTable(t, build(t, "local", probe, []string{"GOARCH=amd64"}, "-buildmode=pie"), version, "amd64")
	})
	t.Run("not compressed", func(t *testing.T) {
		sameAsTable(t, build(t, "local", probe, []string{"GOARCH=amd64"}, "-ldflags=-compressdwarf=false"), version, "amd64")
	})
	t.Run("DWARF 4", func(t *testing.T) {
		sameAsTable(t, build(t, "local", probe, []string{"GOARCH=amd64", "GOEXPERIMENT=nodwarf5"}), version, "amd64")
	})
	for _, form := range []string{"zlib", "zlib-gnu", "zstd"} {
		t.Run(form, func(t *testing.T) {
			_, path := buildFile(t, "local", probe, []string{"GOARCH=amd64"}, "-ldflags=-compressdwarf=false")
			packed := filepath.Join(t.TempDir(), "packed")
			if out, err := exec.Command("objcopy", "--compress-debug-sections="+form, path, packed).CombinedOutput(); err != nil {
				t.Skipf("objcopy cannot compress as %s: %v %s", form, err, out)
			}
			f, err := elf.Open(packed)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if form == "zlib-gnu" && f.Section(".zdebug_info") == nil {
				t.Error("objcopy made no .zdebug_info: the older form is not tested")
			}
			sameAsTable(t, f, version, "amd64")
		})
	}
	t.Run("cgo", func(t *testing.T) {
		if _, err := exec.LookPath("gcc"); err != nil {
			lacking(t, "gcc", err)
		}
		sameAsTable(t, build(t, "local", withC(probe), []string{"GOARCH=amd64", "CGO_ENABLED=1"}), version, "amd64")
	})
}

// withC makes a program that needs cgo.
func withC(source string) string {
	return strings.Replace(source, "import (", "// int one(void) { return 1; }\nimport \"C\"\n\nimport (", 1) + "\nvar one = C.one()\n"
}

// TestDWARFAgainstStandardLibrary compares every struct with what debug/dwarf makes of it.
func TestDWARFAgainstStandardLibrary(t *testing.T) {
	f := build(t, "local", probe, []string{"GOARCH=amd64"})
	l, err := FromELF(f, runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	data, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		own := l.types.structs[name]
		if e.Tag != dwarf.TagStructType || own == nil {
			continue
		}
		typ, err := data.Type(e.Offset)
		if err != nil {
			t.Fatal(err)
		}
		compareStruct(t, own, typ.(*dwarf.StructType), l)
		checked++
	}
	if checked < 100 {
		t.Errorf("only %d structs were compared", checked)
	}
}

func compareStruct(t *testing.T, own *structType, std *dwarf.StructType, l *Layout) {
	t.Helper()
	if own.size != uint64(std.ByteSize) || len(own.fields) != len(std.Field) {
		t.Errorf("%s: %d bytes and %d fields, want %d and %d", own.name, own.size, len(own.fields), std.ByteSize, len(std.Field))
		return
	}
	for i, field := range own.fields {
		want := std.Field[i]
		size, ok := l.types.size(field.shape)
		if field.name != want.Name || field.offset != uint64(want.ByteOffset) || !ok || size != uint64(max(0, want.Type.Size())) {
			t.Errorf("%s: field %+v of %d bytes, want %s at %d of %d", own.name, field, size, want.Name, want.ByteOffset, want.Type.Size())
		}
	}
}

// makeELF makes the smallest ELF file with the given debugging sections.
func makeELF(t testing.TB, abbrev, info []byte) *elf.File {
	t.Helper()
	const head, entry = 64, 64
	names := "\x00.debug_abbrev\x00.debug_info\x00.shstrtab\x00"
	body := slices.Concat(abbrev, info, []byte(names))
	file := make([]byte, head, head+len(body)+4*entry)
	copy(file, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(file[16:], uint16(elf.ET_EXEC))
	le.PutUint16(file[18:], uint16(elf.EM_X86_64))
	le.PutUint32(file[20:], 1)
	le.PutUint64(file[40:], uint64(head+len(body)))
	le.PutUint16(file[52:], head)
	le.PutUint16(file[58:], entry)
	le.PutUint16(file[60:], 4)
	le.PutUint16(file[62:], 3)
	file = append(file, body...)
	section := func(name, kind, at, size int) {
		s := make([]byte, entry)
		le.PutUint32(s, uint32(name))
		le.PutUint32(s[4:], uint32(kind))
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		file = append(file, s...)
	}
	section(0, 0, 0, 0)
	section(1, int(elf.SHT_PROGBITS), head, len(abbrev))
	section(15, int(elf.SHT_PROGBITS), head+len(abbrev), len(info))
	section(27, int(elf.SHT_STRTAB), head+len(abbrev)+len(info), len(names))
	f, err := elf.NewFile(strings.NewReader(string(file)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// smallDWARF is a unit "runtime" with the struct runtime.g: a member next (a pointer to itself) and an array.
func smallDWARF() (abbrev, info []byte) {
	abbrev = []byte{
		1, tagUnit, 1, attrName, formString, 0, 0,
		2, tagStruct, 1, attrName, formString, attrByteSize, formUdata, 0, 0,
		3, tagMember, 0, attrName, formString, attrMember, formUdata, attrType, formRefAddr, 0, 0,
		4, tagPointer, 0, attrType, formRefAddr, 0, 0,
		5, tagArray, 1, attrType, formRef4, 0, 0,
		6, tagSubrange, 0, attrCount, formUdata, 0, 0,
		7, tagBase, 0, attrByteSize, formData1, 0, 0,
		0,
	}
	body := []byte{4, 0, 0, 0, 0, 0, 8} // version, offset of the declarations, size of an address
	at := func() byte { return byte(4 + len(body)) }
	body = append(body, 1)
	body = append(body, "runtime\x00"...)
	base := at()
	body = append(body, 7, 4)
	array := at()
	body = append(body, 5, base, 0, 0, 0, 6, 3, 0)
	g := at()
	pointer := g + 40
	body = append(body, 2)
	body = append(body, "runtime.g\x00\x18"...)
	body = append(body, 3)
	body = append(body, "next\x00\x00"...)
	body = append(body, pointer, 0, 0, 0, 3)
	body = append(body, "list\x00\x08"...)
	body = append(body, array, 0, 0, 0, 0)
	for at() < pointer {
		body = append(body, 0)
	}
	body = append(body, 4, g, 0, 0, 0, 0)
	info = binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	return abbrev, append(info, body...)
}

func TestSmallDWARF(t *testing.T) {
	abbrev, info := smallDWARF()
	l, err := FromELF(makeELF(t, abbrev, info), "go1.99")
	if err != nil {
		t.Fatal(err)
	}
	size, _ := l.Size("runtime.g.list")
	at, _ := l.Offset("runtime.g.list[2]")
	if size != 12 || at != 16 || l.Elem("runtime.g.next") != "runtime.g" {
		t.Errorf("list of %d bytes, its third element at %d, next points to %q", size, at, l.Elem("runtime.g.next"))
	}
}

// FuzzDWARF reads damaged sections: no panic, no endless loop.
func FuzzDWARF(f *testing.F) {
	abbrev, info := smallDWARF()
	f.Add(abbrev, info)
	f.Add(abbrev[:20], info)
	f.Add(abbrev, info[:30])
	f.Fuzz(func(t *testing.T, abbrev, info []byte) {
		l, err := FromELF(makeELF(t, abbrev, info), "go1.99")
		if err != nil {
			return
		}
		for _, name := range l.Types() {
			l.Size(name)
			l.Array(name)
		}
	})
}

func BenchmarkFromELF(b *testing.B) {
	for name, source := range map[string]string{"fmt": probe, "nethttp": network} {
		f := build(b, "local", source, []string{"GOARCH=amd64"})
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := FromELF(f, "go1.26"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFor(b *testing.B) {
	for b.Loop() {
		tableCache.Clear()
		if _, err := For("go1.26.8", "arm64"); err != nil {
			b.Fatal(err)
		}
	}
}
