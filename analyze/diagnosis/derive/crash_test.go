package derive

import (
	"context"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// crashOf reads a case and classifies it through the rules' own door.
func crashOf(t *testing.T, text string) (*Crash, *evidence.Case, *Frames) {
	t.Helper()
	b := evidence.NewBuilder()
	if err := evidence.ReadText(strings.NewReader("case 1\n"+text), b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	var crash *Crash
	var frames *Frames
	probe := &diagnosis.Rule{
		Name: "probe", Class: CrashNil, Needs: []evidence.Kinds{0}, Uses: CrashUses,
		Doc: &diagnosis.Doc{Title: "t", Sees: "s", Hurts: "h", Confirm: "c", Fix: "f", Not: "n", Since: "0"},
		Run: func(p *diagnosis.Pass) (err error) {
			if crash, err = diagnosis.Of(p, OfCrash); err == nil {
				frames, err = diagnosis.Of(p, OfFrames)
			}
			return err
		},
	}
	res, err := diagnosis.Run(context.Background(), c, []*diagnosis.Rule{probe}, diagnosis.Options{})
	if err != nil || len(res.NotChecked) > 0 {
		t.Fatalf("the probe failed: %v %v", err, res)
	}
	return crash, c, frames
}

const twoFrames = `frame id=1 function=runtime.gopanic file=/usr/local/go/src/runtime/panic.go line=879
frame id=2 function=main.work file=/src/main.go line=12
frame id=3 function=main.main file=/src/main.go line=3
frame id=4 function=runtime.throw file=/usr/local/go/src/runtime/panic.go line=1229
frame id=5 function=abort language=c module=libc.so.6
frame id=6 function=poll language=c module=libc.so.6
frame id=7 function=runtime.cgocall file=/usr/local/go/src/runtime/cgocall.go line=167
frame id=8 function=main._Cfunc_poll file=_cgo_gotypes.go line=40
stack id=1 frames=1,2,3
stack id=2 frames=2,3
stack id=3 frames=4,2,3
stack id=4 frames=5,2
stack id=5 frames=6,2
stack id=6 frames=2,1,3
stack id=7 frames=7,8,3
`

func TestClass(t *testing.T) {
	tests := []struct{ name, text, class, why string }{
		{"no death", "goroutine id=1 state=running stack=2", "", "does not say"},
		{"living", "death live=true panicking=true\ngoroutine id=1 state=running stack=1 crashed=true", "", "living process"},
		{"still there", "death thread=9\ngoroutine id=1 state=running stack=2", "", "did not die of itself"},
		{"panic", "death panicking=true goroutine=1\npanic goroutine=1 text=x\ngoroutine id=1 state=running stack=1", CrashPanic, ""},
		{"panic without goroutines", "death panicking=true\npanic text=x", CrashPanic, ""},
		{"nil", "death panicking=true goroutine=1\npanic goroutine=1 text=\"" + NilText + "\"\ngoroutine id=1 state=running stack=1", CrashNil, ""},
		{"nil receiver", "death panicking=true goroutine=1\npanic goroutine=1 text=\"value method main.T.M called using nil *T pointer\"\ngoroutine id=1 state=running stack=1", CrashNil, ""},
		{"oldest panic counts", "death panicking=true goroutine=1\npanic goroutine=1 text=later\npanic goroutine=1 text=\"" + NilText + "\" recovered=true\ngoroutine id=1 state=running stack=1", CrashNil, ""},
		{"panic of another goroutine", "death signal=6 goroutine=1\npanic goroutine=2 text=x\ngoroutine id=1 state=running stack=2\ngoroutine id=2 state=waiting stack=1", "", "killed from outside"},
		{"goexit is no panic", "death signal=6 goroutine=1\npanic goroutine=1 goexit=true\ngoroutine id=1 state=running stack=2", "", "killed from outside"},
		{"wild under SetPanicOnFault", "death panicking=true goroutine=1 signal=11 addr=0xdead000 fault=true\npanic goroutine=1 text=\"" + NilText + "\"\ngoroutine id=1 state=running stack=1", CrashSignal, ""},
		{"deferred function in a core", "death signal=6 goroutine=1 thread=9\npanic goroutine=1 text=x\ngoroutine id=1 state=running stack=6 dying=true\nthread tid=9 goroutine=1", "", "killed from outside"},
		{"dying in a core", "death signal=6 goroutine=1 thread=9\npanic goroutine=1 text=x\ngoroutine id=1 state=running stack=1 dying=true\nthread tid=9 goroutine=1", CrashPanic, ""},
		{"flag without a goroutine", "death panicking=true\npanic goroutine=5 text=x\ngoroutine id=5 state=running stack=1 crashed=true", CrashPanic, ""},
		{"fatal", "death fatal=\"concurrent map writes\" goroutine=1\ngoroutine id=1 state=running stack=3", CrashFatal, ""},
		{"fatal, text unread", "death signal=6 code=-6 goroutine=1\ngoroutine id=1 state=running stack=3", CrashFatal, ""},
		{"fault", "death fatal=fault goroutine=1\ngoroutine id=1 state=running stack=3", CrashSignal, ""},
		{"overflow", "death fatal=\"stack overflow\"\ngoroutine id=1 state=running stack=2", CrashOverflow, ""},
		{"overflow of the runtime", "death fatal=\"runtime: split stack overflow\"\ngoroutine id=1 state=running stack=2", CrashFatal, ""},
		{"memory", "death fatal=\"runtime: cannot allocate memory\"", CrashMemory, ""},
		{"kernel fault", "death signal=11 code=1 goroutine=1\ngoroutine id=1 state=syscall stack=7", CrashSignal, ""},
		{"fault by kill", "death signal=11 name=SIGSEGV code=0 goroutine=1\ngoroutine id=1 state=running stack=2", "", "killed from outside by SIGSEGV"},
		{"abort in C, text", "death signal=6 code=-6 goroutine=1\ngoroutine id=1 state=syscall stack=7", CrashSignal, ""},
		{"abort in C, core", "death signal=6 code=-6 thread=9\nthread tid=9 stack=4\ngoroutine id=1 state=syscall stack=7", CrashSignal, ""},
		{"abort from outside in C, core", "death signal=6 code=-6 thread=9 goroutine=1\nthread tid=9 stack=5\ngoroutine id=1 state=syscall stack=7", "", "killed from outside by SIGABRT"},
		{"fault, then the runtime's abort", "death signal=6 code=-6 thread=9\nthread tid=9 stack=5 signal=11", CrashSignal, ""},
		{"fault in C, the interrupted goroutine marked", "death signal=11 code=1\ngoroutine id=4 state=syscall stack=7 signal=true", CrashSignal, ""},
		{"sigterm", "death signal=15\ngoroutine id=1 state=running stack=2", "", "killed from outside by signal 15"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			crash, _, _ := crashOf(t, twoFrames+tt.text)
			if crash.Class != tt.class {
				t.Errorf("class is %q (%s), want %q", crash.Class, crash.Why, tt.class)
			}
			if tt.class == "" && !strings.Contains(crash.Why, tt.why) {
				t.Errorf("the reason is %q, want it to say %q", crash.Why, tt.why)
			}
		})
	}
}

func TestSites(t *testing.T) {
	const frames = `frame id=1 function=runtime.gopanic
frame id=2 function=main.main.func1 file=/src/main.go line=5
frame id=3 function=panic
frame id=4 function=runtime.panicmem
frame id=5 function=runtime.sigpanic
frame id=6 function=bytes.(*Buffer).Len file=/usr/local/go/src/bytes/buffer.go line=70
frame id=7 function=main.main file=/src/main.go line=9
frame id=8 function=main.main.deferwrap1 file=/src/main.go line=4
frame id=9 function=internal/sync.fatal file=/usr/local/go/src/runtime/panic.go line=1191
frame id=10 function=runtime.main
frame id=11 function=main.panicOnErr file=/src/help.go line=3
frame id=12 function=main.mustLoad file=/src/help.go line=9
frame id=13 function=main.(*T).Run file=<autogenerated> line=1
`
	tests := []struct {
		name, stack string
		want        []CrashSite
	}{
		{"two panics", "1,2,3,4,5,6,7,10", []CrashSite{{0, 1, 1}, {2, 5, 6}}},
		{"innermost hidden", "2,3,6,7", []CrashSite{{-1, 0, 0}, {1, 2, 3}}},
		{"wrapper", "1,8,7", []CrashSite{{0, 1, 2}}},
		{"only a wrapper", "1,8", []CrashSite{{0, 1, 1}}},
		{"a helper that panics with an error", "1,11,7", []CrashSite{{0, 1, 2}}},
		{"a runtime error inside a helper", "3,4,5,11,7", []CrashSite{{0, 3, 3}}},
		{"only like a helper", "1,12,7", []CrashSite{{0, 1, 1}}},
		{"made by the compiler", "1,13,7", []CrashSite{{0, 1, 2}}},
		{"no user", "1,6,10", []CrashSite{{0, 1, -1}}},
		{"only the runtime", "1,10", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			crash, _, _ := crashOf(t, "process sourceroot=/usr/local/go/src/\n"+frames+"stack id=1 frames="+tt.stack+
				"\ndeath panicking=true goroutine=1\npanic goroutine=1 text=x\ngoroutine id=1 state=running stack=1")
			if len(crash.Sites) != len(tt.want) {
				t.Fatalf("sites are %v, want %v", crash.Sites, tt.want)
			}
			for i := range tt.want {
				if crash.Sites[i] != tt.want[i] {
					t.Errorf("site %d is %v, want %v", i, crash.Sites[i], tt.want[i])
				}
			}
		})
	}
}

// TestDeferredUnlock: the wrapper of a deferred Unlock is passed over under its new name and, in Go 1.21 alone, its old one.
func TestDeferredUnlock(t *testing.T) {
	for _, tt := range []struct {
		version, wrapper string
		line             int
	}{{"go1.26.8", "deferwrap1", 33}, {"go1.21.13", "func1", 33}, {"go1.26.8", "func1", 27}} {
		crash, _, _ := crashOf(t, "process sourceroot=/usr/local/go/src/ version="+tt.version+`
frame id=1 function=runtime.fatal
frame id=2 function=sync.fatal file=/usr/local/go/src/runtime/panic.go line=1
frame id=3 function=sync.(*Mutex).Unlock file=/usr/local/go/src/sync/mutex.go line=223 inlined=true
frame id=4 function=main.(*store).touch.`+tt.wrapper+` file=/src/main.go line=27
frame id=5 function=main.(*store).touch file=/src/main.go line=33
stack id=1 frames=1,2,3,4,5
death fatal="sync: unlock of unlocked mutex" goroutine=1
goroutine id=1 state=running stack=1`)
		site, ok := crash.Root()
		if got := crash.Line(site).Line; !ok || got != tt.line {
			t.Errorf("%s, %s: the line is %d, want %d", tt.version, tt.wrapper, got, tt.line)
		}
	}
}

func TestCrashWithoutFrames(t *testing.T) {
	crash, c, frames := crashOf(t, "death panicking=true\npanic text=x")
	site, ok := crash.Root()
	if ok || crash.Died {
		t.Errorf("root %v, died %v: nothing is known of either", site, crash.Died)
	}
	if got := crash.Locations(c, frames, site); len(got) != 0 {
		t.Errorf("locations %v out of nothing", got)
	}
	if got := crash.Told(c, frames, site); len(got) != 1 || got[0].Text != `the process was panicking with "x" when the process died` {
		t.Errorf("reasons are %v", got)
	}
	if crash.Subject() != (evidence.Ref{Kind: evidence.RefDeath}) {
		t.Errorf("subject is %v", crash.Subject())
	}
}

func TestCreation(t *testing.T) {
	crash, c, frames := crashOf(t, twoFrames+"frame id=20 function=main.start file=/src/main.go line=40\n"+
		"death panicking=true goroutine=7\npanic goroutine=7 text=x\ngoroutine id=7 state=running stack=1 created=20 parent=3")
	site, _ := crash.Root()
	want := "it was called by main (main.go:3), and the goroutine was started at start (main.go:40) by goroutine 3"
	if got := crash.CameFrom(c, frames, site); got != want {
		t.Errorf("came from %q, want %q", got, want)
	}
	roles := ""
	for _, l := range crash.Locations(c, frames, site) {
		roles += string(l.Role) + " "
	}
	if roles != "crash caller creator " {
		t.Errorf("roles are %q", roles)
	}
}

func TestSentences(t *testing.T) {
	for in, want := range map[string]string{
		"main.(*Session).Close": "(*Session).Close", "net/http.(*conn).serve": "http.(*conn).serve",
		"github.com/acme/x%2ey.F": "x%2ey.F", "main.Map[...]": "Map[...]",
	} {
		if got := Short(in); got != want {
			t.Errorf("Short(%q) is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"plain.": "plain", "one\ntwo": "one …", "one\n \n": "one", strings.Repeat("ä", 150): strings.Repeat("ä", 100) + " …",
		"x" + strings.Repeat("ä", 150): "x" + strings.Repeat("ä", 99) + " …",
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) is %q, want %q", in, got, want)
		}
	}
	if name, ok := CFunction("main._Cfunc_parse_frame"); !ok || name != "parse_frame" {
		t.Errorf("CFunction gives %q, %v", name, ok)
	}
	if name, ok := CFunction("main.parse"); ok {
		t.Errorf("CFunction takes main.parse for a stub of %q", name)
	}
	if got := Where(evidence.Frame{Function: "main.f"}); got != "f" {
		t.Errorf("Where of a frame without a file is %q", got)
	}
}
