package main

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

// Bounds of what is read of a source file. The name comes from the evidence, which may be hostile.
const (
	maxSourceFile = 16 << 20
	maxSourceLine = 400 // bytes shown
)

// sourceKinds are the extensions of files that are shown. A core can name any file of this machine; what is no source stays
// unread.
var sourceKinds = map[string]bool{".go": true, ".s": true, ".S": true, ".c": true, ".h": true, ".cc": true, ".cpp": true,
	".cxx": true, ".hpp": true, ".m": true, ".rs": true, ".py": true}

// sources finds source files by the names that compilers record. It implements report.Sources.
type sources struct {
	roots      []string // --src-root
	module     string   // path of the main module
	sourceRoot string   // GOROOT/src as recorded, with a final slash
	goroot     string   // GOROOT/src of this machine; empty when not known
	modCache   string   // of this machine; empty when not known
}

func newSources(roots []string, p *evidence.Process, getenv func(string) string) *sources {
	s := &sources{roots: roots, module: p.MainModule, sourceRoot: p.SourceRoot}
	if root := cmp.Or(getenv("GOROOT"), "/usr/local/go"); isFolder(filepath.Join(root, "src")) {
		s.goroot = filepath.Join(root, "src")
	}
	gopath, _, _ := strings.Cut(getenv("GOPATH"), string(filepath.ListSeparator))
	if home := cmp.Or(getenv("HOME"), getenv("USERPROFILE")); gopath == "" && home != "" {
		gopath = filepath.Join(home, "go")
	}
	if gopath != "" {
		s.modCache = filepath.Join(gopath, "pkg", "mod")
	}
	s.modCache = cmp.Or(getenv("GOMODCACHE"), s.modCache)
	return s
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// SourceLines returns the lines around one of a file that is at hand under one of its possible places. Whether it is the version
// that was compiled is not known.
func (s *sources) SourceLines(file string, line, around int) ([]report.Line, bool) {
	if line <= 0 || !sourceKinds[path.Ext(file)] {
		return nil, false
	}
	for _, place := range s.places(file) {
		if lines, ok := readLines(place, max(1, line-around), line+around, line); ok {
			return lines, true
		}
	}
	return nil, false
}

// places lists where a recorded file may lie here, the surest first.
func (s *sources) places(file string) []string {
	slashed := strings.ReplaceAll(file, `\`, "/")
	if slices.Contains(strings.Split(slashed, "/"), "..") {
		return nil // compilers record clean paths: this one wants to get somewhere
	}
	var found []string
	for _, root := range s.roots {
		found = append(found, underRoot(root, slashed, s.module)...)
	}
	if filepath.IsAbs(file) {
		found = append(found, file)
	}
	if at := strings.LastIndex(slashed, "/pkg/mod/"); at >= 0 && s.modCache != "" {
		found = append(found, filepath.Join(s.modCache, slashed[at+len("/pkg/mod/"):]))
	}
	if isVersioned(slashed) && s.modCache != "" { // -trimpath: path@version/file.go
		found = append(found, filepath.Join(s.modCache, escapeModule(slashed)))
	}
	if s.goroot != "" {
		if rest, ok := strings.CutPrefix(slashed, s.sourceRoot); ok && s.sourceRoot != "" {
			found = append(found, filepath.Join(s.goroot, rest))
		} else if !strings.HasPrefix(slashed, "/") && !isVersioned(slashed) { // -trimpath: net/http/server.go
			found = append(found, filepath.Join(s.goroot, slashed))
		}
	}
	return found
}

func isVersioned(file string) bool {
	return !strings.HasPrefix(file, "/") && strings.Contains(file, "@v")
}

// underRoot looks for a file below a folder that the user gave: first without the main module's path (-trimpath), then with
// ever shorter tails of the recorded path, because the build machine had its own folders above.
func underRoot(root, file, module string) []string {
	var found []string
	if rest, ok := strings.CutPrefix(file, module+"/"); ok && module != "" {
		found = append(found, filepath.Join(root, rest))
	}
	const deepest = 40 // folders of a recorded path that are tried
	tail := strings.TrimPrefix(file, "/")
	for range deepest {
		found = append(found, filepath.Join(root, tail))
		_, rest, more := strings.Cut(tail, "/")
		if !more {
			break
		}
		tail = rest
	}
	return found
}

// escapeModule writes a capital letter as the module cache does: "!" and the small letter (golang.org/ref/mod, module cache).
// Only the part with path and version is escaped, which ends at the first slash behind the @.
func escapeModule(file string) string {
	at := strings.Index(file, "@")
	end := len(file)
	if slash := strings.IndexByte(file[at:], '/'); slash >= 0 {
		end = at + slash
	}
	var b strings.Builder
	for _, r := range file[:end] {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String() + file[end:]
}

// readLines reads lines from..to of a regular file of bounded size; ok is false when the blamed line is not in it.
func readLines(name string, from, to, blamed int) ([]report.Line, bool) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSourceFile {
		return nil, false
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close() //nolint:errcheck // read only
	in := bufio.NewReader(io.LimitReader(f, maxSourceFile))
	var lines []report.Line
	for n := 1; n <= to; n++ {
		text, err := in.ReadBytes('\n')
		if len(text) == 0 && err != nil {
			break
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, false // no source
		}
		if n >= from {
			lines = append(lines, report.Line{Number: n, Text: clipLine(text)})
		}
	}
	if len(lines) == 0 || lines[len(lines)-1].Number < blamed {
		return nil, false
	}
	return lines, true
}

func clipLine(text []byte) string {
	return report.Clip(string(bytes.TrimRight(text, "\r\n")), maxSourceLine)
}
