package elfcore

import (
	"debug/elf"
	"testing"
)

// FuzzOpen holds that no bytes make the reader panic or hang, and that what it returns keeps its promises.
func FuzzOpen(f *testing.F) {
	f.Add(typical().bytes())
	f.Add(typical().bytes()[:700])
	f.Add(newBuilder().bytes())
	arm := newBuilder().note("CORE", ntPrstatus, prstatus(elf.EM_AARCH64, 7, 6, 500)).load(0x1000, 6, 0, []byte("abcdefgh"))
	arm.machine = elf.EM_AARCH64
	f.Add(arm.bytes())
	f.Add(newBuilder().note("Delve Header", ntDelveHeader, []byte("linux/amd64\nTarget Pid: 1\n")).note("", ntDelveThread, make([]byte, 80)).bytes())
	f.Add(typical().load(0x500800, 7, 0x4000, []byte("overlap")).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := parse("fuzz", data, Options{MaxThreads: 1000, MaxFiles: 1000})
		if err != nil {
			return
		}
		checkMemory(t, c.Mem)
		view := c.Mem.View()
		for _, r := range c.Mem.Ranges() {
			for _, addr := range []uint64{r.Addr - 1, r.Addr, r.End() - 1, r.End()} {
				a, okA := c.Mem.Bytes(addr, 9)
				b, okB := view.Bytes(addr, 9)
				if okA != okB || string(a) != string(b) {
					t.Fatalf("memory and view differ at %#x", addr)
				}
			}
		}
		for _, m := range c.Modules() {
			c.Identity(m)
		}
		c.Executable()
	})
}

// FuzzImage holds that no file and no core make verification panic, and that nothing unverified is laid into memory.
func FuzzImage(f *testing.F) {
	exe := testImage(0x1234)
	f.Add(exe, coreOf(exe, 0x400000).bytes())
	f.Add(exe, typical().bytes())
	f.Fuzz(func(t *testing.T, file, core []byte) {
		img, err := newImage("file", file)
		if err != nil {
			return
		}
		c, _, err := parse("core", core, Options{MaxThreads: 100, MaxFiles: 100})
		if err != nil {
			return
		}
		for _, m := range c.Modules() {
			v, err := img.VerifyAgainst(c, m)
			if err != nil || v.Method == Unverified {
				continue
			}
			if _, err := c.Mem.AddImage(img, v); err != nil {
				t.Fatal(err)
			}
			checkMemory(t, c.Mem)
			c.LinkedModules(img, v)
		}
	})
}
