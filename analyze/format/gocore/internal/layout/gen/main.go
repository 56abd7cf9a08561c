// The command gen writes the tables of the package layout: it builds probe programs with every release of Go that the
// tables know, reads their DWARF, the constants and texts of the runtime's source, and the code that refers to global
// variables.
//
// It needs the toolchains (the go command downloads them) and nothing else; the programs of arm64 are cross-compiled.
// Without -release it does all releases.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// toolchains are the releases from which tables are made: of each the last patch release that changed a layout, or a later.
var toolchains = map[string]string{
	"1.21": "go1.21.13",
	"1.22": "go1.22.12",
	"1.23": "go1.23.12",
	"1.24": "go1.24.13",
	"1.25": "go1.25.14",
	"1.26": "go1.26.8",
}

// newest are the newest patch releases, whose types are compared with those of the table. To bring the tables up to date,
// write the newest here; when the command then says that a type is another, make the table from it, and find by
// bisection the first patch release that has it, for earlierPatches.
var newest = map[string]string{
	"1.21": "go1.21.13",
	"1.22": "go1.22.12",
	"1.23": "go1.23.12",
	"1.24": "go1.24.13",
	"1.25": "go1.25.14",
	"1.26": "go1.26.11",
}

// earlierPatches are the patch releases that changed layouts: each stands for those from the one before it in the list on.
// They were found by comparing the DWARF of the first and last patch release, and of those between them by bisection.
var earlierPatches = map[string][]int{
	"1.21": {7},           // runtime.rwmutex
	"1.23": {2, 3, 4, 12}, // runtime.timer, twice; workType and a wait reason; runtime.m
	"1.24": {6},           // runtime.m
	"1.25": {8},           // os.file
	"1.26": {1},           // os.file
}

// otherPatches are the toolchains of a release with which its table is compared: the first, those before a change, the newest.
func otherPatches(release string) []string {
	list := []string{"go" + release + ".0"}
	for _, patch := range earlierPatches[release] {
		list = append(list, fmt.Sprintf("go%s.%d", release, patch-1))
	}
	list = append(list, newest[release])
	return slices.Compact(list)
}

// experiments are the GOEXPERIMENT settings under which types are compared with the default: those that change the
// runtime's data, and those that are in use though they do not (internal/goexperiment/flags.go of each release).
// staticlockranking, which serves to debug the runtime itself and changes every lock, is left unknown.
var experiments = map[string]string{
	"1.21": "arenas boringcrypto",
	"1.22": "arenas boringcrypto noallocheaders noexectracer2",
	"1.23": "arenas boringcrypto",
	"1.24": "arenas boringcrypto nospinbitmutex noswissmap nosynchashtriemap synctest",
	"1.25": "arenas boringcrypto greenteagc jsonv2 nodwarf5 noswissmap nosynchashtriemap synctest",
	"1.26": "arenas boringcrypto goroutineleakprofile jsonv2 nodwarf5 nogreenteagc norandomizedheapbase64 runtimefreegc " +
		"runtimesecret simd sizespecializedmalloc",
}

func main() {
	out := flag.String("out", "tables", "`folder` to write the tables to")
	release := flag.String("release", "", "only this `release`, such as 1.26")
	libraries := flag.String("libraries", "", "write the tables of the standard library, and only those, to this `folder`")
	flag.Parse()
	for _, r := range layout.Known("") {
		if *release != "" && r != *release {
			continue
		}
		if *libraries != "" {
			if err := writeLibrary(*libraries, r); err != nil {
				fmt.Fprintln(os.Stderr, "gen:", err)
				os.Exit(1)
			}
			continue
		}
		for _, arch := range layout.Arches() {
			if err := writeFile(*out, r, arch); err != nil {
				fmt.Fprintln(os.Stderr, "gen:", err)
				os.Exit(1)
			}
		}
	}
}

// writeFile makes the table of one release and architecture.
func writeFile(folder, release, arch string) error {
	text, err := generate(release, arch, everything)
	if err != nil {
		return fmt.Errorf("table of Go %s for %s: %w", release, arch, err)
	}
	return os.WriteFile(filepath.Join(folder, tableName(release, arch)+".txt"), text, 0o644)
}

func tableName(release, arch string) string { return "go" + release + "_" + arch }

// How much of a table generate makes. Each is the start of the next one's text.
const (
	ownPatch   = iota // the types and constants of the table's toolchain
	allPatches        // other patch releases too, and references from code
	everything        // experiments too
)

// generate gives the text of a table.
func generate(release, arch string, extent int) ([]byte, error) {
	dir, err := os.MkdirTemp("", "layout-gen-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &builder{dir: dir, toolchain: toolchains[release]}
	source := layout.Source{Toolchain: b.toolchain, Arch: arch}
	if err := b.fill(&source, release); err != nil {
		return nil, err
	}
	if extent >= allPatches {
		if err := b.fillPatches(&source, release); err != nil {
			return nil, err
		}
	}
	if extent >= everything {
		if err := b.fillExperiments(&source, release); err != nil {
			return nil, err
		}
	}
	var text bytes.Buffer
	if err := layout.WriteTable(&text, source); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// fill builds what a table needs. The types and constants of arm64 are written as differences from amd64.
func (b *builder) fill(s *layout.Source, release string) error {
	var err error
	if s.Programs, err = b.typePrograms(s.Arch); err != nil {
		return err
	}
	if s.Arch != "amd64" {
		s.BaseName = tableName(release, "amd64")
		if s.Base, err = b.typePrograms("amd64"); err != nil {
			return err
		}
		if s.BaseOf, err = keptOf(s.Base); err != nil {
			return err
		}
	}
	return b.facts(s)
}

// fillPatches builds programs with other patch releases.
func (b *builder) fillPatches(s *layout.Source, release string) error {
	for _, toolchain := range otherPatches(release) {
		other := &builder{dir: filepath.Join(b.dir, toolchain), toolchain: toolchain}
		found, err := other.compare(s)
		if err != nil {
			return err
		}
		p := layout.OtherPatch{Toolchain: toolchain, Programs: found.Programs, WaitReasons: found.WaitReasons}
		for _, patch := range earlierPatches[release] {
			if toolchain == fmt.Sprintf("go%s.%d", release, patch-1) {
				p.Before = patch
			}
		}
		s.Others = append(s.Others, p)
	}
	return b.references(s, release)
}

// fillExperiments builds programs under GOEXPERIMENT settings.
func (b *builder) fillExperiments(s *layout.Source, release string) error {
	s.Experiments = map[string][]layout.TypeSource{}
	for _, x := range strings.Fields(experiments[release]) {
		f, err := b.build(variant{arch: s.Arch, program: "medium", env: []string{"GOEXPERIMENT=" + x}})
		if err != nil {
			return err
		}
		s.Experiments[x] = []layout.TypeSource{{Program: f}}
	}
	return nil
}

// compare builds the programs of another patch release, and requires that its constants and statuses are the same.
func (b *builder) compare(s *layout.Source) (*layout.Source, error) {
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return nil, err
	}
	other := &layout.Source{Toolchain: b.toolchain, Arch: s.Arch}
	var err error
	if other.Programs, err = b.typePrograms(s.Arch); err != nil {
		return nil, err
	}
	if err := b.facts(other); err != nil {
		return nil, err
	}
	for name, value := range s.Constants {
		if was, ok := other.Constants[name]; !ok || was != value {
			return nil, fmt.Errorf("constant %s is %d in %s, and %d (%v) in %s: tables cannot say that", name, value, s.Toolchain, was, ok, b.toolchain)
		}
	}
	if !maps.Equal(s.Statuses, other.Statuses) {
		return nil, fmt.Errorf("statuses differ between %s and %s: tables cannot say that", s.Toolchain, b.toolchain)
	}
	return other, nil
}

// typePrograms builds the programs whose DWARF has the types of an architecture. The first is ordinary; in the second the
// runtime is compiled without inlining, which leaves more of its types in DWARF; the third has those of the kernel.
func (b *builder) typePrograms(arch string) ([]layout.TypeSource, error) {
	kernel, err := b.kernelProgram(arch)
	if err != nil {
		return nil, err
	}
	sources := []layout.TypeSource{{}, {}, {Names: kernelTypes()}}
	variants := []variant{{arch: arch}, {arch: arch, flags: []string{"-gcflags=runtime=-l"}}, {arch: arch, program: kernel}}
	for i, v := range variants {
		if sources[i].Program, err = b.build(v); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// keptConstants are the constants that a reader of the runtime's memory needs, by the start of their names.
var keptConstants = strings.Fields(`
	runtime._G runtime._P runtime._KindSpecial runtime.mSpan runtime.pd runtime.poll runtime.gcBgMarkWorker
	runtime.gcMarkWorker runtime.throwType runtime.timer runtime.semTabSize runtime.heapArenaBytes runtime.pageSize
	runtime.pagesPerArena runtime.arenaL runtime.arenaBaseOffset runtime._Stack runtime.stack runtime.finBlockSize runtime.hchanSize
	runtime.mutexL runtime.mutexS runtime.debugLog runtime._SIG runtime.fing runtime.sigPreempt runtime.minSizeForMallocHeader
	runtime._FixedStack runtime.cleanupBlockSize runtime.rwmutexMaxReaders runtime.maxSmallSize runtime.mallocHeaderSize
	runtime.freeMStack runtime.freeMRef runtime.freeMWait runtime.tracebackInnerFrames
	sync.mutex sync.rwmutex sync.waitGroup internal/sync.mutex internal/poll.mutex
	internal/abi.FuncID_ internal/abi.FuncFlag internal/abi.FUNCDATA_ internal/abi.PCDATA_ internal/abi.UnsafePoint
	internal/abi.Kind internal/abi.TFlag internal/abi.Stack internal/abi.MinFrameSize internal/abi.ZeroValSize
	internal/abi.OldMapBucketCount internal/abi.SwissMap internal/abi.MapBucket internal/abi.MapGroup
	internal/abi.ITabInit`)
