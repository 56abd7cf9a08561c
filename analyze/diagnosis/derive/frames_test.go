package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestMarks: each distinct frame is judged once, the highest bit of a judgement is cut off, and a stack's marks are those of all
// its frames.
func TestMarks(t *testing.T) {
	b := evidence.NewBuilder()
	functions := []string{"runtime.gopark", "main.serve", "log.Printf", "main.main"}
	ids := make([]evidence.FrameID, len(functions))
	for i, name := range functions {
		ids[i] = b.Frame(evidence.Frame{Function: name})
	}
	inner := b.Stack([]evidence.FrameID{ids[0], ids[1]}, evidence.StackNote{})
	whole := b.Stack([]evidence.FrameID{ids[0], ids[2], ids[1], ids[3]}, evidence.StackNote{})
	c := b.Finish()
	asked := map[string]int{}
	m := (&Frames{c: c}).Marks(func(f evidence.Frame) Mark {
		asked[f.Function]++
		return map[string]Mark{"main.serve": 1, "log.Printf": 2, "main.main": 1<<7 | 4}[f.Function]
	})
	if got := m.Of(ids[3]); got != 4 { // the last id first: the marks of the others must not be taken for known
		t.Errorf("main.main is marked %d", got)
	}
	for range 3 {
		if got := m.On(c.Stack(inner)); got != 1 {
			t.Errorf("the inner stack has the marks %d", got)
		}
		if got := m.On(c.Stack(whole)); got != 7 {
			t.Errorf("the whole stack has the marks %d", got)
		}
	}
	for _, name := range functions {
		if asked[name] != 1 {
			t.Errorf("%s was judged %d times", name, asked[name])
		}
	}
	if got := m.On(c.Stack(0)); got != 0 {
		t.Errorf("no stack has the marks %d", got)
	}
}

// TestHas returns the innermost of several functions.
func TestHas(t *testing.T) {
	b := evidence.NewBuilder()
	id := b.Stack([]evidence.FrameID{b.Frame(evidence.Frame{Function: "a"}), b.Frame(evidence.Frame{Function: "b"}),
		b.Frame(evidence.Frame{Function: "c"})}, evidence.StackNote{})
	s := b.Finish().Stack(id)
	if at, ok := Has(s, "c", "b"); at != 1 || !ok {
		t.Errorf("Has is %d, %v", at, ok)
	}
	if at, ok := Has(s, "d"); at != -1 || ok {
		t.Errorf("Has of what is not there is %d, %v", at, ok)
	}
}

// TestTellersByFrame: the number of a teller fits into a Mark, and the first teller that fits is taken, as in the table.
func TestTellersByFrame(t *testing.T) {
	if len(tellers) >= int(markAll) {
		t.Fatalf("%d tellers do not fit into a Mark", len(tellers))
	}
	for i, teller := range tellers {
		if got := tellerOf(evidence.Frame{Function: teller.name}); got != Mark(i+1) {
			t.Errorf("%s is teller %d, want %d", teller.name, got, i+1)
		}
	}
	for function, want := range map[string]Activity{"os.(*File).Write": ActivityFile, "database/sql.(*DB).Query": ActivityNetwork} {
		if n := tellerOf(evidence.Frame{Function: function}); n == 0 || tellers[n-1].activity != want {
			t.Errorf("%s is teller %d", function, n)
		}
	}
	for _, function := range []string{"syscall.readlink", "main.main", ""} {
		if n := tellerOf(evidence.Frame{Function: function}); n != 0 {
			t.Errorf("%s is teller %d", function, n)
		}
	}
}

// TestOwnerByFile: the file decides before the name, because the closures of a generic function are named after whoever calls it.
func TestOwnerByFile(t *testing.T) {
	for _, x := range []struct {
		function, file, module string
		want                   Owner
	}{
		{"main.init.0.OnceValue[...].func3", "/usr/local/go/src/sync/oncefunc.go", "example.com/app", OwnerStandard},
		{"example.com/app/store.Open.OnceFunc.func1", "/usr/local/go/src/sync/oncefunc.go", "example.com/app", OwnerStandard},
		{"main.init.0.func1", "/src/app/main.go", "example.com/app", OwnerUser},
		{"example.com/app/store.Open", "/src/app/store/open.go", "example.com/app", OwnerUser},
		{"cmd/go/internal/work.(*Builder).Do", "/usr/local/go/src/cmd/go/internal/work/exec.go", "cmd", OwnerUser},
		{"main.main", "/usr/local/go/src/cmd/go/main.go", "cmd", OwnerUser},
		{"net/http.(*conn).serve", "/usr/local/go/src/net/http/server.go", "cmd", OwnerStandard},
	} {
		p := &evidence.Process{MainModule: x.module, SourceRoot: "/usr/local/go/src/"}
		if got := ownerOf(evidence.Frame{Function: x.function, File: x.file}, p); got != x.want {
			t.Errorf("%s in %s of %s belongs to %d, want %d", x.function, x.file, x.module, got, x.want)
		}
	}
}
