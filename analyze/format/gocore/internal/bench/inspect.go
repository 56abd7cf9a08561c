package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"time"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/text"
	"github.com/gopostmortem/postmortem/rules"
)

// inspectFlag makes the benchmark a stand-in of the command that looks at its own heap, which no other process can.
const inspectFlag = "inspect"

// sampleEvery is the distance of two looks at the heap. At 2 ms a peak between two collections is not missed: the heap grows
// by single megabytes meanwhile.
const sampleEvery = 2 * time.Millisecond

// peaks are the largest figures seen, in bytes.
type peaks struct {
	live  uint64 // objects, the dead that no collection has swept included (HeapAlloc)
	inUse uint64 // spans in use (HeapInuse)
}

// The runtime's names of what HeapAlloc and HeapInuse are made of (package runtime/metrics).
const (
	metricObjects = "/memory/classes/heap/objects:bytes"
	metricUnused  = "/memory/classes/heap/unused:bytes"
)

// watch samples the heap until stop is closed, and sends the peaks.
func watch(stop <-chan struct{}) <-chan peaks {
	result := make(chan peaks, 1)
	go func() {
		var top peaks
		sample := []metrics.Sample{{Name: metricObjects}, {Name: metricUnused}}
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			objects := sample[0].Value.Uint64()
			top.live = max(top.live, objects)
			top.inUse = max(top.inUse, objects+sample[1].Value.Uint64())
			select {
			case <-stop:
				result <- top
				return
			case <-tick.C:
			}
		}
	}()
	return result
}

// As the command does with large cores: cmd/postmortem, tuneCollector.
const (
	largeCore     = 2 << 30
	collectOften  = 15
	collectSeldom = 400
)

// inspect diagnoses a core as the command does and prints the peaks of the heap, for measureHeap. With a folder it writes
// profiles instead, without the sampling that would show up in them.
func inspect(ctx context.Context, core, folder string) error {
	if folder != "" {
		return profile(ctx, core, folder)
	}
	if info, err := os.Stat(core); err == nil && info.Size() >= largeCore {
		debug.SetGCPercent(collectOften)
	} else {
		debug.SetGCPercent(collectSeldom)
	}
	stop := make(chan struct{})
	top := watch(stop)
	result, err := diagnose(ctx, core)
	close(stop)
	if err != nil {
		return err
	}
	p := <-top
	fmt.Println(p.live, p.inUse)
	runtime.KeepAlive(result)
	return nil
}

// diagnose is the way of `postmortem core`: open, rules, report.
func diagnose(ctx context.Context, core string) (*diagnosis.Result, error) {
	c, err := analyze.Open(ctx, []string{core}, format.Options{})
	if err != nil {
		return nil, err
	}
	result, err := diagnosis.Run(ctx, c, rules.All(), diagnosis.Options{})
	if err != nil {
		return nil, err
	}
	doc := report.Build(result, report.Meta{Tool: "postmortem", Version: "bench"})
	return result, text.Write(io.Discard, doc, text.Options{})
}

// profile writes CPU and heap profiles of one diagnosis.
func profile(ctx context.Context, core, folder string) error {
	cpu, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err != nil {
		return err
	}
	defer cpu.Close()
	runtime.SetCPUProfileRate(profileRate)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	result, err := diagnose(ctx, core)
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	heap, err := os.Create(filepath.Join(folder, "heap.pprof"))
	if err != nil {
		return err
	}
	defer heap.Close()
	runtime.GC()
	err = pprof.WriteHeapProfile(heap)
	runtime.KeepAlive(result)
	return err
}

// profileRate is in samples per second: a run takes a fraction of a second, and the usual hundred say little about it; Linux counts no more than this.
const profileRate = 250

// profileAll profiles the command on each core, in a process of its own.
func profileAll(ctx context.Context, cores []coreSpec, folder string) error {
	for _, c := range cores {
		got, err := c.obtain(ctx)
		if err != nil {
			return err
		}
		dir := filepath.Join(folder, c.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := measure.Run(ctx, []string{os.Args[0], "-" + inspectFlag, got.Core, "-profile", dir}); err != nil {
			return err
		}
		fmt.Println(dir)
	}
	return nil
}
