package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// libraryProbe uses the structs of the tables of the standard library.
const libraryProbe = `package main

import (
	"container/list"
	"context"
	"database/sql"
	"fmt"
	"net/http"
)

func main() {
	db, _ := sql.Open("probe", "")
	ctx := context.Background()
	rows, _ := db.QueryContext(ctx, "")
	tx, _ := db.BeginTx(ctx, nil)
	conn, _ := db.Conn(ctx)
	resp, _ := http.Get("http://localhost")
	l := list.New()
	fmt.Println(db, rows, tx, conn, resp, l.PushBack(1), http.DefaultTransport.(*http.Transport))
}
`

// writeLibrary makes the table of the standard library of one release. The structs must be the same in its first and in its newest
// patch release, and on both architectures.
func writeLibrary(folder, release string) error {
	dir, err := os.MkdirTemp("", "layout-gen-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	own, others, err := libraryPrograms(dir, release)
	if err != nil {
		return fmt.Errorf("library of Go %s: %w", release, err)
	}
	var text bytes.Buffer
	if err := layout.WriteLibrary(&text, release, own, others); err != nil {
		return fmt.Errorf("library of Go %s: %w", release, err)
	}
	return os.WriteFile(filepath.Join(folder, "go"+release+".txt"), text.Bytes(), 0o644)
}

// libraryPrograms builds the probe with the toolchain of the tables for amd64, and those that are compared with it.
func libraryPrograms(dir, release string) (own *elf.File, others map[string]*elf.File, err error) {
	others = map[string]*elf.File{}
	list := []string{toolchains[release], "go" + release + ".0"}
	if !slices.Contains(list, newest[release]) {
		list = append(list, newest[release])
	}
	for _, toolchain := range list {
		b := &builder{dir: filepath.Join(dir, toolchain), toolchain: toolchain}
		if err := os.MkdirAll(b.dir, 0o755); err != nil {
			return nil, nil, err
		}
		for _, arch := range layout.Arches() {
			f, err := b.build(variant{arch: arch, program: libraryProbe})
			if err != nil {
				return nil, nil, err
			}
			if own == nil {
				own = f
			} else {
				others[toolchain+" "+arch] = f
			}
		}
	}
	return own, others, nil
}
