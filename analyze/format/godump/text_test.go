package godump

import (
	"reflect"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestIsHeader(t *testing.T) {
	for line, want := range map[string]bool{
		"goroutine 1 [running]:":                                  true,
		"goroutine 7 gp=0xc000 m=nil [chan receive]:":             true,
		"goroutine 7 gp=0xc000 m=3 mp=0xc1 [syscall, 2 minutes]:": true,
		"goroutine 12 [select labels:{\"a\": \"b]:\"}]:":          true,
		"goroutine 1 []:":                                         true,
		"goroutine [running]:":                                    false,
		"goroutine 1 [running]":                                   false,
		"goroutine 1 finished [ok]:":                              false,
		"goroutine 1":                                             false,
		"goroutine x [running]:":                                  false,
		" goroutine 1 [running]:":                                 false,
		"goroutine profile: total 7":                              false,
		"":                                                        false,
	} {
		if got := isHeader([]byte(line)); got != want {
			t.Errorf("isHeader(%q) = %v", line, got)
		}
	}
}

func TestHeaderRead(t *testing.T) {
	var r headerReader
	h, ok := r.read([]byte("goroutine 34 gp=0xc000007c00 m=2 mp=0xc000060008 [chan send, 5 minutes, locked to thread]:"))
	want := header{id: 34, gp: 0xc000007c00, mp: 0xc000060008, m: 2, detailed: true, status: status{
		text: "chan send", state: evidence.StateWaiting, reason: "chan send", minutes: 5, flags: evidence.FlagLocked}}
	if !ok || h != want {
		t.Errorf("read gave %+v, want %+v", h, want)
	}
	if _, ok := r.read([]byte("goroutine 99999999999999999999 [running]:")); ok {
		t.Error("an id of more than 63 bits was taken")
	}
}

func TestStatus(t *testing.T) {
	for text, want := range map[string]status{
		"running":                 {text: "running", state: evidence.StateRunning},
		"running (scan)":          {text: "running (scan)", state: evidence.StateRunning},
		"syscall, 3 minutes":      {text: "syscall", state: evidence.StateSyscall, minutes: 3},
		"???":                     {text: "???"},
		"preempted":               {text: "preempted", state: evidence.StatePreempted},
		"chan receive (nil chan)": {text: "chan receive (nil chan)", state: evidence.StateWaiting, reason: "chan receive (nil chan)"},
		"chan receive (leaked)":   {text: "chan receive (leaked)", state: evidence.StateLeaked, reason: "chan receive"},
		"chan receive (durable), synctest bubble 9": {text: "chan receive (durable)", state: evidence.StateWaiting,
			reason: "chan receive (durable)", flags: evidence.FlagBubble, bubble: 9},
		"sleep (durable), synctest bubble 9": {text: "sleep (durable)", state: evidence.StateWaiting, reason: "sleep",
			flags: evidence.FlagBubble, bubble: 9},
		"select, synctest group 4": {text: "select", state: evidence.StateWaiting, reason: "select", flags: evidence.FlagBubble, bubble: 4},
		`select, 1 minutes labels:{"a, b": "c"}`: {text: "select", state: evidence.StateWaiting, reason: "select", minutes: 1,
			labels: `{"a, b": "c"}`},
		"select, -4 minutes":                {text: "select", state: evidence.StateWaiting, reason: "select"},
		"select, 99999999999999999 minutes": {text: "select", state: evidence.StateWaiting, reason: "select"},
		"":                                  {state: evidence.StateWaiting},
	} {
		if got := parseStatus(text); got != want {
			t.Errorf("parseStatus(%q) = %+v, want %+v", text, got, want)
		}
	}
	s := status{minutes: 1<<31 - 1}
	if got := s.seconds(); got != 1<<32-1 {
		t.Errorf("seconds of a long wait = %d: it must not wrap", got)
	}
}

func TestSplitFunction(t *testing.T) {
	for _, test := range []struct {
		line, name, args string
		ok               bool
	}{
		{"main.main()", "main.main", "", true},
		{"main.(*T).Do(0x1, {0x2, 0x3})", "main.(*T).Do", "0x1, {0x2, 0x3}", true},
		{"main.(*G[...]).get(...)", "main.(*G[...]).get", "...", true},
		{"main.Map[...].func1({...})", "main.Map[...].func1", "{...}", true},
		{"a.b/c%2ed.F(_, 0x1?)", "a.b/c%2ed.F", "_, 0x1?", true},
		{"panic({0x1?, 0x2})", "panic", "{0x1?, 0x2}", true},
		{"go.(*struct { sync.Mutex; n int }).Lock(0x1)", "go.(*struct { sync.Mutex; n int }).Lock", "0x1", true},
		{"main.f(x)", "", "", false},
		{"request took 3 ms (ok)", "", "", false},
		{"served a.b (0x1)", "", "", false},
		{"done()", "", "", false},
		{"main.f(0x1", "", "", false},
		{"()", "", "", false},
	} {
		name, args, ok := splitFunction([]byte(test.line))
		if string(name) != test.name || string(args) != test.args || ok != test.ok {
			t.Errorf("splitFunction(%q) = %q, %q, %v", test.line, name, args, ok)
		}
	}
}

func TestEntry(t *testing.T) {
	for _, test := range []struct {
		text   string
		pc     string
		want   evidence.Frame
		offset uint64
		fault  bool
	}{
		{text: "main.f\n\t/a b/c:d.go:12 +0x1f", want: evidence.Frame{Function: "main.f", File: "/a b/c:d.go", Line: 12}, offset: 0x1f},
		{text: "main.f\n\tf.go:1 +0x2", pc: "0x4010", want: evidence.Frame{Function: "main.f", File: "f.go", Line: 1, PC: 0x4010}, offset: 2},
		{text: "main.f(...)\n\tf.go:3", want: evidence.Frame{Function: "main.f", File: "f.go", Line: 3, Inlined: true}},
		{text: "panic\n\tpanic.go:3 +0x1", want: evidence.Frame{Function: "runtime.gopanic", File: "panic.go", Line: 3}, offset: 1},
		{text: "f\n\tx.c:7 pc=0x40", want: evidence.Frame{Function: "f", File: "x.c", Line: 7, PC: 0x40, Language: evidence.LanguageC}},
		{text: "non-Go function\npc=0x41", want: evidence.Frame{Function: "non-Go function", PC: 0x41, Language: evidence.LanguageC}},
		{text: "main.f\n\tf.go:many +0x1", want: evidence.Frame{Function: "main.f", File: "f.go:many"}, offset: 1, fault: true},
		{text: "main.f\n\t", want: evidence.Frame{Function: "main.f"}, fault: true},
		{text: "main.f\n\tf.go:99999999999 +0x1", want: evidence.Frame{Function: "main.f", File: "f.go:99999999999"}, offset: 1, fault: true},
	} {
		e := newEntry(test.text, []byte(test.pc))
		if e.frame != test.want || e.offset != test.offset || (e.fault != "") != test.fault {
			t.Errorf("newEntry(%q) = %+v, want %+v", test.text, e, test.want)
		}
	}
}

func TestSplitLocation(t *testing.T) {
	location, pc := splitLocation([]byte("\t/x.go:1 +0x2 fp=0x3 sp=0x4 pc=0x5"))
	if string(location) != "\t/x.go:1 +0x2" || string(pc) != "0x5" {
		t.Errorf("splitLocation = %q, %q", location, pc)
	}
	location, pc = splitLocation([]byte("\t/x.go:1"))
	if string(location) != "\t/x.go:1" || pc != nil {
		t.Errorf("splitLocation without addresses = %q, %q", location, pc)
	}
}

func TestArguments(t *testing.T) {
	got := arguments([]byte("0x1, {0x2?, _, 0x0}, {...}, 0xffffffffffffffff, ..."), make([]argument, 0, maxArgs))
	want := []argument{{1, true}, {0, false}, {0, false}, {0, true}, {0, false}, {1<<64 - 1, true}, {0, false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("arguments = %v, want %v", got, want)
	}
	many := arguments([]byte(strings.Repeat("0x1, ", 100)), make([]argument, 0, maxArgs))
	if len(many) != maxArgs {
		t.Errorf("%d arguments were kept of 100", len(many))
	}
}

// TestStale holds the reader to the rule that a stale argument is never believed.
func TestStale(t *testing.T) {
	for name, text := range map[string]string{
		"lock":   "sync.(*Mutex).lockSlow(0xc000012345?)",
		"sema":   "runtime.semacquire1(0xc000012345?, 0x0)",
		"length": "syscall.read(0x3, {0xc000012345, 0x1?, 0x1})",
		"cut":    "internal/poll.(*FD).Read(0xc000012345, {0xc0, ...})",
		"nil":    "runtime.chanrecv(0x0, 0x0, 0x1)",
	} {
		t.Run(name, func(t *testing.T) {
			c := mustRead(t, "goroutine 1 [IO wait]:\n"+text+"\n\tx.go:1 +0x1\nsync.runtime_SemacquireMutex(0x1?)\n\tx.go:2 +0x1\n\n")
			if g := c.Goroutines().At(0); g.WaitsOn != 0 || len(c.Transfers) != 0 {
				t.Errorf("waits on %#x, transfers %v", g.WaitsOn, c.Transfers)
			}
		})
	}
}

func TestReadValue(t *testing.T) {
	for text, want := range map[string]evidence.Panic{
		"boom":                       {Text: "boom"},
		"boom [recovered]":           {Text: "boom", Recovered: true},
		"4":                          {Text: "4"},
		"main.E(4.5e+00)":            {Text: "main.E(4.5e+00)", Type: "main.E"},
		"main.C(+1.0e+00-2.0e+00i)":  {Text: "main.C(+1.0e+00-2.0e+00i)", Type: "main.C"},
		"(main.T) 0xc000":            {Text: "(main.T) 0xc000", Type: "main.T"},
		"(*errors.errorString) 0xc0": {Text: "(*errors.errorString) 0xc0", Type: "*errors.errorString"},
		"main.E{a:1}":                {Text: "main.E{a:1}", Type: "main.E"},
		"&main.E{a:1}":               {Text: "&main.E{a:1}", Type: "*main.E"},
		"open (x.y) failed":          {Text: "open (x.y) failed"},
		"strconv.Atoi(abc)":          {Text: "strconv.Atoi(abc)"},
		"send on closed channel":     {Text: "send on closed channel", Type: "runtime.plainError", Runtime: true},
		"value method main.T.F called using nil *T pointer": {Text: "value method main.T.F called using nil *T pointer",
			Type: "runtime.plainError", Runtime: true},
		"interface conversion: done":    {Text: "interface conversion: done"},
		"first [recovered, repanicked]": {Text: "first", Recovered: true},
		"":                              {},
	} {
		if got := readValue(text); !reflect.DeepEqual(got, want) {
			t.Errorf("readValue(%q) = %+v, want %+v", text, got, want)
		}
	}
}

func TestReadDeath(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want evidence.Death
	}{
		"unnamed signal": {"[signal 0x2f code=0x1 addr=0x2 pc=0x3]",
			evidence.Death{Signal: 0x2f, Code: 1, FaultAddr: 2, FaultPC: 3, HasFault: true}},
		"fault": {"unexpected fault address 0x1234\nfatal error: fault\n[signal SIGBUS: bus error code=0x2 addr=0x1234 pc=0x4]",
			evidence.Death{Signal: 7, SignalName: "SIGBUS", Code: 2, FaultAddr: 0x1234, FaultPC: 4, HasFault: true, Fatal: "fault",
				Throwing: true, Detail: "unexpected fault address 0x1234"}},
		"during runtime": {"fatal error: unexpected signal during runtime execution\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x8 pc=0x4]",
			evidence.Death{Signal: 11, SignalName: "SIGSEGV", Code: 1, FaultAddr: 8, FaultPC: 4, HasFault: true, Throwing: true,
				Fatal: "unexpected signal during runtime execution"}},
		"tgkill":      {"SIGABRT: abort\nPC=0x7 m=0 sigcode=18446744073709551610", evidence.Death{Signal: 6, SignalName: "SIGABRT", Code: -6, FaultPC: 7}},
		"bad numbers": {"PC=0xzz m=q sigcode=-", evidence.Death{}},
	} {
		p := preamble{text: strings.Split(test.text, "\n")}
		if got := readDeath(&p); got.Death != test.want {
			t.Errorf("%s: %+v, want %+v", name, got.Death, test.want)
		}
	}
}

func TestBlame(t *testing.T) {
	const block = "goroutine 5 [running]:\nmain.main()\n\tx.go:1 +0x1\n\n"
	for announcement, want := range map[string]int64{
		"panic: a\n\n": 5,
		"SIGSEGV: segmentation violation\nPC=0x1 m=0 sigcode=1 addr=0x0\n\n": 5,
		"SIGSEGV: segmentation violation\nPC=0x1 m=0 sigcode=0 addr=0x0\n\n": 0, // somebody's kill
		"SIGABRT: abort\nPC=0x1 m=0 sigcode=18446744073709551610\n\n":        5,
		"SIGQUIT: quit\nPC=0x1 m=0 sigcode=18446744073709551610\n\n":         0, // asks for a dump
		"": 0,
	} {
		c := mustRead(t, announcement+block)
		var got int64
		if c.Death != nil {
			got = c.Death.Goroutine
		}
		if got != want || c.Goroutines().At(0).Flags.Has(evidence.FlagCrashed) != (want != 0) {
			t.Errorf("after %q goroutine %d is blamed, want %d", announcement, got, want)
		}
	}
}

func TestRegister(t *testing.T) {
	for line, want := range map[string]bool{
		"rax    0x0": true, "rflags 0x202": true, "r8     0xffffffffffffffff": true, "lr      0x1": true,
		"main.f(0x1)": false, "error: 0x1": false, "x 0x1": false, "rax    7": false, "retry  at 0x1 (x)": false,
	} {
		if got := isRegister([]byte(line)); got != want {
			t.Errorf("isRegister(%q) = %v", line, got)
		}
	}
}

// TestAssembly reads the frames of static assembly, which has no package, in both forms of a traceback. Anything else without a package is
// the name of a C function, or damage.
func TestAssembly(t *testing.T) {
	const file = "/usr/local/go/src/runtime/asm_amd64.s:451"
	for _, test := range []struct {
		lines, want string
		fault       bool
	}{
		{"gogo()\n\t" + file + " +0x2d fp=0xc000051fe0 sp=0xc000051fd8 pc=0x47a0ed", "gogo", false},
		{"gogo()\n\t" + file + " +0x2d", "gogo", false},
		{"do_work\n\t/src/work.c:7 pc=0x40", "do_work", false},
		{"main work(0x1)\n\t/src/work.go:7 +0x1", "main work", true},
	} {
		var got *Block
		text := "goroutine 22 [running]:\n" + test.lines + "\nmain.loop()\n\t/src/main.go:12 +0x1d\n\n"
		if err := Parse(strings.NewReader(text), func(b *Block) error { got = b; return nil }); err != nil {
			t.Fatal(err)
		}
		if got == nil || len(got.Frames) != 2 || got.Frames[0].Function != test.want || got.Frames[1].Function != "main.loop" {
			t.Fatalf("%s: %+v", test.lines, got)
		}
		if c := mustRead(t, text); hasGap(c, "the function of a frame could not be read") != test.fault {
			t.Errorf("%s: gaps %v", test.lines, c.Gaps)
		}
	}
}
