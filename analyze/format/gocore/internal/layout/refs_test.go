package layout

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestRefsX86(t *testing.T) {
	tests := []struct {
		name string
		code []byte
		want []uint64
	}{
		{"LEAQ 0x10(RIP), AX", []byte{0x48, 0x8d, 0x05, 0x10, 0, 0, 0}, []uint64{0x1017}},
		{"MOVL $1, 0x10(RIP)", []byte{0xc7, 0x05, 0x10, 0, 0, 0, 1, 0, 0, 0}, []uint64{0x101a}},
		{"MOVW $1, 0x10(RIP)", []byte{0x66, 0xc7, 0x05, 0x10, 0, 0, 0, 1, 0}, []uint64{0x1019}},
		{"CMPB $0, -7(RIP)", []byte{0x80, 0x3d, 0xf9, 0xff, 0xff, 0xff, 0}, []uint64{0x1000}},
		{"TESTB $1, 0(RIP)", []byte{0xf6, 0x05, 0, 0, 0, 0, 1}, []uint64{0x1007}},
		{"NOTB 0(RIP)", []byte{0xf6, 0x15, 0, 0, 0, 0}, []uint64{0x1006}},
		{"LOCK XADDL AX, 0(RIP)", []byte{0xf0, 0x0f, 0xc1, 0x05, 0, 0, 0, 0}, []uint64{0x1008}},
		{"MOVUPS X15, 0(RIP)", []byte{0x44, 0x0f, 0x11, 0x3d, 0, 0, 0, 0}, []uint64{0x1008}},
		{"VMOVDQU 0(RIP), Y0", []byte{0xc5, 0xfe, 0x6f, 0x05, 0, 0, 0, 0}, []uint64{0x1008}},
		{"MOVQ 0x500000(AX*8), CX", []byte{0x48, 0x8b, 0x0c, 0xc5, 0, 0, 0x50, 0}, []uint64{0x500000}},
		{"MOVQ (FS)0xfffffff8, CX", []byte{0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff}, nil},
		{"MOVABSQ $1, AX; LEAQ 0(RIP), AX", []byte{0x48, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x8d, 0x05, 0, 0, 0, 0}, []uint64{0x1011}},
		{"SHLXQ CX, AX, DX; RET", []byte{0xc4, 0xe2, 0xf1, 0xf7, 0xd0, 0xc3}, nil},
		{"VZEROUPPER; PSHUFD $1, X0, X0", []byte{0xc5, 0xf8, 0x77, 0x66, 0x0f, 0x70, 0xc0, 1}, nil},
	}
	for _, test := range tests {
		got, err := DataRefs("amd64", test.code, 0x1000)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %#x, %v; want %#x", test.name, got, err, test.want)
		}
	}
	for _, bad := range [][]byte{{0x06}, {0x48}, {0x48, 0x8d, 0x05, 0, 0}, {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90}} {
		if got, err := DataRefs("amd64", bad, 0x1000); err == nil {
			t.Errorf("% x is not refused: %#x", bad, got)
		}
	}
	if _, err := DataRefs("riscv64", nil, 0); err == nil {
		t.Error("an unknown architecture is not refused")
	}
}

func TestRefsARM(t *testing.T) {
	tests := []struct {
		name  string
		words []uint32
		want  []uint64
	}{
		{"ADRP 0x2000, R0; ADD $0x10", []uint32{0x90000000 | 1<<29, 0x91004000}, []uint64{0x401010}},
		{"ADRP R27; MOVD 8(R27), R1", []uint32{0xb000001b, 0xf9400761}, []uint64{0x401008}},
		{"ADRP R27; MOVW R1, 4(R27)", []uint32{0xb000001b, 0xb9000761}, []uint64{0x401004}},
		{"ADRP R27; MOVBU 3(R27), R1", []uint32{0xb000001b, 0x39400f61}, []uint64{0x401003}},
		{"ADRP R27; FMOVQ 16(R27), F1", []uint32{0xb000001b, 0x3dc00761}, []uint64{0x401010}},
		{"ADRP -1 page, R0; ADD $0", []uint32{0xf0ffffe0, 0x91000000}, []uint64{0x3ff000}},
		{"ADR 4, R0", []uint32{0x10000020, 0xd503201f}, []uint64{0x400004}},
		{"ADRP R0; ADD to another register", []uint32{0xb0000000, 0x91004021}, nil},
		{"ADRP at the end", []uint32{0xb0000000}, nil},
	}
	for _, test := range tests {
		var code []byte
		for _, w := range test.words {
			code = binary.LittleEndian.AppendUint32(code, w)
		}
		got, err := DataRefs("arm64", code, 0x400000)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %#x, %v; want %#x", test.name, got, err, test.want)
		}
	}
}

func TestInstructionSize(t *testing.T) {
	for want, code := range map[int][]byte{1: {0xc3, 0x90}, 7: {0x48, 0x8d, 0x05, 1, 2, 3, 4, 0x90}, 10: {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}} {
		if got, ok := InstructionSize(code); !ok || got != want {
			t.Errorf("% x has %d bytes, %v; want %d", code, got, ok, want)
		}
	}
	if n, ok := InstructionSize(nil); ok {
		t.Errorf("no code has an instruction of %d bytes", n)
	}
}

// TestInstructionsOfRuntime compares the lengths of all instructions of a few packages with those that go tool objdump finds.
func TestInstructionsOfRuntime(t *testing.T) {
	f, path := buildFile(t, "local", probe, []string{"GOARCH=amd64"})
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	wrong, compared := 0, 0
	for _, starts := range disassembled(t, path, `^(runtime|sync|fmt|strconv)\.`) {
		for i, at := range starts[:len(starts)-1] {
			want := int(starts[i+1] - at)
			body := code[at-text.Addr:]
			size, ok := InstructionSize(body)
			vex := body[0] == 0xc4 || body[0] == 0xc5 // objdump's decoder does not know this prefix
			if compared++; vex || ok && size == want {
				continue
			}
			if wrong++; wrong < 20 {
				t.Errorf("at %#x % x: %d bytes, %v; objdump says %d", at, body[:want], size, ok, want)
			}
		}
	}
	if compared < 100000 {
		t.Errorf("only %d instructions were compared", compared)
	}
	t.Logf("%d instructions, %d wrong", compared, wrong)
}

// disassembled gives the addresses of the instructions of each function. Functions with instructions that objdump does
// not know (it prints a question mark for each byte) are left out.
func disassembled(t *testing.T, path, functions string) [][]uint64 {
	t.Helper()
	out, err := exec.Command("go", "tool", "objdump", "-s", functions, path).Output()
	if err != nil {
		lacking(t, "go tool objdump", err)
	}
	var all [][]uint64
	for function := range strings.SplitSeq(string(out), "TEXT ") {
		var starts []uint64
		for line := range strings.Lines(function) {
			fields := strings.Fields(line)
			if len(fields) < 4 || !strings.HasPrefix(fields[1], "0x") {
				continue
			}
			at, err := strconv.ParseUint(fields[1][2:], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			starts = append(starts, at)
		}
		if len(starts) > 0 && !strings.Contains(function, "?") {
			all = append(all, starts)
		}
	}
	return all
}

func FuzzDataRefs(f *testing.F) {
	if own, err := os.ReadFile("/proc/self/exe"); err == nil {
		f.Add(own[0x1000:0x1400])
	}
	f.Add([]byte{0x48, 0x8d, 0x05, 0x10, 0, 0, 0})
	f.Add([]byte{0x62, 0xf1, 0x7c, 0x48, 0x28, 0x05, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, arch := range Arches() {
			refs, err := DataRefs(arch, code, 0x400000)
			if err == nil && len(refs) > len(code)/4 {
				t.Errorf("%s: %d references in %d bytes", arch, len(refs), len(code))
			}
		}
		if size, ok := InstructionSize(code); ok && (size < 1 || size > maxInstruction || size > len(code)) {
			t.Errorf("% x: an instruction of %d bytes", code, size)
		}
	})
}
