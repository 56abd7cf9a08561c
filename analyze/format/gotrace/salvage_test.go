package gotrace_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen"
)

// argsOf are the numbers of arguments of events in batches, their times included, by type (internal/trace/tracev2/events.go, Go 1.26): a
// reader of its own, that shares nothing with the one under test.
var argsOf = map[byte]int{9: 3, 10: 3, 11: 1, 12: 4, 13: 3, 14: 4, 15: 2, 16: 3, 17: 1, 18: 1, 19: 3, 20: 3, 21: 4, 22: 3, 23: 1, 24: 1, 25: 4,
	26: 3, 27: 1, 28: 2, 29: 3, 30: 2, 31: 2, 32: 2, 33: 3, 34: 2, 35: 2, 36: 1, 37: 2, 38: 2, 39: 2, 40: 5, 41: 3, 42: 4, 43: 4, 44: 5, 45: 3,
	46: 3, 47: 4, 48: 5}

const (
	typeBatch   = 1
	typeSamples = 6
	typeSample  = 7 // time, m, p, g, stack
	typeEnd     = 52
)

// rawBatch is a batch as it stands in a file.
type rawBatch struct {
	off, data, end int // of its header, of its data, of the next one
	gen, m         uint64
	events         []int // where each event ends; also of CPU samples. Empty for tables
}

// rawScan finds the batches of a whole trace.
func rawScan(t *testing.T, data []byte) []rawBatch {
	t.Helper()
	var batches []rawBatch
	for at := 16; at < len(data); {
		if data[at] == typeEnd {
			at++
			continue
		}
		b := rawBatch{off: at}
		if data[at] != typeBatch {
			t.Fatalf("type %d at offset %d, where a batch should begin", data[at], at)
		}
		var head [4]uint64 // generation, thread, time, size
		at++
		for i := range head {
			v, n := binary.Uvarint(data[at:])
			head[i], at = v, at+n
		}
		b.gen, b.m, b.data = head[0], head[1], at
		b.end = at + int(head[3])
		at = b.end
		b.events = rawEvents(data[:min(b.end, len(data))], b.data)
		batches = append(batches, b)
	}
	return batches
}

// rawEvents gives the ends of the events from an offset on.
func rawEvents(data []byte, at int) []int {
	var ends []int
	samples := at < len(data) && data[at] == typeSamples
	if samples {
		at++
	}
	for at < len(data) {
		args, ok := argsOf[data[at]]
		if samples {
			args, ok = 5, data[at] == typeSample
		}
		if !ok {
			return ends
		}
		at++
		for range args {
			_, n := binary.Uvarint(data[at:])
			if n <= 0 {
				return ends
			}
			at += n
		}
		ends = append(ends, at)
	}
	return ends
}

// whole counts the events of which all bytes, and the header of their batch, are in one of the kept stretches of the file.
func whole(batches []rawBatch, kept func(from, to int) bool) uint64 {
	n := uint64(0)
	for _, b := range batches {
		if !kept(b.off, b.data) {
			continue
		}
		from := b.data
		for _, end := range b.events {
			if !kept(from, end) {
				break // what follows cannot be found without it
			}
			n++
			from = end
		}
	}
	return n
}

// readBytes reads a trace with the Format.
func readBytes(t testing.TB, data []byte) (*evidence.Case, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return readPath(t, path)
}

func readPath(t testing.TB, path string) (*evidence.Case, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, min(info.Size(), format.HeadSize))
	if n, _ := f.ReadAt(head, 0); n < len(head) {
		t.Fatal("a short read")
	}
	if !gotrace.Format.Sniff(head) && len(head) > 0 {
		return nil, errNotClaimed
	}
	to := evidence.NewBuilder()
	to.Source(evidence.Source{Path: path, Format: "gotrace"})
	err = gotrace.Format.Read(context.Background(), format.Input{Path: path, File: f, Size: info.Size(), Head: head}, to)
	if err != nil {
		return nil, err
	}
	return to.Finish(), nil
}

var errNotClaimed = errors.New("not claimed as a trace")

// wantSaved holds that at least 99 % of so many events are read, that no more than there ever were are told, and that a Gap says that some
// are missing.
func wantSaved(t *testing.T, what string, data []byte, want, ever uint64) {
	t.Helper()
	c, err := readBytes(t, data)
	if err != nil {
		if want > 0 {
			t.Errorf("%s: %v, where %d events are there", what, err, want)
		}
		return
	}
	got := c.Timeline.Events
	if float64(got) < 0.99*float64(want) || got > ever {
		t.Errorf("%s: %d events of %d that are there are read (%.2f %%), of %d ever", what, got, want, 100*float64(got)/float64(want), ever)
	}
	if len(c.Gaps) == 0 {
		t.Errorf("%s: no gap", what)
	}
}

// salvaged are the traces that are damaged: one for each form of the framing.
func salvaged(t *testing.T, test func(t *testing.T, data []byte, batches []rawBatch, all uint64)) {
	t.Helper()
	for _, toolchain := range []string{specimen.New[0], specimen.New[2], specimen.New[3], specimen.New[4]} {
		t.Run(toolchain, func(t *testing.T) {
			data, err := os.ReadFile(specimen.All(t, toolchain, "long"))
			if err != nil {
				t.Fatal(err)
			}
			batches := rawScan(t, data)
			all := whole(batches, func(int, int) bool { return true })
			test(t, data, batches, all)
		})
	}
}

// TestSalvageWhole holds the scanner of this test against the reader on whole traces.
func TestSalvageWhole(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		c, err := readBytes(t, data)
		if err != nil {
			t.Fatal(err)
		}
		gens := map[uint64]bool{}
		for _, b := range batches {
			gens[b.gen] = true
		}
		if c.Timeline.Events != all || len(c.Gaps) != 0 || len(gens) < 3 {
			t.Errorf("%d events of %d, gaps %v, %d generations", c.Timeline.Events, all, c.Gaps, len(gens))
		}
	})
}

// TestSalvageCut cuts the file at every 5 %.
func TestSalvageCut(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		for percent := 5; percent < 100; percent += 5 {
			cut := len(data) * percent / 100
			want := whole(batches, func(_, to int) bool { return to <= cut })
			wantSaved(t, fmt.Sprintf("cut at %d %%", percent), data[:cut], want, all)
		}
	})
}

// TestSalvageHead loses the beginning of the file.
func TestSalvageHead(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		for _, lost := range []int{1, 16, 1 << 10, 100 << 10, len(data) / 2} {
			want := whole(batches, func(from, _ int) bool { return from >= lost })
			wantSaved(t, fmt.Sprintf("without the first %d bytes", lost), data[lost:], want, all)
		}
	})
}

// TestSalvageData flips bytes in the middle of batches of events.
func TestSalvageData(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, b := range some(rng, batches, 12) {
			at := b.data + (b.end-b.data)/2
			damaged := bytes.Clone(data)
			for i := at; i < min(at+8, b.end); i++ {
				damaged[i] ^= byte(1 + rng.IntN(255))
			}
			want := whole(batches, func(from, to int) bool { return to <= at || from >= at+8 })
			got, err := readBytes(t, damaged)
			if err != nil {
				t.Fatal(err)
			}
			// Bytes that are still events give no gap: only a checksum, which the format has not, would tell.
			if float64(got.Timeline.Events) < 0.99*float64(want) {
				t.Errorf("flipped at 0x%x: %d events of %d", at, got.Timeline.Events, want)
			}
		}
	})
}

// some chooses batches with events.
func some(rng *rand.Rand, batches []rawBatch, n int) []rawBatch {
	var chosen []rawBatch
	for range 50 * n {
		if b := batches[rng.IntN(len(batches))]; len(b.events) > 20 && len(chosen) < n {
			chosen = append(chosen, b)
		}
	}
	return chosen
}

// TestSalvageHeader flips each byte of headers of batches. What stands in the batch may be lost with it, but nothing else.
func TestSalvageHeader(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		rng := rand.New(rand.NewPCG(3, 4))
		for _, b := range some(rng, batches, 3) {
			for at := b.off; at < b.data; at++ {
				damaged := bytes.Clone(data)
				damaged[at] ^= byte(1 + rng.IntN(255))
				want := whole(batches, func(from, to int) bool { return to <= at || from > at })
				c, err := readBytes(t, damaged)
				if err != nil {
					t.Errorf("flipped at 0x%x: %v", at, err)
					continue
				}
				if float64(c.Timeline.Events) < 0.99*float64(want) {
					t.Errorf("byte %d of the header at 0x%x flipped from %#x to %#x: %d events of %d, gaps %v", at-b.off, b.off, data[at], damaged[at],
						c.Timeline.Events, want, c.Gaps)
				}
			}
		}
	})
}

// TestSalvageMiddle takes out the second half of one generation and the first half of the next.
func TestSalvageMiddle(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		starts := map[uint64]int{}
		var gens []uint64
		for _, b := range batches {
			if _, ok := starts[b.gen]; !ok {
				starts[b.gen] = b.off
				gens = append(gens, b.gen)
			}
		}
		starts[0] = len(data)
		for i := 0; i+1 < len(gens); i++ {
			next := len(data)
			if i+2 < len(gens) {
				next = starts[gens[i+2]]
			}
			from := (starts[gens[i]] + starts[gens[i+1]]) / 2
			to := (starts[gens[i+1]] + next) / 2
			want := whole(batches, func(a, b int) bool { return b <= from || a >= to })
			damaged := append(bytes.Clone(data[:from]), data[to:]...)
			wantSaved(t, fmt.Sprintf("without 0x%x to 0x%x", from, to), damaged, want, all)
			zeroed := bytes.Clone(data)
			clear(zeroed[from:to])
			wantSaved(t, fmt.Sprintf("0x%x to 0x%x zeroed", from, to), zeroed, want, all)
		}
	})
}

// TestSalvageRandom takes out stretches of every size, and cuts at either end, anywhere.
func TestSalvageRandom(t *testing.T) {
	salvaged(t, func(t *testing.T, data []byte, batches []rawBatch, all uint64) {
		rng := rand.New(rand.NewPCG(5, 6))
		for range 10 {
			from := 16 + rng.IntN(len(data)-16)
			to := min(len(data), from+rng.IntN(1<<(4+rng.IntN(17))))
			want := whole(batches, func(a, b int) bool { return b <= from || a >= to })
			wantSaved(t, fmt.Sprintf("without 0x%x to 0x%x", from, to), append(bytes.Clone(data[:from]), data[to:]...), want, all)
			wantSaved(t, fmt.Sprintf("cut at 0x%x", from), data[:from], whole(batches, func(_, b int) bool { return b <= from }), all)
			wantSaved(t, fmt.Sprintf("from 0x%x on", to), data[to:], whole(batches, func(a, _ int) bool { return a >= to }), all)
		}
	})
}

// TestSalvageKilled reads traces of a program that ended without a call of Stop. Where the last generation that was begun is not in the
// file at all, nothing in the file tells so before Go 1.26.
func TestSalvageKilled(t *testing.T) {
	for _, toolchain := range specimen.New {
		t.Run(toolchain, func(t *testing.T) {
			path := specimen.All(t, toolchain, "killed")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			batches := rawScan(t, data)
			all := whole(batches, func(_, to int) bool { return to <= len(data) })
			c, err := readPath(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Timeline.Events; float64(got) < 0.99*float64(all) || got > all || all < 1000 {
				t.Errorf("%d events of %d", got, all)
			}
			last := batches[len(batches)-1]
			tables := false
			for _, b := range batches {
				tables = tables || b.gen == last.gen && len(b.events) == 0
			}
			if (!tables || last.end > len(data)) && len(c.Gaps) == 0 {
				t.Error("the last generation has no tables, and no gap says so")
			}
		})
	}
}
