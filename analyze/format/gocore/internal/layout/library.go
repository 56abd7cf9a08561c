package layout

import (
	"debug/elf"
	"embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:generate go run ./gen -libraries libraries

// libraryTypes are the structs outside of the runtime whose fields readers of pools want, with every struct that is part of one by
// value. Sources: database/sql/sql.go, net/http/transport.go, net/http/response.go, container/list/list.go.
var libraryTypes = []string{
	"database/sql.DB", "database/sql.driverConn", "database/sql.Rows", "database/sql.Tx", "database/sql.Conn",
	"net/http.Transport", "net/http.persistConn", "net/http.wantConn", "net/http.bodyEOFSignal", "net/http.Response",
	"container/list.List", "container/list.Element",
}

// moduleTypes are structs of modules. No table can have them, because their version does not depend on that of Go.
// Sources: golang.org/x/sync/semaphore/semaphore.go, golang.org/x/sync/errgroup/errgroup.go.
var moduleTypes = []string{
	"golang.org/x/sync/semaphore.Weighted", "golang.org/x/sync/semaphore.waiter", "golang.org/x/sync/errgroup.Group",
}

// Library is where the fields of structs outside of the runtime are. It is immutable and safe for concurrent use.
type Library struct{ types *types }

//go:embed libraries/*.txt
var libraryFiles embed.FS

var libraryCache sync.Map // release -> func() (*Library, error)

// LibraryFor gives the structs of the standard library in a release, from the tables. They are the same on amd64 and arm64. Without
// a table the error is an *UnknownVersionError.
func LibraryFor(version string) (*Library, error) {
	v, err := ParseVersion(version)
	if err != nil || !slices.Contains(knownReleases, v.Release()) {
		return nil, &UnknownVersionError{Version: clip(version), Known: Known(""), Err: err}
	}
	load, _ := libraryCache.LoadOrStore(v.Release(), sync.OnceValues(func() (*Library, error) {
		text, err := libraryFiles.ReadFile("libraries/go" + v.Release() + ".txt")
		if err != nil {
			return nil, fmt.Errorf("layout table of the library: %w", err)
		}
		t, err := parseTable(string(text))
		if err != nil {
			return nil, fmt.Errorf("layout table of the library of Go %s: %w", v.Release(), err)
		}
		return &Library{t.types}, nil
	}))
	return load.(func() (*Library, error))()
}

// LibraryFromELF reads the structs of modules from an executable's DWARF: those that the program uses. Without usable DWARF the
// error wraps ErrNoDWARF.
func LibraryFromELF(f *elf.File) (*Library, error) { return libraryOf(f, moduleTypes) }

// libraryOf reads structs from an executable's DWARF. A runtime.g is in every program and tells the unit of types from others.
func libraryOf(f *elf.File, names []string) (*Library, error) {
	found, err := typesOfProgram(f, append([]string{"runtime.g"}, names...))
	if err != nil {
		return nil, fmt.Errorf("types of the library: %w", err)
	}
	return &Library{found}, nil
}

// Offset is where a field is, in bytes from the start of the struct that the path begins with: "database/sql.DB.numOpen". Of
// several paths the first that exists counts. ok is false when none does.
func (l *Library) Offset(paths ...string) (offset uint64, ok bool) {
	for _, path := range paths {
		if offset, _, ok := l.types.locate(path); ok {
			return offset, true
		}
	}
	return 0, false
}

// WriteLibrary writes the table of one release, from a program that uses all of it. Others are programs of the same release: for
// another architecture, or by another patch release; the structs must be the same in them.
func WriteLibrary(w io.Writer, release string, program *elf.File, others map[string]*elf.File) error {
	own, err := wholeLibrary(program)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		other, err := wholeLibrary(others[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var changed strings.Builder
		if writeTypes(&changed, own, other); changed.Len() > 0 {
			return fmt.Errorf("%s has other structs:\n%s", name, changed.String())
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Structs of the standard library of Go %s on linux/amd64 and linux/arm64: DWARF of probe programs. Generated, do not\n"+
		"# edit: go generate ./analyze/format/gocore/internal/layout\n", release)
	writeTypes(&b, newTypes(), own)
	_, err = io.WriteString(w, b.String())
	return err
}

// wholeLibrary reads all of libraryTypes, and leaves out what belongs to the runtime.
func wholeLibrary(f *elf.File) (*types, error) {
	l, err := libraryOf(f, libraryTypes)
	if err != nil {
		return nil, err
	}
	for _, name := range libraryTypes {
		if l.types.structs[name] == nil {
			return nil, fmt.Errorf("the program has no %s", name)
		}
	}
	maps.DeleteFunc(l.types.structs, func(name string, _ *structType) bool { return strings.HasPrefix(name, "runtime.") })
	clear(l.types.aliases)
	return l.types, nil
}
