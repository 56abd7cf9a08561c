package syscallchurn

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// stackOf makes a stack of functions, innermost first, and the index of the first of package main.
func stackOf(functions string) (evidence.Stack, int) {
	b := evidence.NewBuilder()
	var ids []evidence.FrameID
	user := -1
	for i, name := range strings.Fields(functions) {
		ids = append(ids, b.Frame(evidence.Frame{Function: name, Line: 1}))
		if user < 0 && strings.HasPrefix(name, "main.") {
			user = i
		}
	}
	id := b.Stack(ids, evidence.StackNote{})
	return b.Finish().Stack(id), user
}

func TestDeeds(t *testing.T) {
	tests := []struct {
		name, call, stack string
		want              deed
	}{
		{"dial", "connect", "syscall.connect net.(*netFD).connect net.Dial main.f", dial},
		{"accept", "accept4", "syscall.accept4 internal/poll.(*FD).Accept net.(*TCPListener).Accept main.f", accept},
		{"stat", "fstatat", "syscall.fstatat os.Stat main.f", lookup},
		{"open", "openat", "syscall.openat os.OpenFile os.ReadFile main.f", open},
		{"of a new file", "openat", "syscall.openat os.OpenFile os.Create main.f", none},
		{"of a temporary file", "openat", "syscall.openat os.OpenFile os.CreateTemp main.f", none},
		{"of a file that is served", "openat", "syscall.openat os.Open net/http.Dir.Open net/http.serveFile main.f", none},
		{"of the resolver", "openat", "syscall.openat net.open net.(*resolverConfig).tryUpdate net.Dial main.f", none},
		{"in a handler", "openat", "syscall.openat os.OpenFile os.ReadFile main.f net/http.HandlerFunc.ServeHTTP net/http.(*conn).serve", open},
		{"in a callback of a timer", "openat", "syscall.openat os.OpenFile os.ReadFile main.f time.goFunc", open},
		{"on a walk", "openat", "syscall.openat os.OpenFile os.ReadFile main.f path/filepath.walkDir path/filepath.WalkDir main.g", none},
		{"for an executable", "fstatat", "syscall.fstatat os.Stat os/exec.findExecutable os/exec.LookPath main.f", none},
		{"process", "readlen", "syscall.readlen syscall.forkExec os.StartProcess main.f", process},
		{"another readlen", "readlen", "syscall.readlen main.f", none},
		{"folder", "getdents", "syscall.Getdents os.(*File).readdir os.ReadDir main.f", list},
		{"bytes of a connection", "read", "syscall.read internal/poll.(*FD).Read net.(*netFD).Read net.(*conn).Read main.f", move},
		{"bytes of a file", "read", "syscall.read internal/poll.(*FD).Read os.(*File).Read main.f", none},
		{"end of a connection", "close", "syscall.Close internal/poll.(*FD).destroy net.(*netFD).Close net.(*conn).Close main.f", shut},
		{"by the last who reads", "close", "syscall.Close internal/poll.(*FD).destroy internal/poll.(*FD).Read net.(*netFD).Read net/http.(*persistConn).Read", shut},
		{"end of a file", "close", "syscall.Close internal/poll.(*FD).destroy os.(*File).Close main.f", none},
		{"something else", "futex", "syscall.Syscall6 main.f", none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, user := stackOf(tt.stack)
			if got := deedOf(s, derive.Spot{Syscall: tt.call, User: user}); got != tt.want {
				t.Errorf("%s is deed %d, want %d", tt.stack, got, tt.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	for stack, want := range map[string]bool{"os.ReadFile main.f net/http.HandlerFunc.ServeHTTP net/http.(*conn).serve": true, "os.ReadFile main.f main.main": false} {
		s, _ := stackOf(stack)
		if serves(s) != want {
			t.Errorf("%s serves a request: %v", stack, !want)
		}
	}
}

func TestEveryDeedIsTold(t *testing.T) {
	for _, d := range []deed{dial, accept, lookup, process} {
		if verbs[d] == "" || strings.Count(claims[d], "%s") != 1 || fixes[d] == "" || against[d] == "" || confidence[d] == 0 {
			t.Errorf("deed %d lacks words", d)
		}
	}
}
