package layout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a parsed Go version, as runtime.buildVersion holds it.
type Version struct {
	Major, Minor, Patch int
	Pre                 string   // "rc1" or "beta2"; empty for a release
	Experiments         []string // what follows "X:" (GOEXPERIMENT differences from the default), sorted
	Devel               bool     // a build of the development branch: its layouts may be those of no release
}

// maxNumber bounds each number of a version; larger ones are not versions of Go.
const maxNumber = 9999

// ParseVersion reads a version such as "go1.26.8", "go1.24rc1 X:nogreenteagc", "1.23", "go1.22.3 (vendor build)" or
// "devel go1.27-3f2a8b1c Mon Jan 5". It fails when no major and minor number can be found.
func ParseVersion(s string) (Version, error) {
	var v Version
	text := strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(text, "devel"); ok {
		v.Devel = true
		text = strings.TrimLeft(rest, " +")
	}
	word, tail, _ := strings.Cut(text, " ")
	if err := v.parseNumbers(strings.TrimPrefix(word, "go")); err != nil {
		return Version{}, fmt.Errorf("go version %q: %w", clip(s), err)
	}
	if strings.Contains(word, "-devel") {
		v.Devel = true
	}
	v.parseExperiments(word, tail)
	return v, nil
}

// parseNumbers reads "1.26.8", "1.24rc1", "1.27-3f2a8b1c".
func (v *Version) parseNumbers(s string) error {
	var ok bool
	if v.Major, s, ok = leadingNumber(s); !ok || !strings.HasPrefix(s, ".") {
		return fmt.Errorf("no major number: want a version such as go1.26.8")
	}
	if v.Minor, s, ok = leadingNumber(s[1:]); !ok {
		return fmt.Errorf("no minor number: want a version such as go1.26.8")
	}
	if strings.HasPrefix(s, ".") {
		if v.Patch, _, ok = leadingNumber(s[1:]); !ok {
			return fmt.Errorf("no patch number after the second point: want a version such as go1.26.8")
		}
		return nil
	}
	for _, kind := range []string{"rc", "beta"} {
		if rest, found := strings.CutPrefix(s, kind); found {
			if n, _, ok := leadingNumber(rest); ok {
				v.Pre = kind + strconv.Itoa(n)
			}
		}
	}
	return nil
}

// parseExperiments takes the list after "X:", which stands as a word of its own or, in versions such as
// "go1.21-X:loopvar", inside the first word.
func (v *Version) parseExperiments(word, tail string) {
	words := append(strings.Fields(tail), afterDash(word))
	for _, w := range words {
		list, ok := strings.CutPrefix(w, "X:")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				v.Experiments = append(v.Experiments, name)
			}
		}
	}
	slices.Sort(v.Experiments)
	v.Experiments = slices.Compact(v.Experiments)
}

func afterDash(word string) string {
	_, after, _ := strings.Cut(word, "-")
	return after
}

// leadingNumber splits the decimal number off the front of s.
func leadingNumber(s string) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		if n = n*10 + int(s[i]-'0'); n > maxNumber {
			return 0, s, false
		}
		i++
	}
	return n, s[i:], i > 0
}

// AtLeast reports whether the version is major.minor or a later one. Release candidates count as their release.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Release is the version without patch, candidate and experiments: "1.26". Layouts are keyed by it.
func (v Version) Release() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// String is the version as ParseVersion reads it: "go1.26.8 X:nogreenteagc".
func (v Version) String() string {
	s := "go" + v.Release()
	if v.Pre != "" {
		s += v.Pre
	} else if v.Patch > 0 {
		s += "." + strconv.Itoa(v.Patch)
	}
	if v.Devel {
		s = "devel " + s
	}
	if len(v.Experiments) > 0 {
		s += " X:" + strings.Join(v.Experiments, ",")
	}
	return s
}

// UnknownVersionError says that there is no table for a runtime, and for which there is one. It is also returned for
// an architecture without tables and for a version string that cannot be read.
type UnknownVersionError struct {
	Version, Arch string
	Known         []string // releases with a table for Arch, or for any architecture when Arch itself is unknown
	Err           error    // why the version could not be read, or nil
}

// Error names the version, what is known and what can be done.
func (e *UnknownVersionError) Error() string {
	known := strings.Join(e.Known, ", ")
	if e.Err != nil {
		return fmt.Sprintf("layout of the Go runtime: %v; known versions are %s", e.Err, known)
	}
	return fmt.Sprintf("layout of the Go runtime: no table for %q on %s; known versions are %s; "+
		"a newer postmortem may have it", e.Version, e.Arch, known)
}

// Unwrap gives the cause, when the version string itself was at fault.
func (e *UnknownVersionError) Unwrap() error { return e.Err }

// clip shortens text from a file before it goes into an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
