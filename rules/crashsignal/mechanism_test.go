package crashsignal

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func caseOf(d evidence.Death) *evidence.Case {
	b := evidence.NewBuilder()
	b.Death(func(to *evidence.Death) { *to = d })
	return b.Finish()
}

func TestMechanism(t *testing.T) {
	tests := []struct {
		name         string
		death        evidence.Death
		crash        derive.Crash
		short, fix   string
		settle, seen string
	}{
		{"not mapped", evidence.Death{Signal: sigSEGV, Code: codeNotMapped, FaultAddr: 0xdead000, HasFault: true}, derive.Crash{Signal: sigSEGV},
			"nothing is mapped at address 0xdead000", "unsafe.Pointer", "", "SIGSEGV with code 1 at address 0xdead000"},
		{"read-only", evidence.Death{Signal: sigSEGV, Code: codeForbidden, FaultAddr: 0x40, HasFault: true, FaultPC: 0x99}, derive.Crash{Signal: sigSEGV},
			"address 0x40 may not be used so", "read-only", "", "executing 0x99"},
		{"read-only, address unknown", evidence.Death{Signal: sigSEGV, Code: codeForbidden}, derive.Crash{Signal: sigSEGV}, "the address may not be used so", "", "", ""},
		{"non-canonical", evidence.Death{Signal: sigSEGV, Code: codeKernel}, derive.Crash{Signal: sigSEGV}, "could ever map", "data was taken for a pointer", "", "code 128"},
		{"fatal fault", evidence.Death{Signal: sigABRT, Fatal: "fault", FaultAddr: 0x7f00, HasFault: true}, derive.Crash{Signal: sigSEGV},
			"it touched address 0x7f00", "", "", `fatal error "fault"`},
		{"nothing known", evidence.Death{Fatal: "fault"}, derive.Crash{Signal: sigSEGV}, "", "computed wrongly", "", ""},
		{"bus", evidence.Death{Signal: sigBUS, Code: 2}, derive.Crash{Signal: sigBUS}, "the file ends before it", "never cut a file", "", ""},
		{"seccomp", evidence.Death{Signal: sigSYS, Code: 1}, derive.Crash{Signal: sigSYS}, "seccomp", "", "", ""},
		{"instruction", evidence.Death{Signal: sigILL, Code: 2}, derive.Crash{Signal: sigILL}, "the processor does not have", "GOAMD64", "", ""},
		{"trap", evidence.Death{Signal: sigTRAP, Code: 128}, derive.Crash{Signal: sigTRAP}, "trap", "", "", ""},
		{"division in C", evidence.Death{Signal: sigFPE, Code: 1, Detail: "signal arrived during cgo execution"}, derive.Crash{Signal: sigFPE},
			"division by zero in C", "", "a core shows the C function", ""},
		{"C in a text", evidence.Death{Signal: sigSEGV, Code: 1}, derive.Crash{Signal: sigSEGV, Goroutine: evidence.Goroutine{Flags: evidence.FlagCgo}},
			"", "Look at the C function", "a core shows the C function", ""},
		{"runtime", evidence.Death{Signal: sigSEGV, Code: 1, Fatal: "unexpected signal during runtime execution"}, derive.Crash{Signal: sigSEGV},
			"", "", "overwrote them", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mechanismOf(caseOf(tt.death), &tt.crash)
			for _, part := range []struct{ what, have, want string }{{"short", m.short, tt.short}, {"fix", m.fix, tt.fix},
				{"settle", m.settle, tt.settle}, {"seen", m.seen, tt.seen}} {
				if !strings.Contains(part.have, part.want) {
					t.Errorf("%s is %q, want %q in it", part.what, part.have, part.want)
				}
			}
			if tt.settle == "" && m.settle != "" {
				t.Errorf("nothing is open, yet it wants to settle %q", m.settle)
			}
		})
	}
}

// TestEveryFaultIsExplained holds the words against the signals that the classification lets through.
func TestEveryFaultIsExplained(t *testing.T) {
	for _, signal := range []int{sigILL, sigTRAP, sigBUS, sigFPE, sigSEGV, sigSYS, sigABRT} {
		m := mechanismOf(caseOf(evidence.Death{Signal: signal, Code: 1, HasFault: true, FaultAddr: 0x5000}), &derive.Crash{Signal: signal})
		if m.short == "" || m.fix == "" || m.seen == "" {
			t.Errorf("%s has no words: %+v", derive.SignalName(signal), m)
		}
		if strings.HasPrefix(derive.SignalName(signal), "signal ") {
			t.Errorf("signal %d has no name", signal)
		}
	}
}

// TestThreadWithoutGoroutine: a thread that C created has no goroutine, and the finding is about the thread.
func TestThreadWithoutGoroutine(t *testing.T) {
	b := evidence.NewBuilder()
	b.Death(func(d *evidence.Death) {
		*d = evidence.Death{Signal: sigSEGV, Code: 1, Thread: 9, HasFault: true, FaultAddr: 0x9000}
	})
	worker := b.Frame(evidence.Frame{Function: "worker", Language: evidence.LanguageC, Module: "libvideo.so"})
	b.Thread(evidence.Thread{TID: 9, Stack: b.Stack([]evidence.FrameID{worker}, evidence.StackNote{})})
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.Findings) != 1 {
		t.Fatalf("findings are %v, %v", res, err)
	}
	f := res.Findings[0]
	if want := "the process died of SIGSEGV in the C function worker: nothing is mapped at address 0x9000"; f.Claim != want {
		t.Errorf("the claim is %q, want %q", f.Claim, want)
	}
	if f.Subject != evidence.ThreadRef(9) {
		t.Errorf("the subject is %s", f.Subject)
	}
	if at, ok := f.Location(); !ok || at.Function != "worker" {
		t.Errorf("the location is %+v", at)
	}
}
