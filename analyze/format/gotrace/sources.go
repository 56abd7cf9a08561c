package gotrace

import (
	"path"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// standard are packages whose files give away where the toolchain's sources lie, because they are in nearly every trace.
var standard = map[string]bool{"runtime": true, "sync": true, "time": true, "os": true, "net": true, "net/http": true, "syscall": true,
	"internal/poll": true, "internal/sync": true, "testing": true, "io": true, "bufio": true, "runtime/trace": true}

// tellBuild completes the Process by what the files of frames tell: a trace says nothing about the program itself.
func tellBuild(to *evidence.Builder) {
	root := ""
	for id := evidence.FrameID(1); root == ""; id++ {
		f := to.FrameOf(id)
		if f == (evidence.Frame{}) {
			break
		}
		root = sourceRoot(f)
	}
	to.Process(func(p *evidence.Process) {
		if p.Language == "" {
			p.Language = "go"
		}
		if p.SourceRoot == "" {
			p.SourceRoot = root
		}
		if _, name, ok := strings.Cut(path.Base(path.Dir(strings.TrimSuffix(root, "/"))), "toolchain@v0.0.1-"); ok && p.Version == "" {
			if dot := strings.LastIndexByte(name, '.'); dot > 0 {
				p.Version = name[:dot] // the toolchain was fetched as a module: .../golang.org/toolchain@v0.0.1-go1.24.13.linux-amd64/src/
			}
		}
	})
}

// sourceRoot is the folder of the toolchain's sources when a frame gives it away by a file name that ends in src/ and the path of its
// package: /usr/local/go/src/sync/mutex.go.
func sourceRoot(f evidence.Frame) string {
	dir := path.Dir(f.File)
	at := strings.LastIndex(dir, "/src/")
	if at < 0 {
		return ""
	}
	if pkg := dir[at+len("/src/"):]; !standard[pkg] || !strings.HasPrefix(f.Function, pkg+".") {
		return ""
	}
	return dir[:at+len("/src/")]
}
