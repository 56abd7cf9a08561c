package gotrace_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
	"github.com/gopostmortem/postmortem/rules"
)

// traceEnv names the trace of the benchmarks below. Without it they take one of those that the benchmark of the command keeps
// (go run ./analyze/format/gotrace/internal/bench -make). To profile:
//
//	POSTMORTEM_TRACE=file go test -run - -bench Read/jobs=1 -cpuprofile cpu.pprof ./analyze/format/gotrace
const traceEnv = "POSTMORTEM_TRACE"

// largeTrace is the trace of the benchmarks, in the page cache.
func largeTrace(b *testing.B) (path string, size int64) {
	path = os.Getenv(traceEnv)
	if cache, err := os.UserCacheDir(); path == "" && err == nil {
		if kept, _ := filepath.Glob(filepath.Join(cache, "postmortem", "bench", "traces", "server-*.trace")); len(kept) > 0 {
			path = kept[0]
		}
	}
	if path == "" {
		b.Skipf("no trace: set %s, or have one made by go run ./analyze/format/gotrace/internal/bench -make -traces server", traceEnv)
	}
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if size, err = io.Copy(io.Discard, file); err != nil {
		b.Fatal(err)
	}
	return path, size
}

// BenchmarkRead reads a trace into a Case: order and folds, no rules.
func BenchmarkRead(b *testing.B) {
	path, size := largeTrace(b)
	for _, jobs := range []int{1, 2} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			head := make([]byte, min(size, format.HeadSize))
			if _, err := file.ReadAt(head, 0); err != nil {
				b.Fatal(err)
			}
			in := format.Input{Path: path, File: file, Size: size, Head: head, Options: format.Options{Jobs: jobs}}
			measureReads(b, size, func() (*evidence.Case, error) {
				to := evidence.NewBuilder()
				err := gotrace.Format.Read(context.Background(), in, to)
				return to.Finish(), err
			})
		})
	}
}

// BenchmarkDiagnosis is what the command does: a trace becomes a report in JSON, by all rules.
func BenchmarkDiagnosis(b *testing.B) {
	path, size := largeTrace(b)
	for _, jobs := range []int{1, 2} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			ctx := context.Background()
			measureReads(b, size, func() (*evidence.Case, error) {
				c, err := analyze.Open(ctx, []string{path}, format.Options{Jobs: jobs})
				if err != nil {
					return nil, err
				}
				result, err := diagnosis.Run(ctx, c, rules.All(), diagnosis.Options{})
				if err != nil {
					return nil, err
				}
				return c, jsonreport.Write(io.Discard, report.Build(result, report.Meta{Tool: "postmortem"}), jsonreport.Options{})
			})
		})
	}
}

// measureReads reports MB/s, nanoseconds an event and the peak of the heap, garbage included, beside what package testing does.
func measureReads(b *testing.B, size int64, read func() (*evidence.Case, error)) {
	b.SetBytes(size)
	b.ReportAllocs()
	stop := make(chan struct{})
	peak := watchHeap(stop)
	var events uint64
	for b.Loop() {
		c, err := read()
		if err != nil {
			b.Fatal(err)
		}
		if c.Timeline == nil || c.Timeline.Events == 0 {
			b.Fatal("no events were read")
		}
		events = c.Timeline.Events
	}
	close(stop)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
	b.ReportMetric(float64(<-peak)/1e6, "peak-heap-MB")
}

// watchHeap samples the bytes of heap objects until stop is closed, and sends the most.
func watchHeap(stop <-chan struct{}) <-chan uint64 {
	result := make(chan uint64, 1)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var top uint64
		for {
			metrics.Read(sample)
			top = max(top, sample[0].Value.Uint64())
			select {
			case <-stop:
				result <- top
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return result
}
