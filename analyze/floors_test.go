package analyze

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gopostmortem/postmortem"

// room is a folder of the house with everything below it. Imports inside a room are its own affair; all others go to a
// strictly lower floor, so that no room knows a sibling.
type room struct {
	path  string // below the module; a last element * stands for each folder there, which is a room of its own
	floor int
	wing  string // "read", "reason" or "tell"; empty for rooms that stand outside of the wings
	std   bool   // imports the standard library and this module only
}

// house is the table of docs/architecture.md. The first row that fits counts.
var house = []room{
	{"cmd/postmortem", 5, "", false},
	{"rules/ruletest", 5, "reason", true},
	{"rules/internal/gen", 5, "", true},                     // commands that write the registry, the pages
	{"rules/internal/docgen", 5, "", true},                  // of the rules, and the skeleton of a new rule:
	{"rules/internal/newrule", 5, "", true},                 // run by go generate, imported by nothing
	{"analyze/format/gocore/internal/bench", 5, "", false},  // commands for developers: they measure
	{"analyze/format/gotrace/internal/bench", 5, "", false}, // the whole pipeline
	{"analyze", 4, "", true},
	{"rules", 4, "reason", true},
	{"analyze/format/input", 2, "read", true},
	{"analyze/format/internal/native", 2, "read", false}, // unwinds over the memory of elfcore
	{"analyze/format/internal/*", 1, "read", false},
	{"analyze/format", 1, "read", true},
	{"analyze/format/*", 3, "read", false},
	{"rules/internal/*", 3, "reason", true},
	{"rules/*", 3, "reason", true},
	{"analyze/capture", 3, "", false},
	{"analyze/report", 2, "tell", true},
	{"analyze/report/*", 3, "tell", false},
	{"analyze/diagnosis/derive", 2, "reason", true},
	{"analyze/diagnosis", 1, "reason", true},
	{"analyze/evidence", 0, "", true},
	{"fixtures", 0, "", true},
}

// exact are the rooms that are one folder and not a tree: below them stand other rooms.
var exact = map[string]bool{"analyze": true, "analyze/format": true, "analyze/report": true, "analyze/diagnosis": true,
	"rules": true, "analyze/diagnosis/derive": true}

// mayKnow are the pairs of wings, beyond a wing and itself, of which the first may import the second.
var mayKnow = map[[2]string]bool{{"tell", "reason"}: true}

// onlyDiagnosis bounds the one door between telling and reasoning: reports see findings, never rules or derivations.
var onlyDiagnosis = []string{"analyze/diagnosis"}

// lodgers are third-party modules and the rooms they live in, one place each.
var lodgers = []struct {
	module string
	rooms  []string
}{
	{"github.com/go-delve/delve", []string{"analyze/format/gocore", "analyze/capture", "analyze/format/gocore/internal/bench"}},
	{"golang.org/x/arch", []string{"analyze/format/gocore"}},
	{"golang.org/x/exp/trace", []string{"analyze/format/gotrace", "analyze/format/gotrace/internal/bench"}},
	{"github.com/klauspost/compress", []string{"analyze/format/internal/unpack"}},
	{"github.com/pierrec/lz4", []string{"analyze/format/internal/unpack"}},
	{"github.com/ulikunitz/xz", []string{"analyze/format/internal/unpack"}},
	{"golang.org/x/sys", []string{"analyze/format/internal/elfcore", "analyze/capture"}},
	{"github.com/ianlancetaylor/demangle", []string{"analyze/format/internal/native"}},
	{"github.com/google/pprof", []string{"analyze/report/heapprofile", "analyze/report/traceprofile"}},
	{"charm.land/lipgloss", []string{"analyze/report/text"}},
	{"github.com/charmbracelet/x/ansi", []string{"analyze/report/text"}},
	{"github.com/charmbracelet/x/term", []string{"cmd/postmortem"}},
	{"github.com/spf13/cobra", []string{"cmd/postmortem"}},
	{"github.com/spf13/pflag", []string{"cmd/postmortem"}},
	{"github.com/vbauerster/mpb", []string{"cmd/postmortem"}},
}

// roomOf finds the room of a package, and the folder that is the room's own ("analyze/format/gocore").
func roomOf(pkg string) (r room, own string, ok bool) {
	for _, r := range house {
		base, each := strings.CutSuffix(r.path, "/*")
		switch {
		case each && strings.HasPrefix(pkg, base+"/"):
			name, _, _ := strings.Cut(pkg[len(base)+1:], "/")
			return r, base + "/" + name, true
		case !each && (pkg == r.path || !exact[r.path] && strings.HasPrefix(pkg, r.path+"/")):
			return r, r.path, true
		}
	}
	return room{}, "", false
}

// violations holds a graph of imports (package below the module -> import paths) against the house.
func violations(graph map[string][]string) []string {
	var found []string
	for _, pkg := range slices.Sorted(maps.Keys(graph)) {
		from, own, ok := roomOf(pkg)
		if !ok {
			found = append(found, pkg+": no room for it in the table")
			continue
		}
		for _, imp := range graph[pkg] {
			if fault := judge(from, own, imp); fault != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", pkg, imp, fault))
			}
		}
	}
	return found
}

// judge says what is wrong with an import, or "".
func judge(from room, own, imp string) string {
	inner, ours := strings.CutPrefix(imp, module+"/")
	if !ours {
		return judgeForeign(from, own, imp)
	}
	to, home, ok := roomOf(inner)
	if !ok {
		return "no room for it in the table"
	}
	wall := from.wing != "" && to.wing != "" && from.wing != to.wing
	switch {
	case home == own:
		return ""
	case inner == "rules/ruletest":
		return "only tests may import it"
	case wall && !mayKnow[[2]string{from.wing, to.wing}]:
		return fmt.Sprintf("a wall stands between the wings %q and %q", from.wing, to.wing)
	case wall && !slices.Contains(onlyDiagnosis, home):
		return "reports see findings (analyze/diagnosis) and no more of that wing"
	case to.floor >= from.floor:
		return fmt.Sprintf("floor %d imports floor %d: imports go strictly downwards", from.floor, to.floor)
	}
	return ""
}

func judgeForeign(from room, own, imp string) string {
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") {
		return "" // the standard library
	}
	if from.std {
		return "this room imports the standard library only"
	}
	for _, l := range lodgers {
		if imp == l.module || strings.HasPrefix(imp, l.module+"/") {
			if slices.Contains(l.rooms, own) {
				return ""
			}
			return "this module lives in " + strings.Join(l.rooms, " and ")
		}
	}
	return "no room is given to this module in the table"
}

// readImports reads the imports of every package below root, tests left out: they may look anywhere. Files of all systems and
// architectures count.
func readImports(root string) (map[string][]string, error) {
	graph := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipForeign(root, path, d.Name())
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("reading imports: %w", err)
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", path, spec.Path.Value, err)
			}
			if !slices.Contains(graph[pkg], imp) {
				graph[pkg] = append(graph[pkg], imp)
			}
		}
		slices.SortFunc(graph[pkg], cmp.Compare[string])
		return nil
	})
	return graph, err
}

// skipForeign leaves out what is no package of the module: test data, hidden folders, and modules of their own.
func skipForeign(root, path, name string) error {
	if path == root {
		return nil
	}
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// TestFloors holds the house as it stands against the table.
func TestFloors(t *testing.T) {
	graph, err := readImports("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"analyze", "analyze/evidence", "analyze/diagnosis", "cmd/postmortem"} {
		if len(graph[pkg]) == 0 {
			t.Errorf("no imports of %s were read: the test looks at the wrong folder", pkg)
		}
	}
	for _, fault := range violations(graph) {
		t.Error(fault)
	}
}

// TestFloorsCatch injects one violation of each kind and expects exactly that one.
func TestFloorsCatch(t *testing.T) {
	in := func(pkg string) string { return module + "/" + pkg }
	for _, test := range []struct{ name, pkg, imports, want string }{
		{"upwards", "analyze/evidence", in("analyze/diagnosis"), "strictly downwards"},
		{"upwards to the facade", "analyze/format/gocore", in("analyze"), "strictly downwards"},
		{"sibling readers", "analyze/format/gocore", in("analyze/format/godump"), "strictly downwards"},
		{"sibling rules", "rules/lockhog", in("rules/tinyio"), "strictly downwards"},
		{"sibling styles", "analyze/report/text", in("analyze/report/markdown"), "strictly downwards"},
		{"sibling of the facade", "analyze", in("rules"), "strictly downwards"},
		{"sibling pieces of readers", "analyze/format/internal/elfcore", in("analyze/format/internal/unpack"), "strictly downwards"},
		{"rule sees a reader", "rules/lockhog", in("analyze/format"), "wall"},
		{"rule sees a report", "rules/lockhog", in("analyze/report"), "wall"},
		{"reader sees reasoning", "analyze/format/gocore", in("analyze/diagnosis"), "wall"},
		{"reader sees a report", "analyze/format/gocore", in("analyze/report"), "wall"},
		{"report sees a reader", "analyze/report/text", in("analyze/format"), "wall"},
		{"report sees a rule", "analyze/report/text", in("rules/lockhog"), "no more of that wing"},
		{"report sees a derivation", "analyze/report/text", in("analyze/diagnosis/derive"), "no more of that wing"},
		{"ruletest outside of tests", "cmd/postmortem", in("rules/ruletest"), "only tests"},
		{"measurement is imported", "analyze/format/gocore", in("analyze/format/gocore/internal/bench"), "strictly downwards"},
		{"one measurement imports the other", "analyze/format/gotrace/internal/bench", in("analyze/format/gocore/internal/bench"), "strictly downwards"},
		{"command is imported", "rules/ruletest", in("cmd/postmortem"), "strictly downwards"},
		{"unknown folder", "analyze/shed", "fmt", "no room for it"},
		{"import of an unknown folder", "cmd/postmortem", in("tools/x"), "no room for it"},
		{"third party in evidence", "analyze/evidence", "github.com/google/go-cmp/cmp", "standard library only"},
		{"third party in a rule", "rules/lockhog", "golang.org/x/exp/maps", "standard library only"},
		{"third party in fixtures", "fixtures/demo", "golang.org/x/sync/errgroup", "standard library only"},
		{"delve outside its rooms", "analyze/format/internal/elfcore", "github.com/go-delve/delve/pkg/proc", "lives in analyze/format/gocore and analyze/capture"},
		{"the trace reader outside its room", "analyze/format/godump", "golang.org/x/exp/trace", "lives in analyze/format/gotrace"},
		{"the rest of x/exp", "analyze/format/gotrace", "golang.org/x/exp/maps", "no room is given"},
		{"cobra outside cmd", "analyze/report/text", "github.com/spf13/cobra", "lives in cmd/postmortem"},
		{"module without a room", "cmd/postmortem", "example.com/left-pad", "no room is given"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := violations(map[string][]string{test.pkg: {test.imports}})
			if len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("violations %q: want one that says %q", got, test.want)
			}
		})
	}
}

// TestFloorsAllow is the other side: imports that the house is made of.
func TestFloorsAllow(t *testing.T) {
	for pkg, imports := range map[string][]string{
		"cmd/postmortem":                  {"analyze", "rules", "analyze/report/text", "analyze/capture", "fixtures/demo", "analyze/evidence"},
		"analyze":                         {"analyze/format/gocore", "analyze/format/input", "analyze/evidence"},
		"analyze/format/gocore":           {"analyze/format/internal/elfcore", "analyze/format", "analyze/format/gocore/internal/layout"},
		"analyze/format/input":            {"analyze/format/internal/unpack", "analyze/format"},
		"analyze/report/text":             {"analyze/report", "analyze/diagnosis"},
		"analyze/report":                  {"analyze/diagnosis", "analyze/evidence"},
		"rules":                           {"rules/lockhog", "analyze/diagnosis"},
		"rules/lockhog":                   {"analyze/diagnosis/derive", "analyze/evidence"},
		"rules/ruletest":                  {"rules", "fixtures"},
		"analyze/format/internal/elfcore": {"debug/elf"},
	} {
		var full []string
		for _, imp := range imports {
			if strings.Contains(imp, "/") && imp != "debug/elf" || imp == "rules" || imp == "analyze" || imp == "fixtures" {
				imp = module + "/" + imp
			}
			full = append(full, imp)
		}
		if got := violations(map[string][]string{pkg: full}); len(got) > 0 {
			t.Errorf("%q: want them allowed", got)
		}
	}
}
