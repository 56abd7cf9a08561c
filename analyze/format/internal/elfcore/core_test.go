package elfcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenTypical(t *testing.T) {
	c, gaps := open(t, typical().bytes())
	if len(gaps) != 0 {
		t.Errorf("gaps of a whole core: %v", gaps)
	}
	if len(c.Threads) != 2 || c.Threads[0].TID != 101 || c.Threads[0].Signal != 11 || c.Threads[1].TID != 102 {
		t.Fatalf("threads: %+v", c.Threads)
	}
	want := ProcessInfo{PID: 101, State: 'R', Name: "app", Args: "app --flag"}
	if diff := cmp.Diff(want, c.Process); diff != "" {
		t.Errorf("process: %s", diff)
	}
	if want := (Siginfo{Signo: 11, Code: 1, Addr: 0xdead, OK: true}); c.Signal != want || c.Threads[0].Siginfo == nil || *c.Threads[0].Siginfo != want {
		t.Errorf("siginfo: %+v", c.Signal)
	}
	if c.Producer != Kernel || c.ExecPath() != "/bin/app" || c.PageSize() != 4096 {
		t.Errorf("producer %v, program %q, page size %d", c.Producer, c.ExecPath(), c.PageSize())
	}
	exe, ok := c.Executable()
	if !ok || exe.Path != "/bin/app" || !exe.Exe || exe.Start != 0x400000 || exe.End != 0x501000 {
		t.Errorf("executable: %+v %v", exe, ok)
	}
}

func TestRegisters(t *testing.T) {
	amd := NewRegs(elf.EM_X86_64, seq(27))
	if amd.PC != 16 || amd.SP != 19 || amd.FP != 4 || amd.G != 1 || amd.TLS != 21 || !amd.HasTLS || amd.OrigSyscall != 15 || amd.LR != 0 {
		t.Errorf("amd64: %+v", amd)
	}
	arm := NewRegs(elf.EM_AARCH64, seq(34))
	if arm.PC != 32 || arm.SP != 31 || arm.FP != 29 || arm.LR != 30 || arm.G != 28 || arm.HasTLS || arm.OrigSyscall != -1 {
		t.Errorf("arm64: %+v", arm)
	}
	if v, ok := amd.Get("RDI"); !ok || v != 14 {
		t.Errorf("rdi = %d %v", v, ok)
	}
	if _, ok := amd.Get("x0"); ok {
		t.Error("amd64 has no x0")
	}
	if short := NewRegs(elf.EM_AARCH64, nil); len(short.General) != 34 {
		t.Errorf("missing registers are zero, got %d", len(short.General))
	}
}

func seq(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i)
	}
	return out
}

func TestArm64Notes(t *testing.T) {
	b := newBuilder()
	b.machine = elf.EM_AARCH64
	b.note("CORE", ntPrstatus, prstatus(elf.EM_AARCH64, 7, 6, 500)).
		note("LINUX", ntARMTLS, le.AppendUint64(nil, 0x1234)).
		note("LINUX", ntARMSyscall, le.AppendUint32(nil, 98))
	c, _ := open(t, b.bytes())
	r := c.Threads[0].Regs
	if r.TLS != 0x1234 || !r.HasTLS || r.OrigSyscall != 98 || r.PC != 532 || r.G != 528 {
		t.Errorf("registers: %+v", r)
	}
}

func TestDelveNotes(t *testing.T) {
	desc := le.AppendUint64(nil, 42)
	for _, v := range []uint64{0x1000, 0x2000, 0x3000, 0x4000} {
		desc = le.AppendUint64(desc, v)
	}
	desc = le.AppendUint64(append(desc, 1), 0x5000)
	desc = le.AppendUint32(desc, 2)
	for _, r := range []string{"Rip", "Rdi"} {
		desc = append(le.AppendUint16(desc, uint16(len(r))), r...)
		desc = le.AppendUint64(le.AppendUint16(desc, 8), 0x99)
	}
	head := "linux/amd64\nVersion: 1.27.2\nTarget Pid: 42\nEntry Point: 0x401000\n"
	c, _ := open(t, newBuilder().note("Delve Header", ntDelveHeader, []byte(head)).note("", ntDelveThread, desc).bytes())
	if c.Producer != Delve || c.Process.PID != 42 || c.Auxv[atEntry] != 0x401000 || c.Delve.GOOS != "linux" || c.Delve.GOARCH != "amd64" {
		t.Errorf("header: %+v %+v", c.Delve, c.Auxv)
	}
	r := c.Threads[0].Regs
	if c.Threads[0].TID != 42 || r.PC != 0x1000 || r.SP != 0x2000 || r.FP != 0x3000 || r.TLS != 0x4000 || r.DelveG != 0x5000 {
		t.Errorf("registers: %+v", r)
	}
	if rdi, _ := r.Get("rdi"); rdi != 0x99 {
		t.Errorf("rdi = %#x", rdi)
	}
	if _, err := decodeDelveThread(elf.EM_X86_64, desc[:60]); err == nil {
		t.Error("a note cut within a register is accepted")
	}
}

func TestSiginfoUnion(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want Siginfo
	}{
		{"fault", siginfo(11, 2, 0x10), Siginfo{Signo: 11, Code: 2, Addr: 0x10, OK: true}},
		{"protection fault without address", siginfo(11, siKernel, 0x10), Siginfo{Signo: 11, Code: siKernel, OK: true}},
		{"sent by tgkill", siginfo(6, -6, 77|1000<<32), Siginfo{Signo: 6, Code: -6, PID: 77, UID: 1000, OK: true}},
		{"segv sent by kill", siginfo(11, 0, 77), Siginfo{Signo: 11, PID: 77, OK: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decodeSiginfo(tc.in)
			if err != nil || got != tc.want {
				t.Errorf("got %+v %v, want %+v", got, err, tc.want)
			}
		})
	}
}

// TestRefused lists the inputs that are no core at all: one clear error each.
func TestRefused(t *testing.T) {
	edit := func(at int, v ...byte) []byte {
		b := typical().bytes()
		copy(b[at:], v)
		return b
	}
	exe, err := os.ReadFile(mustExecutable(t))
	if err != nil {
		t.Fatal(err)
	}
	obj := typical()
	obj.typ = elf.ET_REL
	for _, tc := range []struct {
		name string
		in   []byte
		is   error
		says string
	}{
		{"empty", nil, ErrEmpty, "empty"},
		{"text", []byte("goroutine 1 [running]:\n"), ErrNotELF, "not an ELF file"},
		{"two bytes", []byte("\x7fE"), ErrNotELF, "not an ELF file"},
		{"half a header", typical().bytes()[:40], ErrTruncated, "40 bytes of a 64 byte ELF header"},
		{"32 bit", edit(elf.EI_CLASS, 1), ErrUnsupported, "ELFCLASS32"},
		{"big-endian", edit(elf.EI_DATA, 2), ErrUnsupported, "ELFDATA2MSB"},
		{"riscv", edit(ehdrMachine, 243), ErrUnsupported, "EM_RISCV"},
		{"the executable", exe, ErrNotCore, "is an executable"},
		{"an object file", obj.bytes(), ErrNotCore, "an object file"},
		{"header entries of 32 bytes", edit(ehdrPhentsize, 32), nil, "program header entries of 32 bytes"},
		{"program headers beyond the end", edit(ehdrPhoff, 0, 0, 0, 0, 0, 1), ErrTruncated, "program headers are at offset 0x10000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, "core", tc.in)
			_, _, err := Open(path, Options{})
			var e *Error
			if !errors.As(err, &e) || e.Path != path || e.Doing == "" {
				t.Fatalf("error %v is no *Error with path and doing", err)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v, want %v", err, tc.is)
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
	if _, _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a folder is accepted")
	}
	if _, _, err := Open("/no/such/core", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func mustExecutable(t testing.TB) string {
	t.Helper()
	if data, err := os.ReadFile("/proc/self/exe"); err == nil && bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return "/proc/self/exe"
	}
	b := typical()
	b.typ = elf.ET_EXEC
	return write(t, "exe is an executable", b.bytes())
}

// TestCut cuts a core everywhere a user's disk may: what is left is read, and the gaps say what is not.
func TestCut(t *testing.T) {
	whole := typical().bytes()
	for _, percent := range []int{1, 10, 50, 90, 99} {
		data := whole[:len(whole)*percent/100]
		c, gaps, err := Open(write(t, "core", data), Options{})
		if err != nil {
			if !errors.Is(err, ErrTruncated) {
				t.Errorf("%d %%: %v", percent, err)
			}
			continue
		}
		if len(gaps) == 0 {
			t.Errorf("%d %%: no gap", percent)
		}
		for _, r := range c.Mem.Ranges() {
			if r.Source.Kind == FromCore && r.Source.Offset+int64(r.Size) > int64(len(data)) {
				t.Errorf("%d %%: range %+v reaches beyond the file", percent, r)
			}
		}
		_ = c.Close()
	}
}

// TestDamage lists cores that are read in part, and what the gaps must say.
func TestDamage(t *testing.T) {
	huge := typical()
	huge.note("CORE", 99, nil)
	le.PutUint32(huge.notes[len(huge.notes)-16:], 0xfffffff0) // descsz of the last note (12 bytes of header, "CORE\0" padded to 8)
	hugeDesc := typical()
	hugeDesc.note("CORE", 99, nil)
	le.PutUint32(hugeDesc.notes[len(hugeDesc.notes)-20:], 0xfffffff0)
	noNotes := typical()
	noNotes.noNotes = true
	lyingFile := newBuilder().note("CORE", ntFile, le.AppendUint64(le.AppendUint64(nil, math.MaxUint64/24), 4096))
	shortNames := newBuilder().note("CORE", ntFile, ntFileNote(4096, FileMapping{Start: 1, End: 2, Path: "x"})[:40])
	overlap := typical().load(0x500800, elf.PF_R, 0, bytes.Repeat([]byte{'x'}, 4096))
	wraps := typical().load(math.MaxUint64-10, elf.PF_R, 0, make([]byte, 4096))
	short := newBuilder().note("CORE", ntPrstatus, make([]byte, 20)).note("CORE", ntPrpsinfo, nil).note("CORE", ntSiginfo, nil)
	for _, tc := range []struct {
		name string
		b    *coreBuilder
		says []string
	}{
		{"no PT_NOTE", noNotes, []string{"no PT_NOTE", "describes a thread"}},
		{"a name of 4 GB", hugeDesc, []string{"claims a name of 4294967280"}},
		{"a body of 4 GB", huge, []string{"a body of 4294967280 bytes"}},
		{"NT_FILE count overflows", lyingFile, []string{"NT_FILE claims 768614336404564650 mappings"}},
		{"NT_FILE without names", shortNames, []string{"names for 0 of 1 mappings"}},
		{"overlapping segments", overlap, []string{"overlap"}},
		{"segment wraps around", wraps, []string{"impossible sizes"}},
		{"short notes", short, []string{"NT_PRSTATUS of 20 bytes", "NT_PRPSINFO of 0", "NT_SIGINFO of 0"}},
		{"nothing", newBuilder(), []string{"no PT_LOAD", "describes a thread"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, gaps := open(t, tc.b.bytes())
			all := ""
			for _, g := range gaps {
				all += g.String() + "\n"
			}
			for _, s := range tc.says {
				if !strings.Contains(all, s) {
					t.Errorf("gaps do not say %q:\n%s", s, all)
				}
			}
			checkMemory(t, c.Mem)
		})
	}
}

func TestOverlapKeepsTheFirst(t *testing.T) {
	c, _ := open(t, newBuilder().
		load(0x2000, elf.PF_R, 0, bytes.Repeat([]byte{'b'}, 0x1000)).
		load(0x1000, elf.PF_R, 0, bytes.Repeat([]byte{'a'}, 0x1800)).
		load(0x1800, elf.PF_R, 0, bytes.Repeat([]byte{'c'}, 0x100)).bytes())
	for addr, want := range map[uint64]byte{0x1000: 'a', 0x1800: 'a', 0x27ff: 'a', 0x2800: 'b', 0x2fff: 'b'} {
		if got, ok := c.Mem.Uint8(addr); !ok || got != want {
			t.Errorf("%#x: %q %v, want %q", addr, got, ok, want)
		}
	}
}

func TestManySegments(t *testing.T) {
	const n = 70_000 // more than e_phnum can count
	b := newBuilder().note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, 1, 0, 0))
	b.xnum = true
	for i := range uint64(n) {
		b.load(0x10000+i*0x1000, elf.PF_R, 0x1000, []byte{byte(i), byte(i >> 8)})
	}
	data := b.bytes()
	c, gaps := open(t, data)
	if len(c.Segments) != n || len(gaps) != 0 {
		t.Fatalf("%d segments, gaps %v", len(c.Segments), gaps)
	}
	if v, ok := c.Mem.Uint16(0x10000 + 69_999*0x1000); !ok || v != uint16(69_999&0xffff) {
		t.Errorf("last segment: %#x %v", v, ok)
	}
	// Without section header 0 the number is not known; what the 16 bits say is read, with a gap.
	le.PutUint64(data[ehdrShoff:], uint64(len(data)))
	c, gaps = open(t, data)
	if len(gaps) != 1 || !strings.Contains(gaps[0].Why, "section header 0") || len(c.Segments) == 0 {
		t.Errorf("%d segments, gaps %v", len(c.Segments), gaps)
	}
}

func TestThreadLimit(t *testing.T) {
	b := newBuilder()
	for i := range uint32(5) {
		b.note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, i, 0, 0))
	}
	c, gaps, err := Open(write(t, "core", b.load(0x1000, 4, 0, []byte("x")).bytes()), Options{MaxThreads: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Threads) != 3 || len(gaps) != 1 || !strings.Contains(gaps[0].Why, "more than 3 threads") {
		t.Errorf("%d threads, gaps %v", len(c.Threads), gaps)
	}
}

func TestZeroNotesEnd(t *testing.T) {
	b := newBuilder().note("CORE", ntPrstatus, prstatus(elf.EM_X86_64, 1, 0, 0))
	b.notes = append(b.notes, make([]byte, 1<<16)...) // a hole of a sparse file
	c, _ := open(t, b.bytes())
	if len(c.Threads) != 1 {
		t.Errorf("%d threads", len(c.Threads))
	}
}

func TestProducerNames(t *testing.T) {
	for p, want := range map[Producer]string{Unknown: "unknown", Kernel: "kernel", Gcore: "gcore", Delve: "delve", Qemu: "qemu", 99: "unknown"} {
		if p.String() != want {
			t.Errorf("%d: %s, want %s", p, p, want)
		}
	}
}

// TestSegmentOfEverything has a segment that claims all memory behind it: the segments there keep what their own headers say.
func TestSegmentOfEverything(t *testing.T) {
	page := make([]byte, 0x1000)
	b := newBuilder().load(0x10000, elf.PF_R|elf.PF_X, math.MaxUint64, page).load(0x30000, elf.PF_R|elf.PF_W, 0, page)
	c, gaps, err := parse("core", b.bytes(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []span{{lo: 0x10000, hi: 0x11000, flags: elf.PF_R | elf.PF_X}, {lo: 0x30000, hi: 0x31000, flags: elf.PF_R | elf.PF_W}}
	if !slices.Equal(c.Mem.mapped, want) {
		t.Errorf("mapped is %+v, want %+v", c.Mem.mapped, want)
	}
	if !slices.ContainsFunc(gaps, func(g Gap) bool { return strings.Contains(g.Why, "impossible sizes") }) {
		t.Errorf("no gap says so: %v", gaps)
	}
}
