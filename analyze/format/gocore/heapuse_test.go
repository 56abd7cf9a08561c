package gocore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

// planted are the types of testdata/programs/heaptruth and how many objects of each are reachable. See the constants there.
var planted = map[string]uint64{
	"main.Account": 1000, "[]main.Entry": 1000, "main.Owner": 1000 + 60 + 2, "main.Note": 1000 + 25 + 40*20 + 15, "main.Parcel": 15, "main.Session": 200,
	"main.Job": 40, "main.Page": 60, "main.Ticket": 25, "main.Common": 2, "main.Disk": 1, "func main.fill.func1": 30,
	"chan *main.Ticket": 1, "[]*main.Ticket": 1, "[]*main.Account": 1, "[]*main.Page": 1, "map[string]*main.Account": 1, "[]uint64": 1,
	"main.Lost": 0,
}

// plantedCarried are the types that a program without debug information shows as well: those that the runtime keeps with the object, and those that
// follow from them and from interfaces.
var plantedCarried = map[string]uint64{"[]*main.Account": 1, "main.Page": 60, "main.Disk": 1, "main.Account": 1000, "[]main.Entry": 1000,
	"main.Owner": 1000 + 60 + 1, "main.Parcel": 15, "main.Lost": 0}

func heapTruth(t testing.TB, p fixtures.Program) *fixtures.Capture {
	t.Helper()
	dir, err := filepath.Abs("testdata/programs/heaptruth")
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	c, err := fixtures.Crash(context.Background(), p)
	fixtures.Require(t, err)
	return c
}

func countHeap(t testing.TB, c *fixtures.Capture) *evidence.Case {
	t.Helper()
	f, err := os.Open(c.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: c.Core, Format: formatName})
	opt := format.Options{Executable: c.Exe, Reach: format.ReachHeap, Variables: format.VariablesNone}
	if err := Read(context.Background(), inputOf(t, f, c.Core, opt), b); err != nil {
		t.Fatal(err)
	}
	got := b.Finish()
	if got.HeapUse == nil || got.HeapUse.Refused != "" {
		t.Fatalf("the heap was not counted: %+v\n%s", got.HeapUse, gapsOf(got))
	}
	return got
}

var heapBuilds = []build{
	{"go1.26", fixtures.Program{}},
	{"go1.26 stripped", fixtures.Program{Flags: []string{"-ldflags=-s -w"}}},
	{"go1.26 PIE", fixtures.Program{Flags: []string{"-buildmode=pie"}}},
	{"go1.25", fixtures.Program{Toolchain: "go1.25.7"}},
	{"go1.24", fixtures.Program{Toolchain: "go1.24.13"}},
	{"go1.24 stripped", fixtures.Program{Toolchain: "go1.24.13", Flags: []string{"-ldflags=-s -w"}}},
	{"go1.23", fixtures.Program{Toolchain: "go1.23.12"}},
	{"go1.22", fixtures.Program{Toolchain: "go1.22.12"}},
	{"go1.22 stripped", fixtures.Program{Toolchain: "go1.22.12", Flags: []string{"-ldflags=-s -w"}}},
	{"go1.26 arm64", fixtures.Program{Env: []string{"GOARCH=arm64"}}},
}

func TestHeapTruth(t *testing.T) {
	for _, b := range heapBuilds {
		t.Run(b.name, func(t *testing.T) {
			c := countHeap(t, heapTruth(t, b.prog))
			want := planted
			if strings.Contains(b.name, "stripped") {
				want = plantedCarried
			}
			u := c.HeapUse
			types := map[string]uint64{}
			for _, h := range u.Types {
				types[h.Name] += h.Objects
			}
			for name, n := range want {
				if types[name] != n {
					t.Errorf("%d objects of type %s, planted were %d", types[name], name, n)
				}
			}
			checkHeapSums(t, u)
			checkRetained(t, c, !strings.Contains(b.name, "stripped"))
			checkHolders(t, c, !strings.Contains(b.name, "stripped"))
			// The runtime's own figure: what its last collection marked, just before the program got ready. Since then it has allocated
			// little that is reachable.
			if marked := c.Heap.Marked; u.LiveBytes < marked || u.LiveBytes > marked+32<<10 {
				t.Errorf("%d bytes are reachable, the last collection marked %d", u.LiveBytes, marked)
			}
			const lost, size = 500, 96
			if garbage := u.Bytes - u.LiveBytes; garbage < lost*size {
				t.Errorf("%d bytes are garbage, planted were %d", garbage, lost*size)
			}
			if t.Failed() {
				t.Logf("%s\n%s", heapText(c), gapsOf(c))
			}
		})
	}
}

// checkHeapSums holds the parts against the whole.
func checkHeapSums(t *testing.T, u *evidence.HeapUse) {
	t.Helper()
	var objects, bytes, live, liveBytes, typed, typedBytes uint64
	for _, c := range u.Classes {
		objects, bytes, live, liveBytes = objects+c.Objects, bytes+c.Bytes, live+c.LiveObjects, liveBytes+c.LiveBytes
		if c.LiveObjects > c.Objects || c.Size != 0 && c.Bytes != c.Objects*c.Size {
			t.Errorf("class %+v does not add up", c)
		}
	}
	for _, h := range u.Types {
		typed, typedBytes = typed+h.Objects, typedBytes+h.Bytes
	}
	if objects != u.Objects || bytes != u.Bytes || live != u.LiveObjects || liveBytes != u.LiveBytes {
		t.Errorf("the classes add up to %d %d, %d %d: %+v", objects, bytes, live, liveBytes, u)
	}
	if typed != u.LiveObjects || typedBytes != u.LiveBytes {
		t.Errorf("the types add up to %d objects and %d bytes, live are %d and %d", typed, typedBytes, u.LiveObjects, u.LiveBytes)
	}
}

// checkRetained looks for the two groups that keep something alone, and makes sure that what two share belongs to neither.
func checkRetained(t *testing.T, c *evidence.Case, typed bool) {
	t.Helper()
	found := map[string]evidence.Retained{}
	for _, r := range c.HeapUse.Retained {
		for _, f := range c.Stack(r.Stack).All() {
			if strings.HasPrefix(f.Function, "main.") {
				found[f.Function] = r
				break
			}
		}
	}
	for name, want := range map[string]evidence.Retained{
		"main.work":  {Goroutines: 40, Objects: 40 * (1 + 1 + 20), Bytes: 40 * (192 + 4096 + 20*64)},
		"main.alone": {Goroutines: 1, Objects: 200, Bytes: 200 * 80},
		"main.left":  {Goroutines: 1},
		"main.right": {Goroutines: 1},
	} {
		got := found[name]
		if got.Goroutines != want.Goroutines || got.Objects != want.Objects || got.Bytes != want.Bytes {
			t.Errorf("%s: %d goroutines keep %d objects of %d bytes, planted were %d, %d, %d", name, got.Goroutines, got.Objects, got.Bytes,
				want.Goroutines, want.Objects, want.Bytes)
		}
		if got.StackBytes < 2048*uint64(got.Goroutines) {
			t.Errorf("%s: the stacks have %d bytes", name, got.StackBytes)
		}
	}
	if types := found["main.work"].Types; typed && (len(types) != 3 || types[0] != evidence.HeapType{Name: "[]uint8", Objects: 40, Bytes: 40 * 4096, Trust: evidence.TrustRead}) {
		t.Errorf("what the group keeps is %+v", types)
	}
}

// checkHolders looks for the planted ways in the tree of what holds what, and adds it up: every place has what it holds itself and what is
// below, and all roots together have what is reachable, but for what is too small to be told.
func checkHolders(t *testing.T, c *evidence.Case, typed bool) {
	t.Helper()
	var path []string
	var above []evidence.Holder
	sum := uint64(0)
	objects := map[string]uint64{}
	for _, h := range c.HeapUse.Holders {
		if h.Depth > len(path) {
			t.Fatalf("%+v hangs in the air", h)
		}
		path, above = append(path[:h.Depth], holderName(c, h)), append(above[:h.Depth], h)
		objects[strings.Join(path, " > ")] += h.OwnObjects
		if h.Own > h.Bytes || h.OwnObjects > h.Objects || h.Depth > 0 && h.Bytes > above[h.Depth-1].Bytes {
			t.Errorf("%v: %+v", path, h)
		}
		if h.Depth == 0 {
			sum += h.Bytes
		}
	}
	if live := c.HeapUse.LiveBytes; sum > live || sum < live-live/20 {
		t.Errorf("the roots hold %d of %d bytes", sum, live)
	}
	if !typed {
		return
	}
	for way, want := range map[string]uint64{
		"main.book > map[string]*main.Account > main.Account":                1000,
		"main.book > map[string]*main.Account > main.Account > []main.Entry": 1000,
		"main.book > map[string]*main.Account > main.Account > main.Owner":   1000,
		"main.store > main.Disk > []*main.Page > main.Page > main.Owner":     60,
		"main.index > []uint64": 1,
		"main.queue > chan *main.Ticket > []*main.Ticket > main.Ticket > main.Note": 25,
		"main.alone > main.Session":        200,
		"main.work > main.Job > []uint8":   40,
		"main.work > main.Job > main.Note": 800,
	} {
		if objects[way] != want {
			t.Errorf("%s: %d objects, planted were %d", way, objects[way], want)
		}
	}
	if t.Failed() {
		t.Log(objects)
	}
}

// holderName is the type, the variable, or the user's function on a stack.
func holderName(c *evidence.Case, h evidence.Holder) string {
	if h.Kind != evidence.StepStack {
		return h.Name
	}
	for _, f := range c.Stack(h.Stack).All() {
		if strings.HasPrefix(f.Function, "main.") {
			return f.Function
		}
	}
	return "stack"
}

func heapText(c *evidence.Case) string {
	var s strings.Builder
	for _, h := range c.HeapUse.Types {
		fmt.Fprintf(&s, "%8d %9d %s (%s)\n", h.Objects, h.Bytes, h.Name, h.Trust)
	}
	return s.String()
}

// Two runs of the marker and one say the same: the colour of an object does not depend on who comes first.
func TestHeapSame(t *testing.T) {
	capture := heapTruth(t, fixtures.Program{})
	first := countHeap(t, capture)
	for range 3 {
		again := countHeap(t, capture)
		var a, b strings.Builder
		if err := first.WriteText(&a); err != nil {
			t.Fatal(err)
		}
		if err := again.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		if a.String() != b.String() {
			t.Fatal("the same core gives another Case")
		}
	}
}

// unseenSends are the bytes of the values that goroutines of heaptruth wait to send, 15 times main.Parcel with main.Note. A receiver would get
// them, so that they are live; viewcore does not see the slot in the sender's frame, and takes them for garbage.
const unseenSends = 15 * (176 + 64)

// viewcore counts the same cores. What is allocated must be equal to the byte. What is live must be equal, but for
// values that wait to be sent, where viewcore knows the maps of the version: it does not know those of Go 1.24 and later (internal/runtime/maps), takes what hangs below them for garbage, and so finds less.
// Of the planted types it finds as many as we do or fewer: it follows fewer variables of stacks. Its names differ: an array of the elements
// that were counted where we have a slice, hash and bucket for maps, "unk" and a size for what it does not know. Its histogram panics on
// cores of Go 1.22.
func TestViewcoreHeap(t *testing.T) {
	for _, test := range []struct {
		program fixtures.Program
		maps    bool // viewcore knows them
		types   bool // its histogram works
	}{{fixtures.Program{}, false, true}, {fixtures.Program{Toolchain: "go1.24.13"}, false, true},
		{fixtures.Program{Toolchain: "go1.23.12"}, true, true}, {fixtures.Program{Toolchain: "go1.22.12"}, true, false}} {
		t.Run(versionName(test.program.Toolchain), func(t *testing.T) {
			capture := heapTruth(t, test.program)
			u := countHeap(t, capture).HeapUse
			sums := viewcoreSums(t, capture)
			if sums["alloc"] != u.Bytes {
				t.Errorf("viewcore has %d bytes allocated, we have %d", sums["alloc"], u.Bytes)
			}
			if live := sums["live"]; test.maps && live+unseenSends != u.LiveBytes || live > u.LiveBytes || live == 0 {
				t.Errorf("viewcore has %d bytes live, we have %d", live, u.LiveBytes)
			}
			if !test.types {
				return
			}
			ours, theirs := map[string]uint64{}, viewcoreHistogram(t, capture)
			for _, h := range u.Types {
				ours[h.Name] += h.Objects
			}
			compared := 0
			for name := range planted {
				if n := theirs[name]; n > 0 {
					compared++
					if n > ours[name] {
						t.Errorf("viewcore has %d objects of type %s, we have %d", n, name, ours[name])
					}
				}
			}
			if compared < 8 {
				t.Errorf("only %d types were compared: %v", compared, theirs)
			}
		})
	}
}

// viewcore runs one of its commands.
func viewcore(t *testing.T, c *fixtures.Capture, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: "go", For: "running viewcore"})
	}
	out, err := exec.Command("go", append([]string{"tool", "viewcore", c.Core, "--exe", c.Exe}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("viewcore: %v\n%s", err, out)
	}
	return string(out)
}

// viewcoreSums are the bytes of the parts of the heap.
func viewcoreSums(t *testing.T, c *fixtures.Capture) map[string]uint64 {
	t.Helper()
	sums := map[string]uint64{}
	heap := false
	for line := range strings.Lines(viewcore(t, c, "breakdown")) {
		words := strings.Fields(line)
		if strings.Contains(line, "in use spans") {
			heap = true
		} else if strings.Contains(line, "manual spans") {
			heap = false
		}
		if len(words) >= 2 && heap {
			if n, err := strconv.ParseUint(words[1], 10, 64); err == nil {
				sums[words[0]] = n
			}
		}
	}
	return sums
}

// viewcoreHistogram is the number of objects by type, with our names for arrays and channels.
func viewcoreHistogram(t *testing.T, c *fixtures.Capture) map[string]uint64 {
	t.Helper()
	array := regexp.MustCompile(`^\[[0-9+?]+\]`)
	found := map[string]uint64{}
	for line := range strings.Lines(viewcore(t, c, "histogram", "--top", "1000")) {
		words := strings.Fields(line)
		if len(words) < 4 {
			continue
		}
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			continue
		}
		name := array.ReplaceAllString(strings.Join(words[3:], " "), "[]")
		if elem, ok := strings.CutPrefix(name, "hchan<"); ok {
			name = "chan " + strings.TrimSuffix(elem, ">")
		}
		found[name] += n
	}
	return found
}
