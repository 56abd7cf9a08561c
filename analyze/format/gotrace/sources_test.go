package gotrace

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestTellBuild(t *testing.T) {
	const cache = "/home/u/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.22.12.linux-amd64/src/"
	tests := []struct {
		name          string
		frames        []evidence.Frame
		root, version string
	}{
		{"installed", []evidence.Frame{{Function: "main.main", File: "/app/src/main.go"}, {Function: "sync.(*Mutex).Lock", File: "/usr/local/go/src/sync/mutex.go"}},
			"/usr/local/go/src/", ""},
		{"fetched", []evidence.Frame{{Function: "runtime.chanrecv1", File: cache + "runtime/chan.go"}}, cache, "go1.22.12"},
		{"trimmed", []evidence.Frame{{Function: "sync.(*Mutex).Lock", File: "sync/mutex.go"}}, "", ""},
		{"the user's own sync", []evidence.Frame{{Function: "example.com/sync.Lock", File: "/app/src/sync/lock.go"}}, "", ""},
		{"no frames", nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := evidence.NewBuilder()
			for _, f := range tt.frames {
				b.Frame(f)
			}
			tellBuild(b)
			p := b.Finish().Process
			if p.Language != "go" || p.SourceRoot != tt.root || p.Version != tt.version {
				t.Errorf("the process is %q, %q, %q", p.Language, p.SourceRoot, p.Version)
			}
		})
	}
}

func TestTellBuildKeeps(t *testing.T) {
	b := evidence.NewBuilder()
	b.Process(func(p *evidence.Process) { p.Language, p.SourceRoot, p.Version = "go", "/known/src/", "go1.26.1" })
	b.Frame(evidence.Frame{Function: "os.Open", File: "/x/toolchain@v0.0.1-go1.22.12.linux-amd64/src/os/file.go"})
	tellBuild(b)
	if p := b.Finish().Process; p.SourceRoot != "/known/src/" || p.Version != "go1.26.1" {
		t.Errorf("what a better source said was changed: %q, %q", p.SourceRoot, p.Version)
	}
}
