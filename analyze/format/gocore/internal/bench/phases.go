package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gopostmortem/postmortem/analyze"
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/analyze/format/internal/measure"
	"github.com/gopostmortem/postmortem/rules"
)

// phasesFlag makes the benchmark a stand-in of the command that tells what its parts took.
const phasesFlag = "phases"

// phases is what the parts of one diagnosis took, in CPU of the whole process, the garbage collector included.
type phases struct {
	Proof    time.Duration // from the index of the heap to the verdicts
	Mark     time.Duration // the marking alone
	MarkWall time.Duration
	Waits    time.Duration // locks, holders, wakers and pools, and all rules with the graph of who waits for whom

	Objects, Bytes uint64 // that were marked
	Goroutines     int
	Never          int // goroutines that can never wake
}

// clock takes the times at which a reader goes from one part to the next.
type clock struct {
	read, index      time.Duration // CPU when goroutines were read, when the proof began
	mark, marked     time.Duration
	begin, end       time.Time // of the marking
	goroutines       int
	indexed, proving bool
}

// progress is for format.Options.
func (c *clock) progress(doing string, done, total int64) {
	now := ownCPU()
	switch {
	case doing == format.ReadingGoroutines:
		c.read, c.goroutines = now, int(total)
	case doing == format.IndexingHeap:
		c.index, c.indexed = now, true
	case doing == format.MarkingHeap && done == 0:
		c.mark, c.begin = now, time.Now()
	case doing == format.MarkingHeap:
		c.marked, c.end, c.proving = now, time.Now(), true
	}
}

var errNoProof = errors.New("nothing was proved on this core")

// phases sums up; opened is the CPU when the core was read, and ruled when the rules were done.
func (c *clock) phases(opened, ruled time.Duration, proof *evidence.Proof) (phases, error) {
	if !c.indexed || !c.proving || proof == nil || !proof.Done {
		return phases{}, errNoProof
	}
	return phases{
		Proof: opened - c.index, Mark: c.marked - c.mark, MarkWall: c.end.Sub(c.begin), Waits: c.index - c.read + ruled - opened,
		Objects: proof.Objects, Bytes: proof.Bytes, Goroutines: c.goroutines, Never: proof.Never,
	}, nil
}

// tellPhases diagnoses a core and prints its phases, for measurePhases.
func tellPhases(ctx context.Context, core string, jobs int) error {
	if info, err := os.Stat(core); err == nil && info.Size() >= largeCore {
		debug.SetGCPercent(collectOften)
	}
	c := &clock{}
	found, err := analyze.Open(ctx, []string{core}, format.Options{Jobs: jobs, Reach: format.ReachProof, Progress: c.progress})
	if err != nil {
		return err
	}
	opened := ownCPU()
	if _, err := diagnosis.Run(ctx, found, rules.All(), diagnosis.Options{}); err != nil {
		return err
	}
	p, err := c.phases(opened, ownCPU(), found.Proof)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

// measurePhases has this command diagnose a core in another process, so many times, which tells its phases.
func measurePhases(ctx context.Context, core string, jobs, rounds int) ([]phases, []measure.Usage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var all []phases
	var uses []measure.Usage
	for range rounds {
		use, err := measure.Run(ctx, []string{self, "-" + phasesFlag, core, "-jobs", strconv.Itoa(jobs)})
		if err != nil {
			return nil, nil, err
		}
		var p phases
		if err := json.Unmarshal(use.Output, &p); err != nil {
			return nil, nil, fmt.Errorf("the run that tells its phases printed something else: %w", err)
		}
		all, uses = append(all, p), append(uses, use)
	}
	return all, uses, nil
}
