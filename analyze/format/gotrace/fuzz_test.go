package gotrace_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
)

// Bounds of what reading one fuzzed file may take. The time allows for a loaded machine: reading takes some milliseconds.
const (
	fuzzMost    = 128 << 10 // bytes of input
	fuzzTime    = 20 * time.Second
	fuzzMemory  = 192 << 20 // bytes allocated in all, for any input
	fuzzPerByte = 4096      // and for each byte of it
)

// readFuzzed holds that a file makes no panic, no hang, no large memory, and either a *format.Error or a Case that can be written.
func readFuzzed(t *testing.T, dir string, data []byte) {
	path := dir + "/trace"
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), fuzzTime)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	to := evidence.NewBuilder()
	to.Source(evidence.Source{Path: path, Format: "gotrace"})
	head := data[:min(len(data), format.HeadSize)]
	gotrace.Format.Sniff(head)
	err = gotrace.Format.Read(ctx, format.Input{Path: path, File: f, Size: int64(len(data)), Head: head}, to)
	runtime.ReadMemStats(&after)
	var told *format.Error
	if err != nil && !errors.As(err, &told) {
		t.Errorf("%v is no *format.Error", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > fuzzMemory+fuzzPerByte*uint64(len(data)) {
		t.Errorf("%d bytes are allocated for an input of %d", took, len(data))
	}
	if err != nil {
		return
	}
	c := to.Finish()
	if c.Timeline == nil || c.Timeline.SpanNS < 0 || c.Timeline.AtEnd < 0 || len(c.Timeline.Slices) > evidence.MaxSlices {
		t.Errorf("timeline %+v", c.Timeline)
	}
	if err := c.WriteText(discard{}); err != nil {
		t.Error(err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// smallTrace is a trace of two generations that has a goroutine of every kind.
const smallTrace = `Trace Go1.26
EventBatch gen=1 m=1 time=100 size=auto
ProcStatus dt=1 p=0 pstatus=1
GoStatus dt=1 g=1 m=1 gstatus=2
GoCreate dt=1 new_g=2 new_stack=0 stack=1
GoBlock dt=5 reason_string=1 stack=1
GoStart dt=1 g=2 g_seq=1
GoSyscallBegin dt=3 p_seq=1 stack=1
GoSyscallEnd dt=9
GoUnblock dt=1 g=1 g_seq=1 stack=1
GoStop dt=2 reason_string=2 stack=1
GoStart dt=1 g=1 g_seq=2
UserTaskBegin dt=1 task=1 parent_task=0 name_string=3 stack=1
HeapAlloc dt=1 heapalloc_value=4096
UserTaskEnd dt=1 task=1 stack=1
EventBatch gen=1 m=18446744073709551615 time=0 size=auto
Stacks
Stack id=1 nframes=1
	pc=7 func=4 file=5 line=9
EventBatch gen=1 m=18446744073709551615 time=0 size=auto
Strings
String id=1
	data="chan send"
String id=2
	data="preempt"
String id=3
	data="task"
String id=4
	data="main"
String id=5
	data="a.go"
EventBatch gen=1 m=18446744073709551615 time=0 size=auto
Sync
Frequency freq=1000000000
EndOfGeneration
`

// FuzzRead mutates small traces: those of Go's own tests, and one of this test.
func FuzzRead(f *testing.F) {
	small, err := specimen.Encode(smallTrace)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(small)
	f.Add(small[:len(small)/2])
	f.Add(small[20:])
	for _, test := range specimen.SeedsOfGo() {
		f.Add(test.Bytes)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= fuzzMost {
			readFuzzed(t, dir, data)
		}
	})
}

// TestSmall holds that the seed of the fuzzers is a sound trace: otherwise they would begin with damage.
func TestSmall(t *testing.T) {
	small, err := specimen.Encode(smallTrace)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readBytes(t, small)
	if err != nil {
		t.Fatal(err)
	}
	if line := c.Timeline; line.Events != 13 || line.Created != 1 || len(line.Kinds) != 1 || len(c.Gaps) != 0 || line.Form != "go 1.26 trace" {
		t.Errorf("%+v, gaps %v", line, c.Gaps)
	}
}

// FuzzEvents puts any bytes between sound headers, as the events of three threads, so that mutations reach what is behind the framing.
func FuzzEvents(f *testing.F) {
	small, err := specimen.Encode(smallTrace)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(small[16:90], uint8(26), uint16(30), uint16(50))
	f.Add([]byte{12, 1, 0, 1, 25, 1, 1, 1, 2, 13, 1, 2, 0, 0, 16, 1, 2, 1}, uint8(22), uint16(4), uint16(9))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, events []byte, version uint8, first, second uint16) {
		if len(events) > fuzzMost/4 {
			return
		}
		a := min(int(first), len(events))
		b := min(max(int(second), a), len(events))
		out := []byte("go 1.xx trace\x00\x00\x00")
		version = 22 + version%5
		out[5], out[6] = '0'+version/10, '0'+version%10
		for gen := range uint64(2) {
			for m, part := range [][]byte{events[:a], events[a:b], events[b:]} {
				out = appendBatch(out, gen+1, uint64(m), part)
			}
			out = append(out, small[len(small)-100:]...) // tables, of the first generation
		}
		readFuzzed(t, dir, out)
	})
}

func appendBatch(out []byte, gen, m uint64, data []byte) []byte {
	out = append(out, 1)
	for _, v := range []uint64{gen, m, 100, uint64(len(data))} {
		out = binary.AppendUvarint(out, v)
	}
	return append(out, data...)
}
