package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// tree writes files of ten numbered lines.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("of "+name+"\r\n", 10)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestSourcePlaces(t *testing.T) {
	checkout := tree(t, "main.go", "internal/cache/cache.go")
	goRoot := tree(t, "src/net/http/server.go")
	modules := tree(t, "github.com/!burnt!sushi/toml@v1.4.0/Decode.go")
	env := map[string]string{"GOROOT": goRoot, "GOMODCACHE": modules, "HOME": t.TempDir()}
	s := newSources([]string{checkout}, &evidence.Process{MainModule: "example.com/app", SourceRoot: "/opt/go/src/"},
		func(k string) string { return env[k] })
	for _, test := range []struct{ file, want string }{
		{"example.com/app/internal/cache/cache.go", "internal/cache/cache.go"},           // -trimpath
		{"/home/build/app/internal/cache/cache.go", "internal/cache/cache.go"},           // another machine
		{`C:\build\app\internal\cache\cache.go`, "internal/cache/cache.go"},              // another system
		{filepath.Join(checkout, "main.go"), "main.go"},                                  // as recorded
		{"/opt/go/src/net/http/server.go", "src/net/http/server.go"},                     // the toolchain, elsewhere
		{"net/http/server.go", "src/net/http/server.go"},                                 // the toolchain, -trimpath
		{"github.com/BurntSushi/toml@v1.4.0/Decode.go", "sushi/toml@v1.4.0/Dec"},         // a module, -trimpath
		{"/home/build/go/pkg/mod/github.com/!burnt!sushi/toml@v1.4.0/Decode.go", "toml"}, // a module, elsewhere
	} {
		lines, ok := s.SourceLines(test.file, 5, 2)
		if !ok || len(lines) != 5 || lines[0].Number != 3 || !strings.Contains(lines[0].Text, test.want) || strings.HasSuffix(lines[0].Text, "\r") {
			t.Errorf("%s: %v, %v; want lines 3 to 7 of %s", test.file, lines, ok, test.want)
		}
	}
}

func TestSourceRefused(t *testing.T) {
	root := tree(t, "shadow", "binary.go", "short.go", "secret.go")
	if err := os.WriteFile(filepath.Join(root, "binary.go"), []byte("a\nb\x00c\nd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "folder.go"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSources(nil, &evidence.Process{}, func(string) string { return "" })
	for name, file := range map[string]string{
		"a file that is no source": filepath.Join(root, "shadow"), "binary content": filepath.Join(root, "binary.go"),
		"a folder": filepath.Join(root, "folder.go"), "a file that is not there": filepath.Join(root, "none.go"),
		"a path that climbs": root + "/x/../secret.go",
	} {
		if lines, ok := s.SourceLines(file, 2, 1); ok {
			t.Errorf("%s was shown: %v", name, lines)
		}
	}
	for _, line := range []int{0, -1, 11, 1 << 30} {
		if lines, ok := s.SourceLines(filepath.Join(root, "short.go"), line, 3); ok {
			t.Errorf("line %d of ten was shown: %v", line, lines)
		}
	}
	if lines, ok := s.SourceLines(filepath.Join(root, "short.go"), 10, 3); !ok || len(lines) != 4 {
		t.Errorf("the last line: %v, %v", lines, ok)
	}
}

func TestSourceLongLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wide.go")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, ok := readLines(path, 1, 3, 1)
	if !ok || len(lines) != 1 || len(lines[0].Text) > 2*maxSourceLine {
		t.Errorf("%d lines, %v: want one, cut short", len(lines), ok)
	}
}

func TestEscapeModule(t *testing.T) {
	for in, want := range map[string]string{
		"github.com/BurntSushi/toml@v1.4.0/Decode.go": "github.com/!burnt!sushi/toml@v1.4.0/Decode.go",
		"a/b@v1.0.0-RC1/x.go":                         "a/b@v1.0.0-!r!c1/x.go",
		"a@v1":                                        "a@v1",
	} {
		if got := escapeModule(in); got != want {
			t.Errorf("escapeModule(%q) = %q, want %q", in, got, want)
		}
	}
}
