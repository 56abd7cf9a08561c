package layout

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	tests := []struct {
		text string
		want Version
	}{
		{"go1.26.8", Version{Major: 1, Minor: 26, Patch: 8}},
		{"go1.26", Version{Major: 1, Minor: 26}},
		{"1.23.4", Version{Major: 1, Minor: 23, Patch: 4}},
		{"go1.24rc1", Version{Major: 1, Minor: 24, Pre: "rc1"}},
		{"go1.21beta2", Version{Major: 1, Minor: 21, Pre: "beta2"}},
		{"go1.24rc1 X:nogreenteagc", Version{Major: 1, Minor: 24, Pre: "rc1", Experiments: []string{"nogreenteagc"}}},
		{"go1.25.1 X:noswissmap,greenteagc,greenteagc", Version{Major: 1, Minor: 25, Patch: 1, Experiments: []string{"greenteagc", "noswissmap"}}},
		{"go1.21-X:loopvar", Version{Major: 1, Minor: 21, Experiments: []string{"loopvar"}}},
		{"go1.22.3 (Red Hat 1.22.3-1.el9)", Version{Major: 1, Minor: 22, Patch: 3}},
		{"go1.22.3-custom", Version{Major: 1, Minor: 22, Patch: 3}},
		{"devel go1.27-3f2a8b1c Mon Jan 5 10:00:00 2026 +0000", Version{Major: 1, Minor: 27, Devel: true}},
		{"devel go1.26-3f2a8b1c Mon X:simd", Version{Major: 1, Minor: 26, Devel: true, Experiments: []string{"simd"}}},
		{"go1.27-devel_3f2a8b1c Mon", Version{Major: 1, Minor: 27, Devel: true}},
		{" go1.26.8\n", Version{Major: 1, Minor: 26, Patch: 8}},
	}
	for _, test := range tests {
		got, err := ParseVersion(test.text)
		if err != nil {
			t.Errorf("ParseVersion(%q): %v", test.text, err)
			continue
		}
		if !equalVersions(got, test.want) {
			t.Errorf("ParseVersion(%q) = %+v, want %+v", test.text, got, test.want)
		}
	}
}

func equalVersions(a, b Version) bool {
	return a.String() == b.String() && a.Pre == b.Pre && a.Devel == b.Devel && slices.Equal(a.Experiments, b.Experiments)
}

func TestParseVersionRefuses(t *testing.T) {
	for _, text := range []string{"", "go", "go1", "go1.", "go1.x", "go1.2.", "gofer 1.2", "devel +3f2a8b1c", "go99999.1", "go1.99999999999999999999"} {
		if v, err := ParseVersion(text); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", text, v)
		}
	}
}

func TestAtLeast(t *testing.T) {
	v := Version{Major: 1, Minor: 24, Pre: "rc1"}
	for minor, want := range map[int]bool{23: true, 24: true, 25: false} {
		if got := v.AtLeast(1, minor); got != want {
			t.Errorf("%v.AtLeast(1, %d) = %v", v, minor, got)
		}
	}
	if v.AtLeast(2, 0) || !v.AtLeast(0, 99) {
		t.Errorf("%v: the major number is not compared first", v)
	}
}

func TestUnknownVersion(t *testing.T) {
	tests := []struct{ version, arch, want string }{
		{"go1.20.14", "amd64", `no table for "go1.20.14" on amd64; known versions are 1.21, 1.22`},
		{"go1.27.0", "amd64", `no table for "go1.27"`},
		{"devel go1.99-abc", "arm64", `no table for "devel go1.99" on arm64`},
		{"go1.26.8", "riscv64", `no table for "go1.26.8" on riscv64`},
		{"my own build", "amd64", "no major number"},
		{"", "amd64", "known versions are 1.21"},
	}
	for _, test := range tests {
		l, err := For(test.version, test.arch)
		var unknown *UnknownVersionError
		if l != nil || !errors.As(err, &unknown) {
			t.Errorf("For(%q, %q) = %v, %v; want an UnknownVersionError", test.version, test.arch, l, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("For(%q, %q): %v; want it to say %q", test.version, test.arch, err, test.want)
		}
		if _, err := Recover(test.version, test.arch, Program{}); !errors.As(err, &unknown) {
			t.Errorf("Recover(%q, %q): %v; want an UnknownVersionError", test.version, test.arch, err)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"go1.26.8", "go1.24rc1 X:a,b", "devel go1.27-abc Mon X:c", "1.2", "go1.21-X:loopvar", "go1.2.", "X:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			return
		}
		again, err := ParseVersion(v.String())
		if err != nil || again.Release() != v.Release() || again.Patch != v.Patch || again.Devel != v.Devel {
			t.Errorf("ParseVersion(%q) = %v, which reads back as %v, %v", text, v, again, err)
		}
		if v.Major > maxNumber || v.Minor > maxNumber || v.Patch > maxNumber {
			t.Errorf("ParseVersion(%q) = %+v: out of range", text, v)
		}
	})
}
