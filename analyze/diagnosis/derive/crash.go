package derive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// The classes of crashes, as in diagnosis.Classes.
const (
	CrashNil      = "crash-nil"
	CrashPanic    = "crash-panic"
	CrashFatal    = "crash-fatal"
	CrashOverflow = "crash-stack-overflow"
	CrashMemory   = "crash-oom"
	CrashSignal   = "crash-signal"
)

// Crash says of what a process died. Exactly one class fits a crash, so that the rules of the crash classes cannot accuse
// twice.
type Crash struct {
	Class string // empty when the process did not die of its own doing
	Why   string // when Class is empty: what happened instead

	Died      bool               // Goroutine and Stack are known
	Goroutine evidence.Goroutine // on which the process died
	Stack     evidence.Stack     // of that goroutine
	Thread    *evidence.Thread   // that died; nil when unknown

	// Chain are the panics in flight on the goroutine as indexes in Case.Panics, the newest first and the root cause last.
	Chain []int
	// Sites are where panics were raised, the newest first; of a fatal error or a fault, its one place.
	Sites []CrashSite

	Signal int    // the signal of the fault; 0 when there was none
	Native *Place // the C function that faulted or gave up; nil when there is none
}

// Place is a frame of a stack.
type Place struct {
	Index int
	Frame evidence.Frame
}

// OfCrash is the derivation of Crash.
var OfCrash = &diagnosis.Derivation[*Crash]{
	Name: "crash",
	Uses: []diagnosis.Dependency{OfFrames},
	Run: func(p *diagnosis.Pass) (*Crash, error) {
		frames, err := diagnosis.Of(p, OfFrames)
		if err != nil {
			return nil, err
		}
		return classify(p.Case, frames), nil
	},
}

// classify decides by what the runtime itself recorded, and only then by the signal: under GOTRACEBACK=crash the runtime ends
// every crash with a SIGABRT of its own, which says nothing.
func classify(c *evidence.Case, frames *Frames) *Crash {
	k := &Crash{Why: "the evidence does not say that the process died"}
	switch {
	case c.Death == nil:
		return k
	case c.Death.Live:
		k.Why = "the evidence was taken from a living process"
		return k
	}
	k.find(c)
	k.Sites = frames.sites(k.Stack)
	switch {
	case k.fatal(c) != "":
		k.Class = classOfFatal(k.fatal(c))
		k.atThrow(frames)
	case k.panicking(c) && len(k.Sites)+len(k.Chain) > 0:
		k.Class = k.classOfPanic(c)
	default:
		k.bySignal(c)
		k.Sites = nil
	}
	if k.Class == CrashSignal {
		k.atFault(c, frames)
	}
	return k
}

// find fills in the goroutine and the thread the process died on, and the panics of that goroutine.
func (k *Crash) find(c *evidence.Case) {
	for i := range c.Threads {
		if c.Threads[i].TID == c.Death.Thread && c.Death.Thread != 0 {
			k.Thread = &c.Threads[i]
		}
	}
	k.findGoroutine(c)
	for i, p := range c.Panics {
		if !p.Goexit && (p.Goroutine == 0 || !k.Died || p.Goroutine == k.Goroutine.ID) {
			k.Chain = append(k.Chain, i)
		}
	}
	if k.Died {
		k.Stack = c.Stack(k.Goroutine.Stack)
	}
}

// findGoroutine takes the goroutine that a reader named, and else the one that a reader marked.
func (k *Crash) findGoroutine(c *evidence.Case) {
	if k.Goroutine, k.Died = c.Goroutines().ByID(c.Death.Goroutine); k.Died {
		return
	}
	marks := []evidence.Flags{evidence.FlagCrashed, evidence.FlagDying}
	if !fromCore(c) {
		marks = append(marks, evidence.FlagSignal) // in a printed dump, the one goroutine that the signal interrupted
	}
	for _, flag := range marks {
		for _, g := range c.Groups() {
			if !g.AnyFlag.Has(flag) {
				continue
			}
			for row := range c.Members(g) {
				if k.Goroutine = c.Goroutines().At(row); k.Goroutine.Flags.Has(flag) {
					k.Died = true
					return
				}
			}
		}
	}
	k.Goroutine = evidence.Goroutine{}
}

// throwers are the runtime's own ways to die, and the names under which other packages call them (go:linkname in
// runtime/panic.go, Go 1.21 to 1.26).
var throwers = setOf("runtime.throw", "runtime.fatal", "runtime.fatalthrow", "sync.throw", "sync.fatal",
	"internal/sync.throw", "internal/sync.fatal", "internal/runtime/maps.fatal", "maps.fatal", "rand.fatal")

// fatal is the text of the fatal error of which the process died; empty when it did not die of one. Where the text could not
// be read, the frames of the thread or goroutine still tell that there was one.
func (k *Crash) fatal(c *evidence.Case) string {
	if c.Death.Fatal != "" {
		return c.Death.Fatal
	}
	stacks := []evidence.Stack{k.Stack}
	if k.Thread != nil {
		stacks = append(stacks, c.Stack(k.Thread.Stack))
	}
	for _, s := range stacks {
		for _, f := range s.All() {
			if throwers[f.Function] {
				return unreadText
			}
			if !strings.HasPrefix(f.Function, "runtime.") {
				break // the runtime's frames stand innermost
			}
		}
	}
	return ""
}

// unreadText stands for a fatal error whose text is not in the evidence.
const unreadText = "(its text is not in the evidence)"

// Fatal is the text of the runtime's fatal error.
func (k *Crash) Fatal(c *evidence.Case) string { return k.fatal(c) }

// fatalClasses tells the runtime's fatal errors apart by parts of their text; the first that matches counts. The texts are those
// of throw and fatal in Go 1.21 to 1.26: stack.go, mem_linux.go, mheap.go, mcache.go, malloc.go, mpagealloc_64bit.go,
// signal_unix.go.
var fatalClasses = []struct{ part, class string }{
	{"stack overflow", CrashOverflow},
	{"stack exceeds", CrashOverflow},
	{"out of memory", CrashMemory},
	{"cannot allocate memory", CrashMemory},
	{"failed to reserve page summary memory", CrashMemory},
	{"memory reservation exceeds address space limit", CrashMemory},
	{"failed to allocate aligned heap memory", CrashMemory},
	{"unexpected signal during runtime execution", CrashSignal},
	{"unexpected fault address", CrashSignal},
	{"unexpected signal value", CrashSignal},
}

func classOfFatal(text string) string {
	if text == "fault" || strings.HasPrefix(text, "fault\n") {
		return CrashSignal
	}
	if strings.Contains(text, "split stack overflow") { // the runtime's own stack, not the program's
		return CrashFatal
	}
	for _, f := range fatalClasses {
		if strings.Contains(text, f.part) {
			return f.class
		}
	}
	return CrashFatal
}

// panicking reports whether the process died of a panic. A panic in flight is not enough: a goroutine may have been running
// its deferred functions when the process was killed for another reason. Nor is it enough that the runtime was printing a
// crash: it does so for a SIGABRT from outside as well (sighandler in runtime/signal_unix.go calls startpanic_m). Where the
// reader does not say, what tells them apart is whether the goroutine still was in the panic itself; a core shows that frame.
func (k *Crash) panicking(c *evidence.Case) bool {
	if c.Death.Panicking {
		return true
	}
	if fromCore(c) && len(k.Sites) > 0 && k.Sites[0].Raise < 0 {
		return false
	}
	if k.Goroutine.Flags.Has(evidence.FlagDying) {
		return true
	}
	if _, printing := Has(k.Stack, "runtime.fatalpanic"); printing {
		return true
	}
	crashed := c.Death.Signal == 0 && k.Goroutine.Flags.Has(evidence.FlagCrashed)
	return crashed && len(k.Chain) > 0 && !c.Panics[k.Chain[0]].Recovered
}

// fromCore reports whether the threads of the process were read: a core has them all, a printed dump at most the stack of one
// without its number.
func fromCore(c *evidence.Case) bool {
	return slices.ContainsFunc(c.Threads, func(t evidence.Thread) bool { return t.TID != 0 })
}

// NilText is what the runtime says of a nil dereference (runtime/panic.go, memoryError).
const NilText = "runtime error: invalid memory address or nil pointer dereference"

// nilPage is the size of the page at address 0 whose faults the runtime calls nil dereferences (sigpanic in
// runtime/signal_unix.go, Go 1.21 to 1.26: sigcode1 < 0x1000).
const nilPage = 0x1000

func (k *Crash) classOfPanic(c *evidence.Case) string {
	text, known := k.RootText(c)
	switch {
	case known && strings.HasPrefix(text, NilText), !known && k.raisedBy("runtime.panicmem"):
		if c.Death.HasFault && c.Death.FaultAddr >= nilPage && !k.raisedBy("runtime.panicmem") {
			return CrashSignal // debug.SetPanicOnFault turns any bad address into a panic of this text
		}
		return CrashNil
	case !known && k.raisedBy("runtime.panicmemAddr"):
		return CrashSignal
	case IsNilReceiver(text):
		return CrashNil
	}
	return CrashPanic
}

// IsNilReceiver recognises the runtime's panic for a value method called through a nil pointer (runtime/error.go, panicwrap).
func IsNilReceiver(text string) bool {
	return strings.HasPrefix(text, "value method ") && strings.Contains(text, " called using nil ")
}

// RootText is the text of the oldest panic of the chain, the root cause; ok is false when no text is known.
func (k *Crash) RootText(c *evidence.Case) (text string, ok bool) {
	if len(k.Chain) == 0 {
		return "", false
	}
	text = c.Panics[k.Chain[len(k.Chain)-1]].Text
	return text, text != ""
}

// raisedBy reports whether this function stands between the place where the root panic was raised and the panic itself.
func (k *Crash) raisedBy(function string) bool {
	if len(k.Sites) == 0 {
		return false
	}
	root := k.Sites[len(k.Sites)-1]
	for i := root.Raise + 1; i < root.Exact; i++ {
		if k.Stack.At(i).Function == function {
			return true
		}
	}
	return false
}

// Faulted reports whether the root panic was raised by a fault of the processor, as far as the frames tell. Short dumps hide
// the runtime's frames: there the answer is whether a fault was printed.
func (k *Crash) Faulted(c *evidence.Case) bool {
	return k.raisedBy("runtime.sigpanic") || c.Death.HasFault || c.Death.Signal == 11
}

// faultSignals are the signals by which the processor or the kernel reports what a program did (signal(7), Linux).
var faultSignals = map[int]string{4: "SIGILL", 5: "SIGTRAP", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 31: "SIGSYS"}

const (
	signalAbort  = 6
	sentByTgkill = -6 // si_code SI_TKILL: raise(3) and abort(3) send it so
)

// SignalName is the name of a fault's signal, "signal 35" for others.
func SignalName(number int) string {
	if name, ok := faultSignals[number]; ok {
		return name
	}
	if number == signalAbort {
		return "SIGABRT"
	}
	return fmt.Sprintf("signal %d", number)
}

// bySignal decides for a process in which the runtime recorded neither a panic nor a fatal error.
func (k *Crash) bySignal(c *evidence.Case) {
	d := c.Death
	number, raised := d.Signal, d.Code > 0
	if k.Thread != nil && faultSignals[k.Thread.Signal] != "" && d.Signal == signalAbort {
		number, raised = k.Thread.Signal, true // the runtime printed the fault and then aborted
	}
	switch {
	case number == 0:
		k.Why = "no panic, no fatal error and no signal is recorded: the process did not die of itself"
	case faultSignals[number] != "" && raised:
		k.Class, k.Signal = CrashSignal, number
	case number == signalAbort && k.aborted(c):
		k.Class, k.Signal = CrashSignal, number
	default:
		name := cmp.Or(d.SignalName, SignalName(number))
		k.Why = fmt.Sprintf("killed from outside by %s (signal %d, si_code %d): no panic, no fatal error, no fault of its own",
			name, number, d.Code)
	}
}

// aborted reports whether C code gave up by abort(3). A core shows its frames; in a crash text there is only the code of the
// signal and that the goroutine was in C.
func (k *Crash) aborted(c *evidence.Case) bool {
	if k.Thread != nil {
		return hasAbort(c.Stack(k.Thread.Stack))
	}
	if fromCore(c) || c.Death.Code != sentByTgkill {
		return false
	}
	_, inC := Has(k.Stack, "runtime.cgocall")
	return inC
}

// abortFrames are the functions through which C code aborts: glibc, musl, libstdc++.
var abortFrames = setOf("abort", "raise", "gsignal", "__GI_abort", "__GI_raise", "pthread_kill", "__pthread_kill",
	"__pthread_kill_implementation", "__pthread_kill_internal", "tgkill", "__assert_fail", "__assert_fail_base",
	"__GI___assert_fail", "__fortify_fail", "__chk_fail", "__libc_message", "__stack_chk_fail", "malloc_printerr",
	"_ZSt9terminatev", "std::terminate()", "__cxa_throw", "_ZN10__cxxabiv111__terminateEPFvvE")

func hasAbort(s evidence.Stack) bool {
	for _, f := range s.All() {
		if f.Language == evidence.LanguageC && abortFrames[f.Function] {
			return true
		}
	}
	return false
}

// CrashUses are the derivations that CrashOf asks for.
var CrashUses = []diagnosis.Dependency{OfCrash, OfFrames}

// CrashOf returns the crash when it is of this class. Else it returns nil and has told the pass why the rule is silent.
func CrashOf(p *diagnosis.Pass, class string) (*Crash, *Frames, error) {
	crash, err := diagnosis.Of(p, OfCrash)
	if err != nil {
		return nil, nil, err
	}
	frames, err := diagnosis.Of(p, OfFrames)
	if err != nil {
		return nil, nil, err
	}
	if crash.Class != class {
		p.Silent("%s", crash.silence())
		return nil, nil, nil
	}
	return crash, frames, nil
}

// silence says why the rules of the other classes have nothing to say.
func (k *Crash) silence() string {
	if k.Class == "" {
		return k.Why
	}
	return "the process died of another cause: " + k.Class
}

// CrashNeeds is what the rules of the crash classes need: without the goroutines, what the runtime recorded of the end.
var CrashNeeds = []evidence.Kinds{evidence.KindDeath | evidence.KindGoroutines, evidence.KindDeath}
