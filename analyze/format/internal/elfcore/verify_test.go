package elfcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Layout of testImage: a page of headers and notes, a page of code, a page of constants, a page of data.
const (
	imgText = 0x1000
	imgRO   = 0x2000
	imgData = 0x3000
	imgSize = 0x4000
	imgBase = 0x400000
)

// testImage builds an executable at imgBase; id is its GNU build-id, 0 for none.
func testImage(id byte16) []byte {
	b := newBuilder()
	b.typ = elf.ET_EXEC
	if id != 0 {
		b.note("GNU", ntGNUBuildID, []byte{byte(id >> 8), byte(id), 3, 4})
	}
	out := b.header(ehdrSize, 4)
	le.PutUint64(out[ehdrEntry:], imgBase+imgText)
	noteAt := uint64(ehdrSize + 4*phdrSize)
	out = appendPhdr(out, phdr{typ: elf.PT_NOTE, off: noteAt, vaddr: imgBase + noteAt, filesz: uint64(len(b.notes)), memsz: uint64(len(b.notes))})
	out = appendPhdr(out, phdr{typ: elf.PT_LOAD, flags: elf.PF_R | elf.PF_X, off: 0, vaddr: imgBase, filesz: imgRO, memsz: imgRO})
	out = appendPhdr(out, phdr{typ: elf.PT_LOAD, flags: elf.PF_R, off: imgRO, vaddr: imgBase + imgRO, filesz: 0x1000, memsz: 0x1000})
	out = appendPhdr(out, phdr{typ: elf.PT_LOAD, flags: elf.PF_R | elf.PF_W, off: imgData, vaddr: imgBase + imgData, filesz: 0x1000, memsz: 0x2000})
	out = append(out, b.notes...)
	out = append(out, make([]byte, imgText-len(out))...)
	out = append(out, bytes.Repeat([]byte("code"), 1024)...)
	out = append(out, bytes.Repeat([]byte("read"), 1024)...)
	return append(out, bytes.Repeat([]byte("data"), 1024)...)
}

type byte16 uint16

// coreOf builds a kernel core of a process that mapped exe: the first page and the data are dumped.
func coreOf(exe []byte, base uint64) *coreBuilder {
	return newBuilder().
		note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, 1, 11, 0)).
		note("CORE", ntSiginfo, siginfo(11, 1, 0)).
		note("CORE", ntAuxv, auxv(atPagesz, 4096, atEntry, base+imgText, atPhnum, 4)).
		note("CORE", ntFile, ntFileNote(4096,
			FileMapping{Start: base, End: base + imgRO, FileOffset: 0, Path: "/srv/app"},
			FileMapping{Start: base + imgRO, End: base + imgData, FileOffset: imgRO, Path: "/srv/app"},
			FileMapping{Start: base + imgData, End: base + imgSize, FileOffset: imgData, Path: "/srv/app"})).
		load(base, elf.PF_R|elf.PF_X, imgRO, exe[:0x1000]).
		load(base+imgRO, elf.PF_R, 0x1000, nil).
		load(base+imgData, elf.PF_R|elf.PF_W, 0x2000, bytes.Repeat([]byte("DATA"), 512))
}

func image(t testing.TB, data []byte) *Image {
	t.Helper()
	img, err := OpenImage(write(t, "app", data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = img.Close() })
	return img
}

func program(t testing.TB, c *Core) Module {
	t.Helper()
	m, ok := c.Executable()
	if !ok {
		t.Fatal("the core names no program")
	}
	return m
}

func TestVerifyById(t *testing.T) {
	exe := testImage(0x0102)
	c, _ := open(t, coreOf(exe, imgBase).bytes())
	img := image(t, exe)
	v, err := img.VerifyAgainst(c, program(t, c))
	if err != nil || v.Method != ByGNUBuildID || v.Bias != 0 || v.PagesCompared != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	added, err := c.Mem.AddImage(img, v)
	if err != nil || added != 0x2000 {
		t.Fatalf("added %#x, want the pages of code and constants: %v", added, err)
	}
	checkMemory(t, c.Mem)
	if b, _ := c.Mem.Bytes(imgBase+imgText, 8); string(b) != "codecode" {
		t.Errorf("code: %q", b)
	}
	if src, _ := c.Mem.Source(imgBase + imgRO); src.Kind != FromFile || src.Path != img.Path || src.Offset != imgRO {
		t.Errorf("source of constants: %+v", src)
	}
	if b, _ := c.Mem.Bytes(imgBase+imgData, 4); string(b) != "DATA" {
		t.Errorf("the core's data must win: %q", b)
	}
	if _, ok := c.Mem.Bytes(imgBase+imgData+0x800, 4); ok {
		t.Error("writable memory that is not in the core is answered from the file")
	}
	if b, ok := c.Mem.Bytes(imgBase+0xff8, 16); !ok || string(b[8:]) != "codecode" {
		t.Errorf("across core and file: %q %v", b, ok)
	}
}

func TestVerifyPIE(t *testing.T) {
	const base = 0x5555_0000_0000
	exe := testImage(0x0102)
	le.PutUint16(exe[ehdrType:], uint16(elf.ET_DYN))
	c, _ := open(t, coreOf(exe, base).bytes())
	v, err := image(t, exe).VerifyAgainst(c, program(t, c))
	if err != nil || v.Bias != base-imgBase || v.Method != ByGNUBuildID {
		t.Fatalf("%+v %v", v, err)
	}
}

// TestWrongFile lists files that were not the ones mapped; each must be refused with both sides named.
func TestWrongFile(t *testing.T) {
	exe := testImage(0x0102)
	edit := func(base []byte, at int, v byte) []byte {
		b := bytes.Clone(base)
		b[at] ^= v
		return b
	}
	arm := bytes.Clone(exe)
	le.PutUint16(arm[ehdrMachine:], uint16(elf.EM_AARCH64))
	noID := testImage(0)
	fullNoID := coreOf(noID, imgBase)
	fullNoID.loads[1].data = noID[imgRO:imgData]
	for _, tc := range []struct {
		name string
		core *coreBuilder
		file []byte
		says string
	}{
		{"another build", coreOf(exe, imgBase), testImage(0x0999), "the core has build-id 01020304, the file has build-id 09990304"},
		{"no id", coreOf(exe, imgBase), noID, "the core has build-id 01020304, the file has no build id"},
		{"another machine", coreOf(exe, imgBase), arm, "the core has EM_X86_64, the file has EM_AARCH64"},
		{"another entry point", coreOf(exe, imgBase), edit(exe, ehdrEntry, 0x10), "entry point 0x401000, the file has entry point 0x401010"},
		{"without ids, another header", coreOf(noID, imgBase), edit(noID, ehdrShoff, 1), "other bytes at 0x400028"},
		{"without ids, another constant", fullNoID, edit(noID, imgRO+5, 1), "other bytes at 0x402005"},
		{"same id, other contents", withPages(exe), swapHalf(exe), "read-only pages differ"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _ := open(t, tc.core.bytes())
			path := write(t, "app", tc.file)
			_, _, err := c.Load(program(t, c), FindOptions{Exe: path})
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), tc.says) || mismatch.Path != path {
				t.Fatalf("error %v, want a mismatch that says %q", err, tc.says)
			}
			if _, ok := c.Mem.Bytes(imgBase+imgText, 4); ok && tc.core.loads[0].memsz > uint64(len(tc.core.loads[0].data)) {
				t.Error("bytes of a refused file are in memory")
			}
		})
	}
}

// withPages is a core that holds every page of exe.
func withPages(exe []byte) *coreBuilder {
	b := coreOf(exe, imgBase)
	b.loads[0].data = exe[:imgRO]
	b.loads[1].data = exe[imgRO:imgData]
	return b
}

// swapHalf changes code and constants, not the headers.
func swapHalf(exe []byte) []byte {
	b := bytes.Clone(exe)
	copy(b[imgText+8:], "other code")
	copy(b[imgRO+8:], "other data")
	return b
}

func TestVerifyWithoutIds(t *testing.T) {
	exe := testImage(0)
	for _, tc := range []struct {
		name string
		core *coreBuilder
		want Method
	}{
		{"first page only", coreOf(exe, imgBase), ByHeaders},
		{"all pages", withPages(exe), ByPages},
	} {
		c, _ := open(t, tc.core.bytes())
		v, err := image(t, exe).VerifyAgainst(c, program(t, c))
		if err != nil || v.Method != tc.want {
			t.Errorf("%s: %+v %v, want %v", tc.name, v, err, tc.want)
		}
	}
}

func TestBreakpointsAreForgiven(t *testing.T) {
	exe := testImage(0)
	b := withPages(exe)
	b.loads[0].data = bytes.Clone(b.loads[0].data)
	b.loads[0].data[imgText+100] = 0xCC
	c, _ := open(t, b.bytes())
	v, err := image(t, exe).VerifyAgainst(c, program(t, c))
	if err != nil || v.Method != ByPages || v.PagesDiffer != 0 {
		t.Errorf("%+v %v", v, err)
	}
	brk := le.AppendUint32(nil, 0xd4200000)
	if at, n := difference(elf.EM_AARCH64, brk, []byte{1, 2, 3, 4}); at != 0 || n == 0 {
		t.Errorf("brk #0: %d %d", at, n)
	}
	if _, n := difference(elf.EM_AARCH64, []byte{9, 9, 9, 9}, []byte{1, 2, 3, 4}); n != 0 {
		t.Error("any difference passes for a breakpoint")
	}
}

func TestNothingToCompare(t *testing.T) {
	exe := testImage(0x0102)
	b := coreOf(exe, imgBase)
	b.loads[0].data, b.loads[2].data = nil, nil
	c, _ := open(t, b.bytes())
	v, err := image(t, exe).VerifyAgainst(c, program(t, c))
	if err != nil || v.Method != Unverified {
		t.Fatalf("%+v %v", v, err)
	}
	if _, err := c.Mem.AddImage(image(t, exe), v); err == nil {
		t.Error("an unverified image is laid into memory")
	}
	if _, _, err := c.Load(program(t, c), FindOptions{Exe: write(t, "app", exe)}); !errors.Is(err, ErrUnverified) {
		t.Errorf("load: %v", err)
	}
}

func TestVerifyData(t *testing.T) {
	exe := testImage(0)
	data := func(changed int) *coreBuilder {
		b := coreOf(exe, imgBase)
		b.loads[0].data = nil
		b.loads[2].data = bytes.Clone(exe[imgData:])
		for i := range changed {
			b.loads[2].data[8*i] ^= 0xff
		}
		return b
	}
	for _, tc := range []struct {
		changed int
		want    Method
		refused bool
	}{{10, ByData, false}, {100, Unverified, false}, {400, Unverified, true}} {
		c, _ := open(t, data(tc.changed).bytes())
		v, err := image(t, exe).VerifyAgainst(c, program(t, c))
		if v.Method != tc.want || (err != nil) != tc.refused {
			t.Errorf("%d of 512 words changed: %v %v", tc.changed, v.Method, err)
		}
	}
}

func TestFindFiles(t *testing.T) {
	exe := testImage(0x0102)
	dir := t.TempDir()
	put := func(parts ...string) string {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, exe, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sysroot, beside, byID := put("root/srv/app"), put("app"), put("debug/.build-id/01/020304")
	core := filepath.Join(dir, "core.1")
	if err := os.WriteFile(core, coreOf(exe, imgBase).bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := Open(core, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	opts := FindOptions{Sysroot: filepath.Join(dir, "root"), DebugDirs: []string{filepath.Join(dir, "debug")}, BesideCore: true}
	var got []string
	for _, cand := range FindFiles(c, program(t, c), opts) {
		got = append(got, cand.Why+" "+cand.Path)
	}
	want := []string{"sysroot " + sysroot, "beside the core " + beside, "build-id " + byID}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := FindFiles(c, program(t, c), FindOptions{Exe: "/x", Sysroot: dir}); len(got) != 1 || got[0].Path != "/x" {
		t.Errorf("--exe: %v", got)
	}
	if _, _, err := c.Load(program(t, c), FindOptions{}); !errors.Is(err, ErrNoFile) {
		t.Errorf("no file: %v", err)
	}
}

func TestDeletedFile(t *testing.T) {
	c, _ := open(t, newBuilder().note("CORE", ntFile, ntFileNote(4096, FileMapping{Start: 0x1000, End: 0x2000, Path: "/srv/app (deleted)"})).bytes())
	if m := c.Modules(); len(m) != 1 || m[0].Path != "/srv/app" {
		t.Errorf("modules: %+v", m)
	}
}

func TestImageRefused(t *testing.T) {
	for name, data := range map[string][]byte{"core": typical().bytes(), "empty": nil, "text": []byte("#!/bin/sh\n")} {
		var e *Error
		if _, err := OpenImage(write(t, name, data)); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenImage(os.DevNull); err == nil {
		t.Error("a device is accepted")
	}
}
