package report_test

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// sample is a Case with findings made by hand, as rules would make them.
type sample struct {
	name string
	make func() *diagnosis.Result
	meta report.Meta
}

func samples() []sample {
	return []sample{
		{"crash", crash, meta()}, {"lockhog", lockHog, meta()}, {"healthy", healthy, meta()}, {"abort", abort, meta()},
		{"partial", partial, meta()}, {"live", live, meta()}, {"cycle", cycle, meta()}, {"hostile", hostile, meta()},
		{"remarks", remarks, meta()}, {"unexplained", unexplained, meta()},
		{"leaked", leaked, meta()}, {"traced", traced, meta()}, {"quiettrace", quiet, meta()}, {"brieftrace", brief, meta()},
		{"hostiletrace", hostileTrace, meta()},
	}
}

func meta() report.Meta {
	return report.Meta{Tool: "postmortem", Version: "0.1.0", Commands: []string{"postmortem core.1234"}, Sources: sources{},
		RuleDocs: func(rule string) *diagnosis.Doc { return pages[rule] }}
}

var pages = map[string]*diagnosis.Doc{
	"lock-hog":  {Title: "A lock is held during slow work while others wait", Fix: "Do the write outside of the critical section."},
	"crash-nil": {Title: "The process died of a nil dereference", Fix: "Check the value before it is used."},
}

// sources has one file.
type sources struct{}

func (sources) SourceLines(file string, line, around int) ([]report.Line, bool) {
	if file != "/src/app/hub/session.go" {
		return nil, false
	}
	var lines []report.Line
	for n := line - around; n <= line+around; n++ {
		text := "\t// line"
		if n == line {
			text = "\ts.conn.close()"
		}
		lines = append(lines, report.Line{Number: n, Text: text})
	}
	return lines, true
}

// newCase opens a Builder with a source and a process.
func newCase() *evidence.Builder {
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: "core.1234", Format: "gocore", Size: 1_048_576, SHA256: strings.Repeat("ab", 32), BuildID: "c0ffee"})
	b.Process(func(p *evidence.Process) {
		*p = evidence.Process{PID: 1234, Language: "go", Version: "go1.26.8", GOOS: "linux", GOARCH: "amd64",
			Executable: "/srv/app/hubd", MainModule: "example.com/app",
			Modules:  []evidence.Module{{Path: "example.org/lib", Version: "v1.2.3"}},
			Settings: []evidence.Setting{{Key: "-ldflags", Value: "-X main.key=SECRET-LDFLAGS"}, {Key: "vcs.revision", Value: "0123abc"}},
			Args:     []string{"hubd", "--password=SECRET-ARG"}, Environ: []string{"HOME", "TOKEN=SECRET-ENV"}}
	})
	b.Scheduler(evidence.Scheduler{GOMAXPROCS: 8, CPUs: 16, GCPhase: "off"})
	return b
}

func frame(b *evidence.Builder, function, file string, line int) evidence.FrameID {
	return b.Frame(evidence.Frame{Function: function, File: file, Line: line, Trust: evidence.TrustUnwound})
}

// parked adds goroutines that wait with one stack, and returns their references.
func parked(b *evidence.Builder, from, n int, reason, function, file string, line int, on uint64) []evidence.Ref {
	stack := b.Stack([]evidence.FrameID{frame(b, "runtime.gopark", "/go/src/runtime/proc.go", 470), frame(b, function, file, line),
		frame(b, "example.com/app/hub.(*Hub).Serve.func1", "/src/app/hub/hub.go", 71)}, evidence.StackNote{})
	created := frame(b, "example.com/app/hub.(*Hub).Serve", "/src/app/hub/hub.go", 70)
	var refs []evidence.Ref
	for i := range n {
		g := evidence.Goroutine{ID: int64(from + i), State: evidence.StateWaiting, Reason: reason, Stack: stack, Created: created, WaitsOn: on}
		if i == 0 && on != 0 {
			g.Seconds = 200
		}
		b.Goroutine(g)
		refs = append(refs, g.Ref())
	}
	return refs
}

func loc(role diagnosis.Role, r evidence.Ref, function, file string, line int) diagnosis.Location {
	return diagnosis.Location{Role: role, Ref: r, Frame: evidence.Frame{Function: function, File: file, Line: line}}
}

func because(text string, refs ...evidence.Ref) diagnosis.Reason {
	return diagnosis.Reason{Text: text, Refs: refs}
}

var silence = []diagnosis.Silence{{Rule: "busy-yield", Why: "no running goroutine is in a loop"}, {Rule: "tiny-io", Why: "no transfer is below 16 bytes"}}
var unchecked = []diagnosis.Silence{{Rule: "gil-hog", Why: "needs python threads; this case has goroutines"}}

func result(c *evidence.Case, findings ...diagnosis.Finding) *diagnosis.Result {
	return &diagnosis.Result{Case: c, Findings: findings, RuledOut: silence, NotChecked: unchecked}
}

var dead = evidence.Ref{Kind: evidence.RefDeath}

func crash() *diagnosis.Result {
	b := newCase()
	stack := b.Stack([]evidence.FrameID{
		frame(b, "example.com/app/hub.(*Session).Close", "/src/app/hub/session.go", 88),
		frame(b, "example.com/app/hub.(*Hub).sweep", "/src/app/hub/hub.go", 140)}, evidence.StackNote{})
	g := evidence.Goroutine{ID: 34, State: evidence.StateRunning, Stack: stack, Flags: evidence.FlagCrashed, Thread: 77}
	b.Goroutine(g)
	parked(b, 35, 3, "select", "example.com/app/hub.(*Hub).loop", "/src/app/hub/hub.go", 60, 0)
	b.Thread(evidence.Thread{TID: 77, Goroutine: 34, Stack: stack, State: "crashed", Signal: 11})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 4, GoroutinesUnwound: 4, ThreadsSeen: 1, ThreadsUnwound: 1})
	b.Death(func(d *evidence.Death) {
		*d = evidence.Death{Signal: 11, SignalName: "SIGSEGV", Code: 1, FaultAddr: 0x18, FaultPC: 0x4a1b2c, HasFault: true, Thread: 77, Goroutine: 34, Panicking: true}
	})
	b.Panic(evidence.Panic{Goroutine: 34, Type: "runtime.errorString", Text: "runtime error: invalid memory address or nil pointer dereference", Runtime: true})
	return result(b.Finish(), diagnosis.Finding{
		Rule: "crash-nil", Class: "crash-nil", Subject: g.Ref(), Claim: "Nil pointer dereference",
		Because: []diagnosis.Reason{
			because("SIGSEGV at address 0x18, inside the first page: a field of a nil pointer", dead),
			because("the panic is the runtime's own for a nil dereference", evidence.Ref{Kind: evidence.RefPanic}),
			because("the innermost frame of the user is (*Session).Close", g.Ref(), evidence.ThreadRef(77))},
		Locations: []diagnosis.Location{
			loc(diagnosis.RoleCrash, g.Ref(), "example.com/app/hub.(*Session).Close", "/src/app/hub/session.go", 88),
			loc(diagnosis.RoleCaller, g.Ref(), "example.com/app/hub.(*Hub).sweep", "/src/app/hub/hub.go", 140)},
		Confidence: diagnosis.Proved, Severity: diagnosis.Critical, Next: []string{"postmortem stacks --ref goroutine:34 core.1234"},
	})
}

func lockHog() *diagnosis.Result {
	const mu = 0xc000012345
	b := newCase()
	victims := parked(b, 100, 125, "sync.Mutex.Lock", "example.com/app/ledger.(*Ledger).Balance", "/src/app/ledger/ledger.go", 60, mu)
	parked(b, 300, 880, "IO wait", "example.com/app/hub.(*Session).read", "/src/app/hub/session.go", 20, 0)
	write := frame(b, "syscall.write", "/go/src/syscall/zsyscall_linux_amd64.go", 964)
	appendTo := frame(b, "example.com/app/ledger.(*Ledger).Append", "/src/app/ledger/ledger.go", 42)
	holder := evidence.Goroutine{ID: 8, State: evidence.StateSyscall, Stack: b.Stack([]evidence.FrameID{write, appendTo}, evidence.StackNote{}), Thread: 12}
	b.Goroutine(holder)
	b.Sync(evidence.Sync{Addr: mu, Kind: evidence.SyncMutex, Where: "heap object of type ledger.Ledger, field mu", Locked: true, Waiters: 125})
	b.Hold(evidence.Hold{Sync: mu, Goroutine: 8, Grade: evidence.HoldPendingUnlock, Frame: appendTo, Depth: 1, Why: "a deferred Unlock of it is pending"})
	b.Transfer(evidence.Transfer{Goroutine: 8, Function: "syscall.write", Write: true, Length: 412, FD: 7})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 1007, GoroutinesUnwound: 1006, ThreadsSeen: 9, ThreadsUnwound: 9, GoroutinesDead: 12})
	b.Gap("stack of goroutine 17", "page 0xc000123000 is not in the core")
	b.Death(func(d *evidence.Death) { *d = evidence.Death{Signal: 6, SignalName: "SIGABRT", Sender: 4711} })
	lock, hold := evidence.SyncRef(mu), evidence.Ref{Kind: evidence.RefHold}
	hog := diagnosis.Finding{
		Rule: "lock-hog", Class: "lock-hog", Subject: holder.Ref(), Victims: victims,
		Claim: "125 goroutines wait for one mutex while its holder writes to a file",
		Because: []diagnosis.Reason{because("the mutex is locked and counts 125 waiters, as many as were found", append([]evidence.Ref{lock}, victims...)...),
			because("goroutine 8 has a deferred Unlock of it pending", hold, holder.Ref()),
			because("goroutine 8 is inside a write of 412 bytes", evidence.Ref{Kind: evidence.RefTransfer})},
		Against: []diagnosis.Reason{because("one moment does not show how long the write has taken")},
		Locations: []diagnosis.Location{loc(diagnosis.RoleHolder, holder.Ref(), "example.com/app/ledger.(*Ledger).Append", "/src/app/ledger/ledger.go", 42),
			loc(diagnosis.RoleWaiter, evidence.Ref{}, "example.com/app/ledger.(*Ledger).Balance", "/src/app/ledger/ledger.go", 60)},
		Confidence: diagnosis.Likely, Severity: diagnosis.Critical, Settle: "an execution trace, which shows how long the lock is held",
		Next: []string{"postmortem stacks --ref goroutine:8 core.1234"},
	}
	return result(b.Finish(), hog, remark())
}

func remark() diagnosis.Finding {
	return diagnosis.Finding{Rule: "gc-pressure", Class: "gc-pressure", Claim: "No memory limit is set", Severity: diagnosis.Info, Confidence: diagnosis.Proved,
		Because: []diagnosis.Reason{because("GOMEMLIMIT is not set", evidence.Ref{Kind: evidence.RefScheduler})}, Fix: "Set GOMEMLIMIT."}
}

func idle() *evidence.Builder {
	b := newCase()
	parked(b, 1, 40, "IO wait", "example.com/app/hub.(*Session).read", "/src/app/hub/session.go", 20, 0)
	b.Coverage(evidence.Coverage{GoroutinesSeen: 40, GoroutinesUnwound: 40, ThreadsSeen: 6, ThreadsUnwound: 6})
	return b
}

func healthy() *diagnosis.Result { return result(idle().Finish()) }

func remarks() *diagnosis.Result { return result(idle().Finish(), remark()) }

func abort() *diagnosis.Result {
	b := idle()
	b.Death(func(d *evidence.Death) { *d = evidence.Death{Signal: 6, SignalName: "SIGABRT", Sender: 4711} })
	return result(b.Finish())
}

func live() *diagnosis.Result {
	b := idle()
	b.Process(func(p *evidence.Process) { p.UptimeNS = 7_384_000_000_000 })
	b.Heap(evidence.Heap{Live: 3 << 20, Goal: 4 << 20, Cycles: 12, LastGCNS: 1_500_000_000})
	b.Death(func(d *evidence.Death) { d.Live = true })
	return result(b.Finish())
}

func unexplained() *diagnosis.Result {
	b := idle()
	b.Death(func(d *evidence.Death) {
		*d = evidence.Death{Signal: 6, SignalName: "SIGABRT", Code: -6, Throwing: true}
	})
	return result(b.Finish())
}

func partial() *diagnosis.Result {
	b := newCase()
	parked(b, 1, 210, "chan receive", "example.com/app/hub.(*Hub).loop", "/src/app/hub/hub.go", 60, 0)
	b.Goroutine(evidence.Goroutine{ID: 999, State: evidence.StateWaiting, Stack: b.Stack(nil, evidence.StackNote{Broken: "page 0xc000200000 is not in the core"})})
	b.Coverage(evidence.Coverage{GoroutinesSeen: 1017, GoroutinesUnwound: 210, ThreadsSeen: 9, ThreadsUnwound: 2})
	b.Gap("memory of the core", "the file is truncated: 1,048,576 of 52,428,800 bytes")
	for i := range 6 {
		b.Gapf(fmt.Sprintf("stack of goroutine %d", 800+i), "page 0xc0002%02d000 is not in the core", i)
	}
	return result(b.Finish())
}

func cycle() *diagnosis.Result {
	const muA, muB = 0xc000010000, 0xc000020000
	b := newCase()
	for _, side := range []struct {
		id          int64
		function    string
		line        int
		waits, hold uint64
	}{{21, "example.com/app/bank.(*Account).Pay", 30, muB, muA}, {22, "example.com/app/bank.(*Account).Refund", 50, muA, muB}} {
		at := frame(b, side.function, "/src/app/bank/account.go", side.line)
		lock := frame(b, "sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
		b.Goroutine(evidence.Goroutine{ID: side.id, State: evidence.StateWaiting, Reason: "sync.Mutex.Lock",
			Stack: b.Stack([]evidence.FrameID{lock, at}, evidence.StackNote{}), WaitsOn: side.waits})
		b.Sync(evidence.Sync{Addr: side.hold, Kind: evidence.SyncMutex, Locked: true, Waiters: 1})
		b.Hold(evidence.Hold{Sync: side.hold, Goroutine: side.id, Grade: evidence.HoldUnique, Frame: at, Depth: 1, Why: "it passed a Lock and no Unlock"})
	}
	b.Coverage(evidence.Coverage{GoroutinesSeen: 2, GoroutinesUnwound: 2})
	a, z := evidence.GoroutineRef(21), evidence.GoroutineRef(22)
	return result(b.Finish(), diagnosis.Finding{
		Rule: "deadlock-lock", Class: "deadlock-lock", Subject: a, Victims: []evidence.Ref{a, z},
		Claim:      "goroutines 21 and 22 each hold the mutex that the other waits for",
		Because:    []diagnosis.Reason{because("goroutine 21 holds one and waits for the other", a, evidence.Ref{Kind: evidence.RefHold}), because("goroutine 22 the reverse", z, evidence.Ref{Kind: evidence.RefHold, ID: 1})},
		Locations:  []diagnosis.Location{loc(diagnosis.RoleLock, a, "example.com/app/bank.(*Account).Pay", "/src/app/bank/account.go", 30), loc(diagnosis.RoleLock, z, "example.com/app/bank.(*Account).Refund", "/src/app/bank/account.go", 50)},
		Confidence: diagnosis.Possible, Severity: diagnosis.Critical, Fix: "Lock the accounts in one order."})
}

// evil is a text that tries to break out of every syntax.
const evil = "\x1b[2J\x1b]0;owned\x07 | pipe ` tick ``` fence\n# heading\r\n</details><script>alert(1)</script> @team " +
	"[x](https://evil.example) <!-- \u202e \u009b31m \xff www.evil.example \\| $x$ ~~s~~ &lt;"

func hostile() *diagnosis.Result {
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: "core '" + evil, Format: "gocore"})
	b.Process(func(p *evidence.Process) { p.Executable, p.Version = evil, evil })
	at := frame(b, "main."+evil, evil, 3)
	stack := b.Stack([]evidence.FrameID{at}, evidence.StackNote{Broken: evil})
	const mu = 0xc000000010
	g := evidence.Goroutine{ID: 1, State: evidence.StateWaiting, Reason: evil, Stack: stack, Created: at, WaitsOn: mu}
	b.Goroutine(g)
	b.Sync(evidence.Sync{Addr: mu, Kind: evidence.SyncMutex, Where: evil, Locked: true, Waiters: 1})
	b.Panic(evidence.Panic{Goroutine: 1, Type: evil, Text: evil})
	b.Death(func(d *evidence.Death) { d.Fatal, d.SignalName = evil, evil })
	b.Coverage(evidence.Coverage{GoroutinesSeen: 1, GoroutinesUnwound: 1})
	b.Gap(evil, evil)
	res := result(b.Finish(), diagnosis.Finding{
		Rule: "crash-panic", Class: "crash-panic", Subject: g.Ref(), Victims: []evidence.Ref{g.Ref()}, Claim: "panic: " + evil,
		Because:   []diagnosis.Reason{because(evil, evidence.Ref{Kind: evidence.RefPanic}, evidence.SyncRef(mu))},
		Against:   []diagnosis.Reason{because(evil)},
		Locations: []diagnosis.Location{loc(diagnosis.RoleCrash, g.Ref(), "main."+evil, evil, 3)},
		Fix:       evil, Settle: evil, Next: []string{evil}, Confidence: diagnosis.Proved, Severity: diagnosis.Critical})
	res.RuledOut = []diagnosis.Silence{{Rule: evil, Why: evil}}
	return res
}
