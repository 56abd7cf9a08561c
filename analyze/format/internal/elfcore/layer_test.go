package elfcore

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLayersModel dumps random parts of a process, lays its file under them, and holds every byte against what it must be:
// the core's where the core has it, the file's in read-only parts, absent elsewhere.
func TestLayersModel(t *testing.T) {
	exe := testImage(0x0102)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		b := coreOf(exe, imgBase)
		b.loads = nil
		// The first page is always there: it proves the file. The rest is dumped in runs of 256 bytes.
		b.load(imgBase, elf.PF_R|elf.PF_X, 0, exe[:0x1000])
		for at := uint64(imgText); at < imgSize; at += 0x100 {
			flags := elf.PF_R
			if at >= imgData {
				flags |= elf.PF_W
			}
			var data []byte
			if rng.IntN(2) == 0 {
				data = bytes.Clone(exe[at : at+0x100])
				if at >= imgData {
					copy(data, "changed by the process")
				}
			}
			b.load(imgBase+at, flags, 0x100, data)
		}
		c, _ := open(t, b.bytes())
		before := snapshot(c.Mem)
		if _, _, err := c.Load(program(t, c), FindOptions{Exe: write(t, "app", exe)}); err != nil {
			t.Fatal(err)
		}
		checkMemory(t, c.Mem)
		for at := range uint64(imgSize) {
			got, ok := c.Mem.Uint8(imgBase + at)
			want, inCore := before[imgBase+at]
			if !inCore && at < imgData {
				want, inCore = exe[at], true
			}
			if ok != inCore || got != want {
				t.Fatalf("seed %d, %#x: %#x %v, want %#x %v", seed, at, got, ok, want, inCore)
			}
		}
	}
}

// snapshot copies the bytes around the test image.
func snapshot(m *Memory) map[uint64]byte {
	out := map[uint64]byte{}
	for at := uint64(imgBase); at < imgBase+imgSize+0x1000; at++ {
		if v, ok := m.Uint8(at); ok {
			out[at] = v
		}
	}
	return out
}

func TestLoadTwice(t *testing.T) {
	exe := testImage(0x0102)
	c, _ := open(t, coreOf(exe, imgBase).bytes())
	path := write(t, "app", exe)
	first, _, err := c.Load(program(t, c), FindOptions{Exe: path})
	if err != nil {
		t.Fatal(err)
	}
	again, v, err := c.Load(program(t, c), FindOptions{Exe: path})
	if err != nil || again != first || v.Method != ByGNUBuildID {
		t.Errorf("another image, %v %v", v.Method, err)
	}
}

// TestSecondBest holds that a wrong file at the recorded path does not hide the right one.
func TestSecondBest(t *testing.T) {
	exe := testImage(0x0102)
	wrong, right := write(t, "app", testImage(0x0999)), write(t, "app", exe)
	b := coreOf(exe, imgBase)
	b.notes = nil
	b.note("CORE", ntAuxv, auxv(atEntry, imgBase+imgText)).
		note("CORE", ntFile, ntFileNote(4096, FileMapping{Start: imgBase, End: imgBase + imgSize, Path: wrong}))
	data := b.bytes()
	core := strings.TrimSuffix(right, "app") + "core"
	c, _, err := Open(writeTo(t, core, data), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	img, _, err := c.Load(program(t, c), FindOptions{BesideCore: true})
	if err != nil || img.Path != right {
		t.Errorf("%v, want %s", err, right)
	}
}

// linkedCore is a core of the test image whose dynamic linker lists these modules; the last points back to entry loop.
func linkedCore(t *testing.T, loop int, names ...string) (*Core, *Image) {
	t.Helper()
	const debug, entries, texts = 0x500000, 0x500100, 0x500800
	exe := testImage(0x0102)
	// The second program header becomes PT_DYNAMIC, in the data.
	exe = append(exe[:0:0], exe...)
	dyn := appendPhdr(nil, phdr{typ: elf.PT_DYNAMIC, off: imgData, vaddr: imgBase + imgData, filesz: 32, memsz: 32})
	copy(exe[ehdrSize+2*phdrSize:], dyn)
	page := make([]byte, 0x1000)
	le.PutUint64(page[rDebugMap:], entries)
	for i, name := range names {
		at := page[entries-debug+64*i:]
		next := uint64(entries + 64*(i+1))
		if i == len(names)-1 {
			if next = 0; loop >= 0 {
				next = uint64(entries + 64*loop)
			}
		}
		le.PutUint64(at, uint64(0x7000_0000_0000+i*0x1000))
		le.PutUint64(at[linkMapName:], uint64(texts+64*i))
		le.PutUint64(at[linkMapNext:], next)
		copy(page[texts-debug+64*i:], name)
	}
	data := le.AppendUint64(le.AppendUint64(nil, uint64(elf.DT_DEBUG)), debug)
	b := newBuilder().note("CORE", ntAuxv, auxv(atEntry, imgBase+imgText)).
		load(imgBase+imgData, elf.PF_R|elf.PF_W, 0, append(data, make([]byte, 0x100)...)).
		load(debug, elf.PF_R|elf.PF_W, 0, page)
	c, _ := open(t, b.bytes())
	return c, image(t, exe)
}

func TestLinkMap(t *testing.T) {
	for name, tc := range map[string]struct {
		loop  int
		names []string
		want  int
	}{
		"program, vDSO, two libraries": {-1, []string{"", "linux-vdso.so.1", "/lib/libc.so.6", "/lib/ld.so"}, 2},
		"a loop":                       {1, []string{"", "/lib/a.so", "/lib/b.so"}, 2},
		"points at itself":             {0, []string{"/lib/a.so"}, 1},
		"none":                         {-1, []string{""}, 0},
	} {
		c, img := linkedCore(t, tc.loop, tc.names...)
		got := c.LinkedModules(img, Verification{})
		if len(got) != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
		for _, m := range got {
			if !m.HasBias || m.Bias>>40 != 0x70 || !strings.HasPrefix(m.Path, "/lib/") {
				t.Errorf("%s: %+v", name, m)
			}
		}
	}
}

// TestVDSORefused lists cores in which the kernel's image is not to be had.
func TestVDSORefused(t *testing.T) {
	for name, b := range map[string]*coreBuilder{
		"no auxiliary vector": newBuilder().load(0x1000, elf.PF_R, 0, testImage(0)),
		"not dumped":          newBuilder().note("CORE", ntAuxv, auxv(atVDSO, 0x1000)).load(0x1000, elf.PF_R, 0x1000, nil),
		"no ELF":              newBuilder().note("CORE", ntAuxv, auxv(atVDSO, 0x1000)).load(0x1000, elf.PF_R, 0, []byte("text, and nothing else")),
	} {
		c, _ := open(t, b.bytes())
		if _, _, ok := c.VDSO(); ok {
			t.Errorf("%s: found", name)
		}
	}
	c, _ := open(t, newBuilder().note("CORE", ntAuxv, auxv(atVDSO, 0x70000)).load(0x70000, elf.PF_R, 0, testImage(0x0102)).bytes())
	if img, bias, ok := c.VDSO(); !ok || bias+imgBase != 0x70000 || img.Path != "[vdso]" {
		t.Errorf("bias %#x %v", bias, ok)
	}
}

func TestPageSize(t *testing.T) {
	for given, want := range map[uint64]uint64{0: 4096, 4096: 4096, 16384: 16384, 65536: 65536, 5000: 4096, 1 << 30: 4096, 1: 4096} {
		c, _ := open(t, newBuilder().note("CORE", ntAuxv, auxv(atPagesz, given)).bytes())
		if got := c.PageSize(); got != want {
			t.Errorf("AT_PAGESZ %d: %d, want %d", given, got, want)
		}
	}
}

// TestManyMappings holds that a core with very many mappings of one file, and of many files, costs no more than its size.
func TestManyMappings(t *testing.T) {
	exe := testImage(0x0102)
	files := []FileMapping{{Start: imgBase, End: imgBase + imgRO, Path: "/srv/app"}}
	for i := range uint64(200_000) {
		files = append(files, FileMapping{Start: imgBase, End: 0x7000_0000_0000, FileOffset: 0, Path: "/srv/app"},
			FileMapping{Start: 0x1_0000_0000 + i<<12, End: 0x1_0000_1000 + i<<12, Path: "x"})
	}
	b := coreOf(exe, imgBase)
	b.notes = nil
	b.note("CORE", ntAuxv, auxv(atEntry, imgBase+imgText, atPhnum, 4)).note("CORE", ntFile, ntFileNote(4096, files...))
	c, _ := open(t, b.bytes())
	if _, _, err := c.Load(program(t, c), FindOptions{Exe: write(t, "app", exe)}); err != nil {
		t.Fatal(err)
	}
	checkMemory(t, c.Mem)
}

func TestGapAndErrorTexts(t *testing.T) {
	if s := (Gap{What: "notes", Why: "cut off"}).String(); s != "notes: cut off" {
		t.Error(s)
	}
	e := &Error{Path: "core", Offset: 16, Doing: "reading", Err: ErrEmpty}
	if s := e.Error(); s != "core: offset 0x10: reading: the file is empty" {
		t.Error(s)
	}
	e.Offset = -1
	if s := e.Error(); s != "core: reading: the file is empty" {
		t.Error(s)
	}
	for id, want := range map[string]Identity{
		"build-id 0102, Go build id x": {GNUBuildID: []byte{1, 2}, GoBuildID: "x"},
		"Go build id x":                {GoBuildID: "x"},
		"no build id":                  {},
	} {
		if want.String() != id || want.Known() != (id != "no build id") {
			t.Errorf("%s, want %s", want, id)
		}
	}
	for m, want := range map[Method]string{Unverified: "unverified", ByData: "initial values of the data", ByPages: "read-only pages", ByGoBuildID: "Go build id"} {
		if m.String() != want {
			t.Errorf("%v, want %s", m, want)
		}
	}
}
