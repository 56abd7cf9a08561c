package gocore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// signalNames are the signals that end a process (signal(7), Linux on amd64 and arm64).
var signalNames = map[int]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
	8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 15: "SIGTERM", 24: "SIGXCPU",
	25: "SIGXFSZ", 31: "SIGSYS"}

func signalName(n int) string {
	if name, ok := signalNames[n]; ok {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// live reports whether the core was taken from a process that went on living: gcore and delve do that, the kernel does not.
func (t *target) live() bool {
	return t.core.Producer == elfcore.Gcore || t.core.Producer == elfcore.Delve
}

// readSignal records the signal that the core's notes tell.
func (t *target) readSignal() {
	sig := t.core.Signal
	t.b.Death(func(d *evidence.Death) {
		d.Live = t.live()
		if d.Live {
			return
		}
		if len(t.core.Threads) > 0 {
			d.Thread = t.core.Threads[0].TID
			d.Signal = t.core.Threads[0].Signal
		}
		if sig.OK && sig.Signo > 0 {
			d.Signal, d.Code, d.Sender = sig.Signo, int64(sig.Code), sig.PID
			if sig.Code > 0 && sig.Addr != 0 {
				d.FaultAddr, d.HasFault = sig.Addr, true
			}
		}
		if d.Signal > 0 {
			d.SignalName = signalName(d.Signal)
		}
	})
}

// deaths are the functions that the runtime is in when it ends the process for a reason of its own (runtime/panic.go), Go
// 1.21 to 1.26.
var deaths = []string{"runtime.throw", "runtime.fatal", "runtime.fatalthrow", "runtime.fatalpanic"}

// readDeath finds the goroutine on which the process died and what the runtime was doing about it. It must run before the
// goroutines are added, because it marks one of them.
func (t *target) readDeath() {
	dead := t.deadMachine()
	if dead == nil {
		return
	}
	t.dead = dead
	first := firstSignal(dead)
	t.b.Death(func(d *evidence.Death) {
		d.Goroutine = dead.goid
		d.Thread = dead.tid
		d.Throwing = t.onStack(dead, "runtime.throw", "runtime.fatal", "runtime.fatalthrow")
		d.Panicking = t.onStack(dead, "runtime.fatalpanic")
		d.Fatal = t.fatalText(dead)
		if first != nil && first.number > 0 {
			t.signalOf(d, first)
		}
		t.faultOf(d, dead)
		if d.Throwing || d.Panicking || d.HasFault {
			dead.flags |= evidence.FlagCrashed
			d.Live = false // a debugger took the core of a process that was on its way out
		}
	})
}

// firstSignal is the signal that started the end of a thread: the outermost signal frame. The ones further in are those with
// which the runtime then kills the process.
func firstSignal(m *machine) *signalInfo {
	var first *signalInfo
	for _, p := range m.parts {
		if p.signal != nil {
			first = p.signal
		}
	}
	return first
}

func (t *target) signalOf(d *evidence.Death, s *signalInfo) {
	if s.sender == t.core.Process.PID && s.sender != 0 && (d.Throwing || d.Panicking) {
		return // the runtime's own SIGABRT, after what it has printed
	}
	d.Signal, d.SignalName, d.Code, d.Sender = s.number, signalName(s.number), int64(s.code), s.sender
	if s.code > 0 {
		d.FaultAddr, d.FaultPC, d.HasFault = s.addr, s.pc, true
	}
}

// deadMachine is the M on which the process died. Under GOTRACEBACK=crash every thread is dying: the first one relays SIGQUIT
// to the others, so that each prints its stack (runtime/signal_unix.go, sighandler). Among those that say they are dying it is
// the one that no such relay started; else the first thread of a core by the kernel. An M that has not noted its thread yet
// (runtime/os_linux.go, minit) shows no signal, which says nothing.
func (t *target) deadMachine() *machine {
	var relayed *machine
	for _, m := range t.machines {
		if m.dying == 0 && m.throwing == 0 {
			continue
		}
		if m.thread != nil && !t.relayed(firstSignal(m)) {
			return m
		}
		if relayed == nil {
			relayed = m
		}
	}
	if relayed != nil || t.live() || len(t.core.Threads) == 0 {
		return relayed
	}
	for _, m := range t.machines {
		if m.tid == t.core.Threads[0].TID {
			return m
		}
	}
	return nil
}

// relayed reports whether a signal is the SIGQUIT that the process sent itself.
func (t *target) relayed(s *signalInfo) bool {
	const sigquit = 3
	return s != nil && s.number == sigquit && s.code <= 0 && s.sender == t.core.Process.PID
}

// faultOf takes the fault from the goroutine, where the runtime's signal handler has put it (runtime/signal_unix.go,
// sighandler). The values stay there after a recovered fault, so they count only while sigpanic is on the stack, or when the
// runtime died in the handler itself.
func (t *target) faultOf(d *evidence.Death, m *machine) {
	if m.cur == 0 || !t.onStack(m, "runtime.sigpanic") {
		return
	}
	mem, o := t.core.Mem, &t.off.G
	sig, _ := mem.Uint32(m.cur + o.Sig)
	if sig == 0 {
		return
	}
	code, _ := mem.Uint64(m.cur + o.SigCode0)
	addr, _ := mem.Uint64(m.cur + o.SigCode1)
	pc, _ := mem.Uint64(m.cur + o.SigPC)
	d.Signal, d.SignalName, d.Code, d.Sender = int(sig), signalName(int(sig)), int64(code), 0
	d.FaultAddr, d.FaultPC, d.HasFault = addr, pc, true
}

// onStack reports whether a thread has a frame of one of some functions.
func (t *target) onStack(m *machine, names ...string) bool {
	_, ok := t.findOnStack(m, names...)
	return ok
}

// site is a frame of a thread.
type site struct {
	part  *part
	index int
}

// findOnStack finds the innermost frame of a function on a thread.
func (t *target) findOnStack(m *machine, names ...string) (site, bool) {
	for i := range m.parts {
		p := &m.parts[i]
		for k, pc := range p.pcs {
			fn, ok := t.tab.Find(pc)
			if !ok {
				continue
			}
			for _, name := range names {
				if fn.Name() == name {
					return site{p, k}, true
				}
			}
		}
	}
	return site{}, false
}

// fatalText is the text of a runtime fatal error. The runtime keeps what it printed before the dump in printBacklog
// (runtime/print.go).
func (t *target) fatalText(m *machine) string {
	text := t.backlog()
	const mark = "fatal error: "
	if i := strings.LastIndex(text, mark); i >= 0 {
		line, _, _ := strings.Cut(text[i+len(mark):], "\n")
		return line
	}
	if at, ok := t.findOnStack(m, deaths...); ok {
		if s, ok := t.stringArgument(at); ok {
			return s
		}
	}
	return ""
}

// backlogSize is the length of runtime.printBacklog (runtime/print.go, Go 1.21 to 1.26).
const backlogSize = 512

// backlog returns the last bytes that the runtime printed.
func (t *target) backlog() string {
	addr, ok := t.vars.addr("runtime.printBacklog")
	at, known := t.int32("runtime.printBacklogIndex")
	if !ok || !known {
		return ""
	}
	ring, ok := t.core.Mem.Bytes(addr, backlogSize)
	if !ok || at < 0 || at >= backlogSize {
		return ""
	}
	return strings.Trim(string(ring[at:])+string(ring[:at]), "\x00")
}

// maxPanics bounds the chain of panics.
const maxPanics = 256

// readPanics reads the chain of panics of a dying goroutine, the newest first.
func (t *target) readPanics() {
	m := t.dead
	if m == nil || m.cur == 0 {
		return
	}
	o := &t.off.Panic
	mem := t.core.Mem
	at, _ := mem.Uint64(m.cur + t.off.G.Panic)
	values := t.panicValues(m)
	for n := 0; at != 0 && n < maxPanics; n++ {
		raw, ok := mem.Bytes(at, max(o.Goexit, o.Recovered, o.Link, o.Arg+8)+8)
		if !ok {
			t.b.Gapf("chain of panics", "%#x is not in the core", at)
			return
		}
		p := evidence.Panic{Goroutine: m.goid, Recovered: raw[o.Recovered] != 0, Goexit: raw[o.Goexit] != 0}
		p.Type, p.Text = t.interfaceText(le.Uint64(raw[o.Arg:]), le.Uint64(raw[o.Arg+8:]))
		p.Runtime = strings.HasPrefix(p.Text, "runtime error: ") || strings.HasPrefix(p.Type, "runtime.")
		if p.Type == "string" && n < len(values) {
			if typ, causes := t.valueOf(values[n], p.Text); typ != "" {
				p.Type, p.Causes = typ, causes
			}
		}
		if p.Type == "string" && p.Runtime {
			p.Type = "runtime.Error"
		}
		t.b.Panic(p)
		at = le.Uint64(raw[o.Link:])
	}
}

// interfaceText gives the type and the text of an interface value, as the runtime prints a panic (runtime/error.go,
// printpanicval). By the time a core is written the runtime has replaced errors and Stringers by their texts.
func (t *target) interfaceText(typ, data uint64) (name, text string) {
	if typ == 0 {
		return "", "nil"
	}
	name, kind, ok := t.typeOf(typ)
	if !ok {
		return "", fmt.Sprintf("(type at %#x) %#x", typ, data)
	}
	text, simple := t.scalarText(kind, data)
	switch {
	case !simple:
		return name, fmt.Sprintf("(%s) %#x", name, data)
	case strings.Contains(name, "."):
		if kind == kindString {
			text = strconv.Quote(text)
		}
		return name, fmt.Sprintf("%s(%s)", name, text)
	}
	return name, text
}
