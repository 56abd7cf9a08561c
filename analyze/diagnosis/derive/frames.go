// Package derive holds what several rules share: whose code a frame is, who waits for what, who holds it.
package derive

import (
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Owner is whose code a frame is.
type Owner uint8

// The owners of code, from the nearest to the user to the farthest.
const (
	OwnerUser       Owner = iota // the main module, or code whose module is not known
	OwnerDependency              // a module of the build list
	OwnerStandard                // the standard library
	OwnerRuntime                 // package runtime and what it is made of
	OwnerNative                  // C and the like
)

// standardRoots are the first elements of the import paths of the standard library (go list std, Go 1.21 to 1.26). They are
// asked only where the file names do not tell.
var standardRoots = setOf("archive", "arena", "bufio", "bytes", "cmp", "compress", "container", "context", "crypto",
	"database", "debug", "embed", "encoding", "errors", "expvar", "flag", "fmt", "go", "hash", "html", "image", "index",
	"internal", "io", "iter", "log", "maps", "math", "mime", "net", "os", "path", "plugin", "reflect", "regexp", "runtime",
	"slices", "sort", "strconv", "strings", "structs", "sync", "syscall", "testing", "text", "time", "unicode", "unique",
	"unsafe", "vendor", "weak")

func setOf(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}

// Frames knows whose code the frames of a Case are. Answers are kept: a rule asks for the same frames again and again.
type Frames struct {
	c     *evidence.Case
	owner []Owner // by FrameID
	known []bool

	tellers, loggers *Marks // see Doing; nil until they are asked for
}

// OfFrames is the derivation of Frames.
var OfFrames = &diagnosis.Derivation[*Frames]{
	Name: "frames",
	Run: func(p *diagnosis.Pass) (*Frames, error) {
		return &Frames{c: p.Case}, nil
	},
}

// Owner says whose code a frame is.
func (f *Frames) Owner(id evidence.FrameID) Owner {
	for int(id) >= len(f.known) {
		f.known = append(f.known, false)
		f.owner = append(f.owner, OwnerUser)
	}
	if !f.known[id] {
		f.known[id] = true
		f.owner[id] = ownerOf(f.c.Frame(id), &f.c.Process)
	}
	return f.owner[id]
}

// ownerOf decides by the file first, because a file of the toolchain or of the module cache cannot be the user's, and by the
// import path where the file does not tell (trimmed paths, dumps without build information).
func ownerOf(f evidence.Frame, p *evidence.Process) Owner {
	if f.Language != evidence.LanguageGo {
		return OwnerNative
	}
	pkg := Package(f.Function)
	if isRuntime(pkg) {
		return OwnerRuntime
	}
	toolchain := p.SourceRoot != "" && strings.HasPrefix(f.File, p.SourceRoot)
	if toolchain && p.MainModule != "cmd" && p.MainModule != "std" {
		return OwnerStandard // whatever its name: a closure of sync.OnceValue is named after the user's function that called it
	}
	if own := p.MainModule; own != "" && (pkg == own || strings.HasPrefix(pkg, own+"/")) {
		return OwnerUser
	}
	if pkg == "main" {
		return OwnerUser
	}
	if toolchain {
		return OwnerStandard
	}
	if inModuleCache(f.File) || isDependency(pkg, p) {
		return OwnerDependency
	}
	root, _, _ := strings.Cut(pkg, "/")
	outside := p.SourceRoot != "" && strings.HasPrefix(f.File, "/") // the toolchain's own files were tested above
	if standardRoots[root] && !outside {
		return OwnerStandard
	}
	return OwnerUser
}

// inModuleCache recognises the module cache by its layout: .../pkg/mod/path@version/file.go, or path@version/file.go when the
// paths were trimmed; a vendored package by its folder.
func inModuleCache(file string) bool {
	return strings.Contains(file, "/pkg/mod/") || strings.Contains(file, "@v") || strings.Contains(file, "/vendor/")
}

func isDependency(pkg string, p *evidence.Process) bool {
	for _, m := range p.Modules {
		if pkg == m.Path || strings.HasPrefix(pkg, m.Path+"/") {
			return true
		}
	}
	return false
}

// isRuntime covers the packages whose frames are the machinery of goroutines and not somebody's calls.
func isRuntime(pkg string) bool {
	return pkg == "runtime" || strings.HasPrefix(pkg, "runtime/internal/") || strings.HasPrefix(pkg, "internal/runtime/") ||
		pkg == "internal/abi" || pkg == "internal/bytealg" || pkg == "internal/cpu"
}

// Package returns the import path of a function: "net/http" for net/http.(*conn).serve. Dots in the last element of an
// import path are escaped by the linker as %2e.
func Package(function string) string {
	dir := ""
	base := function
	if bracket := strings.IndexByte(function, '['); bracket >= 0 { // type arguments hold slashes of their own
		base = function[:bracket]
	}
	if paren := strings.IndexByte(base, '('); paren >= 0 {
		base = base[:paren]
	}
	if slash := strings.LastIndexByte(base, '/'); slash >= 0 {
		dir, base = base[:slash+1], base[slash+1:]
	}
	name, _, _ := strings.Cut(base, ".")
	return strings.ReplaceAll(dir+name, "%2e", ".")
}

// UserFrame returns the index of the line a developer should open: the innermost frame of the user's own module, or else of a
// dependency, that stands in a file; ok is false when the stack holds neither.
func (f *Frames) UserFrame(s evidence.Stack) (int, bool) { return f.UserFrameFrom(s, 0) }

// UserFrameFrom is UserFrame for the part of the stack that begins at frame from.
func (f *Frames) UserFrameFrom(s evidence.Stack, from int) (int, bool) {
	dependency := -1
	for i := from; i < s.Len(); i++ {
		switch f.Owner(s.FrameID(i)) {
		case OwnerUser:
			if s.At(i).File != generated {
				return i, true
			}
		case OwnerDependency:
			if dependency < 0 && s.At(i).File != generated {
				dependency = i
			}
		}
	}
	return dependency, dependency >= 0
}

// OutsideStandard returns the index of the innermost frame that is neither the runtime's nor the standard library's nor
// native.
func (f *Frames) OutsideStandard(s evidence.Stack, from int) (int, bool) {
	for i := from; i < s.Len(); i++ {
		if o := f.Owner(s.FrameID(i)); o == OwnerUser || o == OwnerDependency {
			return i, true
		}
	}
	return -1, false
}

// Has reports whether a frame with one of these functions is on the stack, and where the innermost is. Who asks for each of many
// stacks uses Marks.
func Has(s evidence.Stack, functions ...string) (int, bool) {
	for i := range s.Len() {
		if slices.Contains(functions, s.At(i).Function) {
			return i, true
		}
	}
	return -1, false
}

// Mark is what a rule makes of a frame: a set of bits or a small number, as it likes. The highest bit is not for use.
type Mark uint8

const (
	markKnown Mark = 1 << 7        // the frame was judged
	markAll        = markKnown - 1 // what a judgement can say
)

// Marks judges each distinct frame once, however many stacks it stands on: a core of deep stacks has hundreds of frames on stacks
// for each distinct one, and comparing names is what rules spend their time on.
type Marks struct {
	c     *evidence.Case
	judge func(evidence.Frame) Mark
	of    []Mark // by FrameID
}

// Marks makes marks of frames by a judgement, which depends on nothing but the frame.
func (f *Frames) Marks(judge func(evidence.Frame) Mark) *Marks { return &Marks{c: f.c, judge: judge} }

// Of is the mark of a frame.
func (m *Marks) Of(id evidence.FrameID) Mark {
	if int(id) < len(m.of) && m.of[id]&markKnown != 0 {
		return m.of[id] & markAll
	}
	return m.decide(id)
}

// decide judges a frame that was not judged yet.
func (m *Marks) decide(id evidence.FrameID) Mark {
	if missing := int(id) + 1 - len(m.of); missing > 0 {
		m.of = append(m.of, make([]Mark, missing)...)
	}
	mark := m.judge(m.c.Frame(id)) & markAll
	m.of[id] = mark | markKnown
	return mark
}

// On is the union of the marks of a stack's frames, for marks that are bits.
func (m *Marks) On(s evidence.Stack) Mark {
	var union Mark
	for i := range s.Len() {
		union |= m.Of(s.FrameID(i))
	}
	return union
}
