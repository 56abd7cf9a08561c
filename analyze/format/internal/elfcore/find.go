package elfcore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FindOptions say where to look for the files that were mapped.
type FindOptions struct {
	Exe        string   // the file of the program, as the user named it; then no other is looked at for it
	Sysroot    string   // prefix for paths of the machine the process ran on; tried before the bare path
	DebugDirs  []string // folders with a .build-id tree; DefaultDebugDirs are tried after them
	BesideCore bool     // look in the folder of the core for a file of the same name
}

// DefaultDebugDirs are where distributions put files by build-id.
var DefaultDebugDirs = []string{"/usr/lib/debug"}

// Candidate is a file that may be the mapped one.
type Candidate struct {
	Path string
	Why  string // how it was found: "--exe", "sysroot", "path", "path from here", "beside the core", "build-id"
}

// FindFiles lists the regular files on this machine that may be the module, best first. None of them is proved.
func FindFiles(c *Core, m Module, opts FindOptions) []Candidate {
	if m.Exe && opts.Exe != "" {
		return []Candidate{{Path: opts.Exe, Why: "--exe"}}
	}
	var out []Candidate
	seen := map[string]bool{}
	add := func(path, why string) {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || seen[path] {
			return
		}
		seen[path] = true
		out = append(out, Candidate{Path: path, Why: why})
	}
	coreDir := filepath.Dir(c.Path)
	if m.Path != "" {
		if opts.Sysroot != "" {
			add(filepath.Join(opts.Sysroot, m.Path), "sysroot")
		}
		if filepath.IsAbs(m.Path) {
			add(m.Path, "path")
		} else {
			// A process that dumps core without a pattern does so in its working folder.
			add(filepath.Join(coreDir, m.Path), "path")
			add(m.Path, "path from here")
		}
		if opts.BesideCore {
			add(filepath.Join(coreDir, filepath.Base(m.Path)), "beside the core")
		}
	}
	if id, ok := c.Identity(m); ok {
		for _, path := range BuildIDPaths(id.GNUBuildID, opts, "") {
			add(path, "build-id")
		}
	}
	return out
}

// BuildIDPaths gives the paths DIR/.build-id/xx/yyyy+suffix for a build-id. The suffix is "" for the file itself and
// ".debug" for its debug file. The files need not exist.
func BuildIDPaths(id []byte, opts FindOptions, suffix string) []string {
	if len(id) < 2 {
		return nil
	}
	name := hex.EncodeToString(id)
	var out []string
	for _, dir := range append(append([]string{}, opts.DebugDirs...), DefaultDebugDirs...) {
		out = append(out, filepath.Join(dir, ".build-id", name[:2], name[2:]+suffix))
		if opts.Sysroot != "" {
			out = append(out, filepath.Join(opts.Sysroot, dir, ".build-id", name[:2], name[2:]+suffix))
		}
	}
	return out
}

// Reasons for which Load finds no file.
var (
	// ErrNoFile says that no candidate exists on this machine.
	ErrNoFile = errors.New("the file is not on this machine")
	// ErrUnverified says that the core holds nothing that could prove a candidate.
	ErrUnverified = errors.New("the core holds nothing that proves the file is the one that was mapped")
)

// Load finds the file of a module, proves it and lays it under the core's memory. Core.Close closes it. A module that was
// loaded before is given again. The error joins what was wrong with each candidate: *MismatchError, *Error,
// ErrUnverified, or ErrNoFile when there was none. Load must not run at the same time as anything else on this Core.
func (c *Core) Load(m Module, opts FindOptions) (*Image, Verification, error) {
	key := moduleKey{m.Path, m.Start, m.Bias}
	if l, ok := c.loaded[key]; ok {
		return l.image, l.verification, nil
	}
	var failures []error
	for _, cand := range FindFiles(c, m, opts) {
		img, v, err := c.try(cand.Path, m)
		if err == nil {
			if c.loaded == nil {
				c.loaded = map[moduleKey]loadedFile{}
			}
			c.loaded[key] = loadedFile{img, v}
			return img, v, nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		failures = append(failures, &Error{Path: m.Path, Offset: -1, Doing: "looking for the file", Err: ErrNoFile})
	}
	return nil, Verification{}, fmt.Errorf("module %s: %w", m.name(), failedCandidates(failures))
}

// failedCandidates is errors.Join on one line.
type failedCandidates []error

// Error gives what was wrong with each candidate.
func (f failedCandidates) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives the errors of the candidates.
func (f failedCandidates) Unwrap() []error { return f }

// moduleKey tells modules apart.
type moduleKey struct {
	path        string
	start, bias uint64
}

// loadedFile is a module whose file was found and proved.
type loadedFile struct {
	image        *Image
	verification Verification
}

// name is the path of the module, or what it is when the path is lost.
func (m Module) name() string {
	if m.Path == "" {
		return "(the program, whose path is lost)"
	}
	return m.Path
}

// try opens, proves and adds one candidate.
func (c *Core) try(path string, m Module) (*Image, Verification, error) {
	img, err := OpenImage(path)
	if err != nil {
		return nil, Verification{}, err
	}
	v, err := img.VerifyAgainst(c, m)
	if err == nil && v.Method == Unverified {
		err = &Error{Path: path, Offset: -1, Doing: "verifying the file", Err: ErrUnverified}
	}
	if err == nil {
		_, err = c.Mem.AddImage(img, v)
	}
	if err != nil {
		_ = img.Close() // the first error is the one to tell
		return nil, Verification{}, err
	}
	return img, v, nil
}
