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
	"os"
	"path/filepath"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// toolchains are the releases from which tables are made: the last patch of each, or the newest that was at hand.
var toolchains = map[string]string{
	"1.21": "go1.21.13",
	"1.22": "go1.22.12",
	"1.23": "go1.23.12",
	"1.24": "go1.24.13",
	"1.25": "go1.25.7",
	"1.26": "go1.26.8",
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
	flag.Parse()
	for _, r := range layout.Known("") {
		if *release != "" && r != *release {
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
	text, err := generate(release, arch, strings.Fields(experiments[release]))
	if err != nil {
		return fmt.Errorf("table of Go %s for %s: %w", release, arch, err)
	}
	return os.WriteFile(filepath.Join(folder, tableName(release, arch)+".txt"), text, 0o644)
}

func tableName(release, arch string) string { return "go" + release + "_" + arch }

// generate gives the text of a table. Experiments come last in it, so that a table without them is the start of one with.
func generate(release, arch string, experiments []string) ([]byte, error) {
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
	for _, x := range experiments {
		f, err := b.build(variant{arch: arch, program: "medium", env: []string{"GOEXPERIMENT=" + x}})
		if err != nil {
			return nil, err
		}
		if source.Experiments == nil {
			source.Experiments = map[string][]layout.TypeSource{}
		}
		source.Experiments[x] = []layout.TypeSource{{Program: f}}
	}
	var text bytes.Buffer
	if err := layout.WriteTable(&text, source); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// fill builds what a table needs. The types of arm64 are written as differences from amd64.
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
	}
	if err := b.facts(s); err != nil {
		return err
	}
	return b.references(s)
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
