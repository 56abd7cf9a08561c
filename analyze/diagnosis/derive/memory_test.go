package derive

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

const memoryHead = `case 1
process pid=7 language=go version=go1.26.8 goos=linux goarch=amd64 mainmodule=example.com/app sourceroot=/usr/local/go/src/
frame id=1 function=runtime.gopark file=/usr/local/go/src/runtime/proc.go line=462
frame id=2 function=main.serve file=/src/app/serve.go line=44
frame id=3 function=runtime.gcBgMarkWorker file=/usr/local/go/src/runtime/mgc.go line=1463
stack id=1 frames=1,2
stack id=2 frames=1,3
goroutine id=1 state=waiting reason="chan receive" stack=1
goroutine id=2 state=waiting reason="GC worker (idle)" stack=2 system=true
`

func memoryOf(t *testing.T, records string) (Memory, *evidence.Case) {
	t.Helper()
	b := evidence.NewBuilder()
	if err := evidence.ReadText(strings.NewReader(memoryHead+records), b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	return MemoryOf(c, &Frames{c: c}), c
}

func TestMemory(t *testing.T) {
	const live = "heapuse objects=0x100 bytes=0x1000 liveobjects=0x80 livebytes=0x1000\n"
	for _, test := range []struct {
		name, records, brief string
		want                 []string // the reasons, each a whole text
	}{
		{"nobody counted", "", "", nil},
		{"a large type and a small one", live + "heaptype name=main.T objects=0x10 bytes=0x800\nheaptype name=main.U objects=0x1 bytes=0x10\n",
			"of 4.0 KiB on its heap 2.0 KiB are main.T",
			[]string{"the objects on the heap were counted: of 4.0 KiB that are reachable 2.0 KiB (50 %) are 16 objects of type main.T"}},
		{"one object, a guess", live + "heaptype name=[]uint8 objects=0x1 bytes=0xfff trust=guessed\n", "of 4.0 KiB on its heap 4.0 KiB are []uint8",
			[]string{"the objects on the heap were counted: of 4.0 KiB that are reachable 4.0 KiB (over 99 %) is one object of type []uint8 (guessed)"}},
		{"a way that forks", live + "holder kind=global name=main.store objects=0x50 bytes=0x900\nholder depth=1 name=main.T objects=0x50 bytes=0x900\n" +
			"holder depth=2 name=main.U objects=0x20 bytes=0x400\nholder depth=2 name=main.V objects=0x20 bytes=0x400\n", "",
			[]string{"the global variable main.store leads to 2.2 KiB of it (56 %), through main.T"}},
		{"a way from a stack", live + "heaptype name=[]uint8 objects=0x10 bytes=0xf00\nholder kind=stack stack=1 objects=0x50 bytes=0xff0\nholder depth=1 objects=0x50 bytes=0xff0\n" +
			"holder depth=2 name=[]uint8 objects=0x50 bytes=0xf00\n", "of 4.0 KiB on its heap 3.8 KiB are []uint8, held by objects of an unknown type",
			[]string{"the objects on the heap were counted: of 4.0 KiB that are reachable 3.8 KiB (94 %) are 16 objects of type []uint8",
				"a local variable of a goroutine in serve (serve.go:44) leads to 4.0 KiB of it (over 99 %), through objects of an unknown type -> []uint8"}},
		{"only small roots", live + "holder kind=global name=main.a objects=0x1 bytes=0x20\nholder depth=1 name=main.T objects=0x1 bytes=0x20\n", "", nil},
		{"kept alone", live + "retained stack=1 goroutines=3 objects=0x10 bytes=0x400 stackbytes=0x800\nretained stack=2 goroutines=1 objects=0x1 bytes=0x20 stackbytes=0x800\n", "",
			[]string{"3 goroutines in serve (serve.go:44) keep 1.0 KiB that nobody else does: free if they ended"}},
		{"garbage", "heapuse objects=0x100 bytes=0x1000 liveobjects=0x80 livebytes=0x800\n", "", []string{"2.0 KiB more are garbage that was not collected yet"}},
		{"classes only", "heapuse objects=0x100 bytes=0x1000 refused=\"a span is missing\"\nheapclass size=0x40 objects=0x20 bytes=0x800\n", "",
			[]string{"of 4.0 KiB on the heap 2.0 KiB (50 %) are in 32 objects of 64 bytes; their types and what is reachable are not known: a span is missing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, c := memoryOf(t, test.records)
			if m.Brief != test.brief || m.Types != strings.Contains(test.records, "heaptype") {
				t.Errorf("brief %q, want %q; types %v", m.Brief, test.brief, m.Types)
			}
			var got []string
			for _, r := range m.Reasons {
				got = append(got, r.Text)
				for _, ref := range r.Refs {
					if !c.Resolve(ref) {
						t.Errorf("%q cites %s, which is not there", r.Text, ref)
					}
				}
				if len(r.Refs) == 0 {
					t.Errorf("%q cites nothing", r.Text)
				}
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("reasons\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1 << 10: "1.0 KiB", 3 << 29: "1.5 GiB", 1 << 63: "8388608.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
