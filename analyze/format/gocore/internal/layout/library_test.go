package layout

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"strings"
	"testing"
)

// wantLibrary are offsets that were read from the source: fields of words only before them.
var wantLibrary = []struct {
	path   string
	offset uint64
}{
	{path: "database/sql.Rows.dc", offset: 0},
	{path: "database/sql.Rows.releaseConn", offset: 8},
	{path: "database/sql.Tx.db", offset: 0},
	{path: "database/sql.Tx.dc", offset: 8 + 24}, // behind db and an RWMutex
	{path: "database/sql.Conn.dc", offset: 8 + 24},
	{path: "database/sql.driverConn.createdAt", offset: 8},
	{path: "container/list.Element.Value", offset: 24},
	{path: "container/list.List.len", offset: 40},
	{path: "net/http.Response.StatusCode", offset: 16},
	{path: "net/http.bodyEOFSignal.mu", offset: 16}, // behind an interface
}

func TestLibraryTables(t *testing.T) {
	for _, release := range Known("") {
		l, err := LibraryFor("go" + release + ".3")
		if err != nil {
			t.Fatalf("Go %s: %v", release, err)
		}
		for _, want := range wantLibrary {
			if off, ok := l.Offset(want.path); !ok || off != want.offset {
				t.Errorf("Go %s: %s is at %d (%v), want %d", release, want.path, off, ok, want.offset)
			}
		}
		for _, name := range libraryTypes {
			if l.types.structs[name] == nil {
				t.Errorf("Go %s: the table has no %s", release, name)
			}
		}
		_, set := l.Offset("database/sql.DB.connRequests.s")
		if early := release == "1.21" || release == "1.22"; set == early { // a map until Go 1.22, then a set (sql.go)
			t.Errorf("Go %s: the requests of a DB are a set: %v", release, set)
		}
		_, ready := l.Offset("net/http.wantConn.ready")
		_, result := l.Offset("net/http.wantConn.result")
		if ready == result {
			t.Errorf("Go %s: wantConn has ready: %v, result: %v", release, ready, result)
		}
		if off, ok := l.Offset("net/http.wantConn.result", "net/http.wantConn.ready"); !ok || off == 0 {
			t.Errorf("Go %s: the channel of a wantConn is at %d (%v)", release, off, ok)
		}
	}
}

func TestLibraryUnknown(t *testing.T) {
	for _, version := range []string{"go1.20.1", "go1.99", "", "devel"} {
		var unknown *UnknownVersionError
		if _, err := LibraryFor(version); !errors.As(err, &unknown) {
			t.Errorf("%q: %v", version, err)
		}
	}
	l, err := LibraryFor("go1.26.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "database/sql.DB.nothing", "database/sql", "nobody.T.f"} {
		if off, ok := l.Offset(path); ok {
			t.Errorf("%q is at %d", path, off)
		}
	}
}

// TestLibraryOfProgram reads the structs of the test's own executable, which has lists and no pools.
func TestLibraryOfProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Skipf("no ELF executable: %v", err)
	}
	defer f.Close()
	l, err := LibraryFromELF(f)
	if errors.Is(err, ErrNoDWARF) {
		t.Skip("the test was linked without DWARF")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Offset("golang.org/x/sync/semaphore.Weighted.size"); ok {
		t.Error("the test has a semaphore that it does not import")
	}
	if off, ok := l.Offset("runtime.g.stack.hi"); !ok || off != 8 {
		t.Errorf("runtime.g.stack.hi is at %d (%v)", off, ok)
	}
	var text bytes.Buffer
	if err := WriteLibrary(&text, "1.26", f, nil); err == nil || !strings.Contains(err.Error(), "the program has no") || text.Len() > 0 {
		t.Errorf("a table was made of a program without the structs: %v", err)
	}
}
