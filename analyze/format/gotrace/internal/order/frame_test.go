package order

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// batchesOf lists the batches of a file as frames finds them.
func batchesOf(t testing.TB, data []byte) ([]batch, []damage) {
	t.Helper()
	f := frames{file: bytes.NewReader(data), size: int64(len(data))}
	if _, ok := Version(data); ok {
		f.at = int64(headerSize)
	} else {
		f.lost = true
	}
	var list []batch
	for {
		b, err := f.next()
		if errors.Is(err, io.EOF) {
			return list, f.damage
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
}

// TestDamagedHeader spoils each byte of the header of one batch in a real trace: the other batches are found all the same, and of that one
// at most the first events are lost.
func TestDamagedHeader(t *testing.T) {
	data := realTrace(t)
	whole, damage := batchesOf(t, data)
	if len(damage) != 0 || len(whole) < 10 {
		t.Fatalf("a whole trace has %d batches and damage %v", len(whole), damage)
	}
	events := readAll(t, data, 1).stats.Events
	victim := whole[len(whole)/2]
	start := victim.off
	for data[start] != byte(EventBatch) || start > victim.off-5 {
		start--
	}
	for at := start; at < victim.off; at++ {
		spoilt := bytes.Clone(data)
		spoilt[at] ^= 0x55
		s := readAll(t, spoilt, 1)
		if s.err != nil || s.stats.Events < events*99/100 {
			t.Errorf("byte %d of a header spoilt: %v, %d of %d events", at-start, s.err, s.stats.Events, events)
		}
	}
}

func TestHeadless(t *testing.T) {
	data := realTrace(t)
	for _, lost := range []int{1, 16, 100, 5000} {
		if !Headless(data[lost:min(len(data), lost+64<<10)]) {
			t.Errorf("a trace without its first %d bytes is not known for one", lost)
		}
	}
	noise := make([]byte, 64<<10)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		if Headless(noise) {
			t.Fatal("noise is taken for a trace")
		}
	}
	for _, c := range []byte{0, 1, 2, 0xff, ' '} {
		if Headless(bytes.Repeat([]byte{c}, 64<<10)) {
			t.Errorf("a file of bytes 0x%02x is taken for a trace", c)
		}
	}
}

func FuzzUvarint(f *testing.F) {
	for _, v := range []uint64{0, 127, 128, 1 << 35, math.MaxUint64} {
		f.Add(binary.AppendUvarint(nil, v))
	}
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, n := binary.Uvarint(data)
		got, k := uvarint(data)
		if max(n, 0) != k || n > 0 && got != want {
			t.Errorf("% x: %d in %d bytes, want %d in %d", data, got, k, want, n)
		}
	})
}

// FuzzRead reads whatever comes: no panic, no hang, and no more events than bytes.
func FuzzRead(f *testing.F) {
	f.Add(handOver())
	f.Add(handOver()[headerSize:])
	f.Add(newWriter("22").Bytes())
	data := realTrace(f)
	f.Add(data[:min(len(data), 20_000)])
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		s := readAll(t, data, 1)
		if s.stats.Events > uint64(len(data)) {
			t.Errorf("%d events in %d bytes", s.stats.Events, len(data))
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%d bytes take %v", len(data), took)
		}
	})
}

// TestAlign takes the header of one batch after the other away from a real trace: its events come back at about the time that they had.
// Where no goroutine of it was seen on another thread shortly before or after, hardly anything binds its time: one in ten may be such a one.
func TestAlign(t *testing.T) {
	data := realTrace(t)
	whole, _ := batchesOf(t, data)
	checked, far := 0, 0
	for i, b := range whole {
		if b.size < 4096 || specs[b.first].args == noArgs || i == 0 {
			continue
		}
		spoilt := bytes.Clone(data)
		clear(spoilt[whole[i-1].end():b.off])
		r := generations{frames: frames{file: bytes.NewReader(spoilt), size: int64(len(spoilt)), at: int64(headerSize)}}
		for {
			g, err := r.next()
			if err != nil {
				break
			}
			for _, o := range g.batches {
				if !o.orphan {
					continue
				}
				checked++
				const near = uint64(50 * time.Millisecond / 64) // ticks
				if off := max(o.time, b.time) - min(o.time, b.time); off > near {
					t.Logf("batch %d of thread %d is off by %d ticks", i, b.m, off)
					far++
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no batch is long enough")
	}
	if 10*far > checked {
		t.Errorf("%d of %d batches are far off", far, checked)
	}
	t.Logf("%d batches without a header", checked)
}

func TestBetween(t *testing.T) {
	for _, test := range []struct{ low, high, guess, want uint64 }{
		{100, 200, 7, 150}, {100, math.MaxUint64, 7, 100}, {0, 200, 7, 200}, {0, math.MaxUint64, 7, 7}, {200, 100, 7, 200},
	} {
		if got := between(test.low, test.high, test.guess); got != test.want {
			t.Errorf("between %d and %d or %d: %d, want %d", test.low, test.high, test.guess, got, test.want)
		}
	}
}

// TestSoundTail has a goroutine that does the same all the time: read from the middle of an event on, that looks like events too, but for the
// last one.
func TestSoundTail(t *testing.T) {
	period := []byte{byte(GoStart), 19, 19, 2, byte(GoBlock), 16, 19, 2}
	data := append([]byte{255, 255}, bytes.Repeat(period, 1000)...)
	wrong := validPrefix(data[3:])
	if wrong < 3000 {
		t.Fatalf("only %d bytes look like events from a wrong place on", wrong)
	}
	if at := soundTail(data); at != 2 {
		t.Errorf("the events begin at %d, want 2", at)
	}
	if at := soundTail([]byte{255, 255}); at != 2 {
		t.Errorf("of nothing: %d, want 2", at)
	}
}
