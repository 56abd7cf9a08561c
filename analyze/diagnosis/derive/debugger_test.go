package derive

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestDebuggerNamesTheRealFiles(t *testing.T) {
	for _, tt := range []struct {
		name, exe, path, format, want string
	}{
		{"a core", "/srv/api", "core.7", "gocore", "dlv core /srv/api core.7"},
		{"a path with a space", "/srv/my api", "core.7", "gocore", "dlv core '/srv/my api' core.7"},
		{"a quote", "/srv/o'neil", "core.7", "gocore", `dlv core '/srv/o'\''neil' core.7`},
		{"no executable", "", "core.7", "gocore", "dlv core EXECUTABLE core.7"},
		{"a log", "/srv/api", "crash.log", "godump", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := evidence.NewBuilder()
			b.Source(evidence.Source{Path: tt.path, Format: tt.format})
			b.Process(func(p *evidence.Process) { p.Executable = tt.exe })
			if got := Debugger(b.Finish(), "dlv core"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNilVariables(t *testing.T) {
	b := evidence.NewBuilder()
	for _, v := range []evidence.Variable{
		{Goroutine: 7, Depth: 2, Name: "req", Type: "*main.request", Value: "nil"},
		{Goroutine: 7, Depth: 2, Name: "n", Type: "int", Value: "3"},
		{Goroutine: 7, Depth: 3, Name: "r", Type: "*main.router", Value: "nil"},
		{Goroutine: 8, Depth: 2, Name: "other", Type: "*main.request", Value: "nil"},
	} {
		b.Variable(v)
	}
	if got, want := NilVariables(b.Finish(), 7, 2), []string{"req (*main.request)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
