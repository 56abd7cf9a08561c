package legacy

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"
)

// made is a trace that a test writes event by event.
type made struct{ b bytes.Buffer }

func make121() *made {
	m := &made{}
	m.b.WriteString("go 1.21 trace\x00\x00\x00")
	return m
}

// event writes an event whose first argument is, but for batches and the frequency, the ticks since the last one.
func (m *made) event(kind byte, args ...uint64) *made {
	var body []byte
	for _, a := range args {
		body = binary.AppendUvarint(body, a)
	}
	switch n := len(args); {
	case kind == evBatch:
		m.b.WriteByte(kind | 1<<6)
	case n <= 3:
		m.b.WriteByte(kind | byte(n-1)<<6)
	default:
		m.b.WriteByte(kind | 3<<6)
		m.b.Write(binary.AppendUvarint(nil, uint64(len(body))))
	}
	m.b.Write(body)
	return m
}

func (m *made) str(id uint64, text string) *made {
	m.b.WriteByte(evString)
	m.b.Write(binary.AppendUvarint(nil, id))
	m.b.Write(binary.AppendUvarint(nil, uint64(len(text))))
	m.b.WriteString(text)
	return m
}

// More types of events (src/runtime/trace.go, Go 1.21).
const (
	evProcStart    = 5
	evGoStart      = 14
	evGoWaiting    = 31
	evGoStartLabel = 41
	evGoSched      = 17
	evUserRegion   = 47
)

// begin is what every trace begins with: a P, a goroutine that waits, one that runs.
func (m *made) begin() *made {
	return m.event(evBatch, 0, 1000).event(evGoCreate, 1, 7, 1, 0).event(evGoWaiting, 1, 7).event(evGoCreate, 1, 8, 1, 0).
		event(evGomaxprocs, 1, 4, 0).event(evProcStart, 1, 0).event(evGoStart, 1, 8, 1)
}

func (m *made) end() []byte { return m.event(evFrequency, 1e9).b.Bytes() }

func input(t testing.TB, data []byte) format.Input {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return opened(t, path)
}

func opened(t testing.TB, path string) format.Input {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, min(info.Size(), format.HeadSize))
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return format.Input{Path: path, File: f, Size: info.Size(), Head: head}
}

// readAll reads a trace into a Case with a Timeline.
func readAll(in format.Input) (Stats, *evidence.Case, error) {
	r, err := Open(context.Background(), in)
	if err != nil {
		return Stats{}, nil, err
	}
	f := fold.New(r.Stacks())
	stats, err := r.Read(context.Background(), f)
	if err != nil {
		return stats, nil, err
	}
	to := evidence.NewBuilder()
	to.Timeline(f.Finish(stats.End, r.Live, to))
	return stats, to.Finish(), nil
}
