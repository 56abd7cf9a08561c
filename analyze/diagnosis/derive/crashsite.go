package derive

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// CrashSite is where a panic, a fatal error or a fault was raised. The fields are indexes in the stack.
type CrashSite struct {
	Raise int // the frame that raised it: runtime.gopanic, runtime.throw; -1 when the source does not show it
	Exact int // the first frame below it that is not the runtime's
	User  int // the line a developer should open; -1 when the stack holds no code of the user or a dependency
}

// panicFrames are the names of the panic function: in memory, and as the runtime prints it.
var panicFrames = setOf("runtime.gopanic", "panic")

// sites finds where the panics on a stack were raised, the newest first. A traceback without the runtime's frames hides the
// innermost panic: then code of the program stands before the first one that is shown.
func (f *Frames) sites(s evidence.Stack) []CrashSite {
	var raises []int
	for i, frame := range s.All() {
		if panicFrames[frame.Function] {
			raises = append(raises, i)
		}
	}
	if first, ok := f.notRuntime(s, 0); ok && (len(raises) == 0 || first < raises[0]) {
		raises = append([]int{-1}, raises...)
	}
	var sites []CrashSite
	for _, at := range raises {
		if site, ok := f.siteBelow(s, at); ok {
			sites = append(sites, site)
		}
	}
	return sites
}

// siteBelow is the site of what was raised by frame at.
func (f *Frames) siteBelow(s evidence.Stack, at int) (CrashSite, bool) {
	exact, ok := f.notRuntime(s, at+1)
	if !ok {
		return CrashSite{}, false
	}
	site := CrashSite{Raise: at, Exact: exact, User: -1}
	if user, ok := f.writtenFrom(s, exact); ok {
		site.User = user
	}
	return site, true
}

func (f *Frames) notRuntime(s evidence.Stack, from int) (int, bool) {
	for i := from; i < s.Len(); i++ {
		if f.Owner(s.FrameID(i)) != OwnerRuntime && !panicFrames[s.At(i).Function] {
			return i, true
		}
	}
	return -1, false
}

// glue are functions that the compiler and cgo make and nobody wrote.
var glue = regexp.MustCompile(`\.(deferwrap|gowrap)[0-9]+$|\._(Cfunc|C2func)_`)

// CFunction is the name of the C function that a stub of cgo calls; ok is false for any other function.
func CFunction(stub string) (name string, ok bool) {
	if !glue.MatchString(stub) {
		return "", false
	}
	for _, begins := range []string{"._Cfunc_", "._C2func_"} {
		if _, name, ok = strings.Cut(stub, begins); ok {
			return name, true
		}
	}
	return "", false
}

// writtenFrom is UserFrameFrom without glue.
func (f *Frames) writtenFrom(s evidence.Stack, from int) (int, bool) {
	first, ok := f.UserFrameFrom(s, from)
	for i := first; ok; i, ok = f.UserFrameFrom(s, i+1) {
		if !glue.MatchString(s.At(i).Function) && !f.oldDefer(s, i) {
			return i, true
		}
	}
	return first, first >= 0
}

// closureOf is the end of the name of a function literal.
var closureOf = regexp.MustCompile(`^\.func[0-9]+$`)

// unlocks are the library functions that are deferred directly and can be fatal.
var unlocks = setOf("sync.(*Mutex).Unlock", "sync.(*RWMutex).Unlock", "sync.(*RWMutex).RUnlock")

// oldDefer recognises what became deferwrap in Go 1.22: up to then the compiler named the wrapper of `defer mu.Unlock()` like a
// function literal of the function that defers.
func (f *Frames) oldDefer(s evidence.Stack, i int) bool {
	if i == 0 || i+1 >= s.Len() || !strings.HasPrefix(f.c.Process.Version, "go1.21") || !unlocks[s.At(i-1).Function] {
		return false
	}
	suffix, ok := strings.CutPrefix(s.At(i).Function, s.At(i+1).Function)
	return ok && closureOf.MatchString(suffix)
}

// atThrow replaces the sites by that of the fatal error: below the outermost of the innermost run of throwing frames, or, when
// the error was thrown on the system stack, the innermost frame of the goroutine.
func (k *Crash) atThrow(f *Frames) {
	at := -1
	for i, frame := range k.Stack.All() {
		if throwers[frame.Function] {
			at = i
		} else if f.Owner(k.Stack.FrameID(i)) != OwnerRuntime {
			break
		}
	}
	k.Sites = nil
	if site, ok := f.siteBelow(k.Stack, at); ok {
		k.Sites = []CrashSite{site}
	}
}

// atFault fills in the C function and the Go line of a fault.
func (k *Crash) atFault(c *evidence.Case, f *Frames) {
	if k.Signal == 0 {
		k.Signal = c.Death.Signal
		if k.Signal == signalAbort || k.Signal == 0 { // the runtime's own end; the fault itself was recorded before
			k.Signal = faultOf(k.Thread)
		}
	}
	if k.Thread != nil {
		k.Native = nativeOf(c.Stack(k.Thread.Stack), k.Signal == signalAbort)
	}
	if len(k.Sites) > 0 {
		return
	}
	if site, ok := f.siteBelow(k.Stack, -1); ok {
		k.Sites = []CrashSite{site}
	}
}

// faultOf is the fault that a thread was handling; SIGSEGV when that is not known, because the runtime throws "fault" for it
// and, far more rarely, for SIGBUS.
func faultOf(t *evidence.Thread) int {
	if t != nil && faultSignals[t.Signal] != "" {
		return t.Signal
	}
	return 11
}

// trampolines stand between a signal handler and what it interrupted.
var trampolines = setOf("runtime.sigtramp", "runtime.sigtrampgo", "runtime.sigreturn__sigaction", "runtime.cgoSigtramp",
	"__restore_rt", "__kernel_rt_sigreturn", "<signal handler called>")

// nativeOf finds the C function that faulted: the innermost frame below the signal handler, if it is C. Of an abort it is the
// one that called abort or assert.
func nativeOf(s evidence.Stack, abort bool) *Place {
	from := 0
	for i, frame := range s.All() {
		if trampolines[frame.Function] {
			from = i + 1
		}
	}
	for i := from; i < s.Len(); i++ {
		frame := s.At(i)
		if frame.Language != evidence.LanguageC {
			return nil
		}
		if !abort || !abortFrames[frame.Function] {
			return &Place{i, frame}
		}
	}
	return nil
}

// nowhere is the site of something whose frames are not in the evidence.
var nowhere = CrashSite{-1, -1, -1}

// Root is the site of the root cause: the oldest panic, the fatal error, the fault. ok is false when its frames are not in the
// evidence.
func (k *Crash) Root() (site CrashSite, ok bool) {
	if len(k.Sites) == 0 {
		return nowhere, false
	}
	return k.Sites[len(k.Sites)-1], true
}

// Subject is the goroutine that died, or the death when it is not known.
func (k *Crash) Subject() evidence.Ref {
	if k.Died {
		return k.Goroutine.Ref()
	}
	return evidence.Ref{Kind: evidence.RefDeath}
}

// Refs are the rows that show the crash: the goroutine where it is known, and the death.
func (k *Crash) Refs() []evidence.Ref {
	if k.Died {
		return []evidence.Ref{k.Goroutine.Ref(), {Kind: evidence.RefDeath}}
	}
	return []evidence.Ref{{Kind: evidence.RefDeath}}
}

// Locations lists the lines of a site: the user's line first, the very frame when it is another, who called the user's line,
// and the go statement that started the goroutine.
func (k *Crash) Locations(c *evidence.Case, f *Frames, site CrashSite) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(role diagnosis.Role, i int) {
		list = append(list, diagnosis.Location{Role: role, Frame: k.Stack.At(i), Ref: k.Goroutine.Ref()})
	}
	last := site.Exact
	switch {
	case site == nowhere:
		return k.creation(c)
	case site.User < 0 || site.User == site.Exact:
		add(diagnosis.RoleCrash, site.Exact)
	default:
		last = site.User
		add(diagnosis.RoleCaller, last)
		if !glue.MatchString(k.Stack.At(site.Exact).Function) {
			add(diagnosis.RoleCrash, site.Exact)
		}
	}
	if caller, ok := f.writtenFrom(k.Stack, last+1); ok {
		add(diagnosis.RoleCaller, caller)
	}
	return append(list, k.creation(c)...)
}

func (k *Crash) creation(c *evidence.Case) []diagnosis.Location {
	created, ok := k.Creator(c)
	if !ok {
		return nil
	}
	return []diagnosis.Location{{Role: diagnosis.RoleCreator, Frame: created, Ref: k.Goroutine.Ref()}}
}

// Creator is the go statement that started the goroutine; ok is false for the main goroutine and where it is not known.
func (k *Crash) Creator(c *evidence.Case) (evidence.Frame, bool) {
	created := c.Frame(k.Goroutine.Created)
	return created, k.Died && created.Function != "" && !strings.HasPrefix(created.Function, "runtime.")
}

// CameFrom says in a sentence who called the line of a site and which go statement started the goroutine; empty when neither
// is known.
func (k *Crash) CameFrom(c *evidence.Case, f *Frames, site CrashSite) string {
	var parts []string
	for i, l := range k.Locations(c, f, site) {
		switch l.Role {
		case diagnosis.RoleCaller:
			if i == 0 { // the site itself: it called the library
				continue
			}
			parts = append(parts, "it was called by "+Where(l.Frame))
		case diagnosis.RoleCreator:
			text := "the goroutine was started at " + Where(l.Frame)
			if k.Goroutine.Parent != 0 {
				text += fmt.Sprintf(" by goroutine %d", k.Goroutine.Parent)
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", and ")
}

// Line is the frame of the site that a developer should open.
func (k *Crash) Line(site CrashSite) evidence.Frame {
	if site.User >= 0 {
		return k.Stack.At(site.User)
	}
	return k.Stack.At(site.Exact)
}

// Where names a frame in a sentence: "(*Session).Close (session.go:88)". The package is left out for package main and cut to
// its last element elsewhere.
func Where(f evidence.Frame) string {
	name := Short(f.Function)
	if f.File == "" {
		return name
	}
	return fmt.Sprintf("%s (%s:%d)", name, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
}

// Short is a function's name for a sentence: "(*conn).serve" of package main, "http.(*conn).serve" of net/http.
func Short(function string) string {
	pkg := Package(function)
	if pkg == "main" {
		return strings.TrimPrefix(function, "main.")
	}
	return function[strings.LastIndexByte(pkg, '/')+1:]
}

// Name is "goroutine 34", "the main goroutine", or "the process" when the goroutine is not known.
func (k *Crash) Name() string {
	switch {
	case !k.Died:
		return "the process"
	case k.Goroutine.ID == 1:
		return "the main goroutine"
	}
	return fmt.Sprintf("goroutine %d", k.Goroutine.ID)
}
