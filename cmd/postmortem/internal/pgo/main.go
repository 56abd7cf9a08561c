// Command pgo merges CPU profiles into the one by which the compiler builds the command: cmd/postmortem/default.pgo, which `go build` finds by its
// name (go.dev/doc/pgo). What the compiler does not look at and what tells of the machine is left out: files, mappings, addresses, labels and
// comments.
//
//	go run ./cmd/postmortem/internal/pgo -o default.pgo PROFILE...
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/google/pprof/profile"
)

func main() {
	out := flag.String("o", "default.pgo", "where to write the profile")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pgo:", err)
		os.Exit(1)
	}
}

func run(out string, paths []string) error {
	if len(paths) == 0 {
		return errors.New("no profiles are named: go test -cpuprofile writes them")
	}
	var list []*profile.Profile
	for _, path := range paths {
		p, err := read(path)
		if err != nil {
			return fmt.Errorf("reading a profile: %w", err)
		}
		list = append(list, p)
	}
	merged, err := profile.Merge(list)
	if err != nil {
		return fmt.Errorf("merging: %w", err)
	}
	var data bytes.Buffer
	if err := strip(merged).Write(&data); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return os.WriteFile(out, data.Bytes(), 0o644)
}

func read(path string) (*profile.Profile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := profile.ParseData(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// strip leaves the names of functions, their lines, and how often they were seen. The compiler finds a call by its line within its function,
// so that the lines of functions stay.
func strip(p *profile.Profile) *profile.Profile {
	for _, f := range p.Function {
		f.Filename = ""
	}
	for _, m := range p.Mapping {
		m.File, m.BuildID, m.Start, m.Limit, m.Offset = "", "", 0, 0, 0
	}
	for _, l := range p.Location {
		l.Address = 0
	}
	for _, s := range p.Sample {
		s.Label, s.NumLabel, s.NumUnit = nil, nil, nil
	}
	p.Comments, p.TimeNanos, p.DurationNanos = nil, 0, 0
	return p.Compact()
}
