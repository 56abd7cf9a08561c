package derive

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestDoing(t *testing.T) {
	const user = "main.work:10 main.main:5"
	tests := []struct {
		name   string
		state  evidence.State
		reason string
		flags  evidence.Flags
		stack  string
		want   string // Doing.String
	}{
		{"sleep", evidence.StateWaiting, "sleep", 0, "runtime.gopark:462 time.Sleep:363 " + user, "sleeps in time.Sleep"},
		{"file write", evidence.StateSyscall, "", 0, "syscall.Syscall:74 syscall.write:964 internal/poll.(*FD).Write:374 os.(*File).Write:215 " + user,
			"does file I/O in os.(*File).Write"},
		{"fsync by number", evidence.StateSyscall, "", 0, "syscall.Syscall:74 syscall.Fsync:20 " + user, "does file I/O in syscall.Fsync"},
		{"other system call", evidence.StateSyscall, "", 0, "syscall.Syscall6:96 " + user, "is in a system call in syscall.Syscall6"},
		{"socket read", evidence.StateWaiting, "IO wait", 0, parkPoll + "internal/poll.(*FD).Read:165 net.(*netFD).Read:68 net.(*conn).Read:196 " + user,
			"does network I/O in net.(*conn).Read"},
		{"pipe file", evidence.StateWaiting, "IO wait", 0, parkPoll + "internal/poll.(*FD).Read:165 os.(*File).Read:144 " + user,
			"does file I/O in os.(*File).Read"},
		{"in-memory pipe", evidence.StateWaiting, "select", 0, "runtime.gopark:462 runtime.selectgo:351 io.(*pipe).write:86 io.(*PipeWriter).Write:161 " + user,
			"uses an in-memory pipe in io.(*PipeWriter).Write"},
		{"child", evidence.StateSyscall, "", 0, "syscall.Syscall6:96 os.(*Process).pidfdWait:107 os.(*Process).wait:25 os/exec.(*Cmd).Wait:930 " + user,
			"waits for another process in os/exec.(*Cmd).Wait"},
		{"send", evidence.StateWaiting, "chan send", 0, "runtime.gopark:462 runtime.chansend:283 runtime.chansend1:161 " + user, "sends to a channel"},
		{"own select", evidence.StateWaiting, "select", 0, "runtime.gopark:462 runtime.selectgo:351 " + user, "waits in a select"},
		{"for ever", evidence.StateWaiting, "select (no cases)", 0, "runtime.gopark:462 runtime.block:104 " + user, "waits for what never comes"},
		{"lock", evidence.StateWaiting, "sync.Mutex.Lock", 0, parkMutex + user, "waits for a lock in sync.(*Mutex).Lock"},
		{"descriptor lock", evidence.StateWaiting, "semacquire", 0, parkDescriptor + "internal/poll.(*FD).Write:361 os.(*File).Write:215 " + user,
			"waits for a lock in os.(*File).Write"},
		{"wait group to 1.24", evidence.StateWaiting, "semacquire", 0, "runtime.gopark:398 runtime.semacquire1:160 sync.runtime_Semacquire:62 sync.(*WaitGroup).Wait:116 " + user,
			"waits for a wait group in sync.(*WaitGroup).Wait"},
		{"wait group since 1.25", evidence.StateWaiting, "sync.WaitGroup.Wait", 0, "runtime.gopark:462 runtime.semacquire1:192 sync.runtime_SemacquireWaitGroup:114 sync.(*WaitGroup).Wait:206 " + user,
			"waits for a wait group in sync.(*WaitGroup).Wait"},
		{"log line", evidence.StateSyscall, "", 0, "syscall.Syscall:74 syscall.write:964 os.(*File).Write:215 log.(*Logger).output:244 log.(*Logger).Printf:268 " + user,
			"does file I/O in log.(*Logger).Printf, writing a log line"},
		{"computes", evidence.StateRunning, "", evidence.FlagSignal, user, "computes"},
		{"computes in the library", evidence.StateRunning, "", 0, "encoding/json.Marshal:9 " + user, "computes"},
		{"preempted", evidence.StateRunnable, "", evidence.FlagAsync, preempt + user, "computes"},
		{"just woken", evidence.StateRunnable, "", 0, "runtime.gopark:462 runtime.chanrecv:536 runtime.chanrecv1:509 " + user, "is ready to run"},
		{"Gosched", evidence.StateRunnable, "", 0, "runtime.Gosched:391 " + user, "yields in runtime.Gosched"},
		{"panics", evidence.StateRunning, "", evidence.FlagDying, "runtime.gopanic:787 runtime.selectgo:542 " + user, "does something unknown"},
		{"C by flag", evidence.StateSyscall, "", evidence.FlagCgo, "runtime.cgocall:167 " + user, "executes C code"},
		{"C by frame", evidence.StateSyscall, "", 0, "runtime.cgocall:167 main._Cfunc_f:3 " + user, "executes C code"},
		{"leaving a system call", evidence.StateRunnable, "", 0, "syscall.Syscall:74 syscall.read:736 os.(*File).Read:144 " + user, "does file I/O in os.(*File).Read"},
		{"assist", evidence.StateWaiting, "GC assist wait", 0, "runtime.gopark:462 runtime.gcParkAssist:745 runtime.mallocgc:1115 " + user, "waits for the garbage collector"},
		{"assisting", evidence.StateRunnable, "", 0, "runtime.gcAssistAlloc:561 runtime.mallocgc:1115 " + user, "waits for the garbage collector"},
		{"unknown reason", evidence.StateWaiting, "a reason of Go 1.40", 0, "runtime.gopark:1 " + user, "does something unknown"},
		{"dead", evidence.StateDead, "", 0, "", "does something unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSketch()
			id := s.add(1, tt.state, tt.reason, tt.stack, flagged(tt.flags))
			c, f := s.finish()
			g, _ := c.Goroutines().ByID(id)
			if got := f.Doing(g).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDoingBlocked(t *testing.T) {
	for a := ActivityUnknown; a <= ActivityCollector; a++ {
		d := Doing{Activity: a}
		if d.Blocked() && d.OnProcessor() {
			t.Errorf("%s is both blocked and on a processor", a)
		}
		if a.String() == "" {
			t.Errorf("activity %d has no phrase", a)
		}
	}
	if (Doing{Activity: ActivityLock}).Blocked() {
		t.Error("a goroutine that waits for a lock is the middle of a chain, not blocked by itself")
	}
}

func TestTellersAreOrdered(t *testing.T) {
	for i, a := range tellers {
		if a.since == "" {
			t.Errorf("%s lacks the versions it was seen in", a.name)
		}
		for _, b := range tellers[:i] {
			if a.name == b.name || (strings.HasSuffix(b.name, ".") && strings.HasPrefix(a.name, b.name)) {
				t.Errorf("%s is never reached: %s stands before it", a.name, b.name)
			}
		}
	}
}

func TestIsLogger(t *testing.T) {
	for pkg, want := range map[string]bool{"log": true, "log/slog": true, "go.uber.org/zap/zapcore": true, "k8s.io/klog/v2": true,
		"logistics": false, "example.com/log": false, "main": false} {
		if got := isLogger(pkg); got != want {
			t.Errorf("isLogger(%q) = %v", pkg, got)
		}
	}
}
