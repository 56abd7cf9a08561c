package tinyio

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestManner tells streams apart by what lies between the program and the call.
func TestManner(t *testing.T) {
	tests := []struct {
		name, stack string
		want        manner
	}{
		{"file", "syscall.read internal/poll.(*FD).Read os.(*File).Read main.f", plain},
		{"connection", "syscall.read internal/poll.(*FD).Read net.(*netFD).Read net.(*conn).Read main.f", plain},
		{"io.ReadFull", "syscall.read os.(*File).Read io.ReadAtLeast io.ReadFull main.f", plain},
		{"scan", "syscall.read os.(*File).Read io.ReadFull fmt.(*readRune).readByte fmt.(*readRune).ReadRune fmt.Fscan main.f", bytewise},
		{"print", "syscall.write os.(*File).Write fmt.Fprintf main.f", bytewise},
		{"a reader of bytes of the program", "syscall.read os.(*File).Read main.(*r).ReadByte main.f", bytewise},
		{"bufio.Reader", "syscall.read os.(*File).Read bufio.(*Reader).fill bufio.(*Reader).ReadByte main.f", buffered},
		{"bufio.Writer", "syscall.write os.(*File).Write bufio.(*Writer).Flush main.f", buffered},
		{"scanner", "syscall.read os.(*File).Read bufio.(*Scanner).Scan main.f", buffered},
		{"copy", "syscall.read os.(*File).Read io.copyBuffer io.Copy main.f", buffered},
		{"whole file", "syscall.read os.(*File).Read os.ReadFile main.f", buffered},
		{"pages", "syscall.pread internal/poll.(*FD).Pread os.(*File).ReadAt main.f", buffered},
		{"log", "syscall.write os.(*File).Write log.(*Logger).output log.Printf main.f", buffered},
		{"TLS", "syscall.write net.(*conn).Write crypto/tls.(*Conn).write crypto/tls.(*Conn).Write main.f", buffered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := evidence.NewBuilder()
			b.Process(func(p *evidence.Process) {
				p.Language, p.SourceRoot, p.MainModule = "go", "/go/src/", "example.com/app"
			})
			var ids []evidence.FrameID
			user := -1
			for i, name := range strings.Fields(tt.stack) {
				file := "/go/src/x.go"
				if strings.HasPrefix(name, "main.") {
					file = "/src/app/main.go"
					if user < 0 {
						user = i
					}
				}
				ids = append(ids, b.Frame(evidence.Frame{Function: name, File: file, Line: 1}))
			}
			id := b.Stack(ids, evidence.StackNote{})
			b.Timeline(evidence.Timeline{SpanNS: 1e9})
			c := b.Finish()
			probe := &diagnosis.Rule{Name: "probe", Class: Rule.Class, Doc: Rule.Doc, Needs: []evidence.Kinds{evidence.KindTimeline},
				Uses: []diagnosis.Dependency{derive.OfFrames}, Run: func(p *diagnosis.Pass) error {
					frames, err := diagnosis.Of(p, derive.OfFrames)
					if err != nil {
						return err
					}
					y := &traced{p: p, c: c, f: frames}
					if got := y.mannerOf(c.Stack(id), user); got != tt.want {
						t.Errorf("manner %d, want %d", got, tt.want)
					}
					return nil
				}}
			if _, err := diagnosis.Run(t.Context(), c, []*diagnosis.Rule{probe}, diagnosis.Options{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestBusiest(t *testing.T) {
	s := stream{top: map[int64]uint64{9: 5, 3: 8, 7: 8}}
	if id, n := s.busiest(); id != 3 || n != 8 {
		t.Errorf("goroutine %d with %d calls: of equals the older one counts", id, n)
	}
	if _, n := (&stream{}).busiest(); n != 0 {
		t.Errorf("%d calls of nobody", n)
	}
}

// TestJoin puts streams of the same goroutines and direction into one finding.
func TestJoin(t *testing.T) {
	a := &stream{top: map[int64]uint64{1: 5, 2: 5}}
	b := &stream{top: map[int64]uint64{2: 5, 3: 1}}
	other := &stream{top: map[int64]uint64{9: 5}}
	write := &stream{top: map[int64]uint64{1: 5}, write: true}
	last := &stream{top: map[int64]uint64{3: 2}}
	y := &traced{}
	for _, s := range []*stream{a, other, b, write, last} {
		y.join(s)
	}
	if len(y.groups) != 3 || len(y.groups[0]) != 3 || y.groups[0][1] != b || y.groups[0][2] != last || y.groups[1][0] != other || y.groups[2][0] != write {
		t.Errorf("groups: %v", y.groups)
	}
}

func TestRateOf(t *testing.T) {
	group := []*stream{{top: map[int64]uint64{1: 50, 2: 500}, last: 1e9}, {top: map[int64]uint64{1: 30}, last: 5e8}, {top: map[int64]uint64{2: 7}, last: 1e9}}
	if got := rateOf(group, 1); got != 110 {
		t.Errorf("%v calls a second", got)
	}
}
