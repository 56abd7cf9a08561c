package gocore

import (
	"encoding/binary"
	"math"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Names of P statuses and collector phases (runtime/runtime2.go, runtime/mgc.go, Go 1.21 to 1.26).
var (
	processorStatus = []string{"idle", "running", "syscall", "gcstop", "dead"}
	collectorPhase  = []string{"off", "mark", "mark termination"}
)

// maxProcessors bounds allp (runtime/runtime2.go had 1024 until Go 1.10; now the only bound is memory).
const maxProcessors = 1 << 16

// readScheduler reads allp and sched.
func (t *target) readScheduler() {
	allp, ok := t.vars.addr("runtime.allp")
	if !ok {
		t.b.Gap("scheduler", "the address of runtime.allp is not known")
		return
	}
	ptr, _ := t.core.Mem.Uint64(allp)
	n, _ := t.core.Mem.Uint64(allp + 8)
	if n == 0 || n > maxProcessors {
		t.b.Gapf("scheduler", "runtime.allp says %d processors", n)
		return
	}
	s := evidence.Scheduler{GOMAXPROCS: int(n)}
	if v, ok := t.int32("runtime.gomaxprocs"); ok && v > 0 {
		s.GOMAXPROCS = int(v)
	}
	for _, name := range []string{"runtime.ncpu", "runtime.numCPUStartup"} {
		if v, ok := t.int32(name); ok && s.CPUs == 0 {
			s.CPUs = int(v)
		}
	}
	for i := range n {
		if p, ok := t.core.Mem.Uint64(ptr + 8*i); ok && p != 0 {
			s.Processors = append(s.Processors, t.processor(p))
		}
	}
	t.readSched(&s)
	if v, ok := t.word("runtime.gcphase"); ok {
		s.GCPhase = nameAt(collectorPhase, uint64(uint32(v)))
	}
	t.b.Scheduler(s)
}

func nameAt(names []string, i uint64) string {
	if i < uint64(len(names)) {
		return names[i]
	}
	return "unknown"
}

func (t *target) readSched(s *evidence.Scheduler) {
	sched, ok := t.vars.addr("runtime.sched")
	if !ok {
		t.b.Gap("global run queue", "the address of runtime.sched is not known")
		return
	}
	o := &t.off.Sched
	mem := t.core.Mem
	idle, _ := mem.Uint32(sched + o.IdlePs)
	spinning, _ := mem.Uint32(sched + o.Spinning)
	queue, _ := mem.Uint32(sched + o.QueueSize)
	waiting, _ := mem.Uint32(sched + o.GCWaiting)
	s.IdlePs, s.SpinningMs, s.GlobalQueue, s.GCWaiting = int(idle), int(spinning), int(int32(queue)), waiting&0xff != 0
	if last, ok := mem.Uint64(sched + o.LastPoll); ok {
		t.saw(int64(last))
	}
}

func (t *target) processor(p uint64) evidence.Processor {
	o := &t.off.P
	mem := t.core.Mem
	id, _ := mem.Uint32(p + o.ID)
	status, _ := mem.Uint32(p + o.Status)
	tick, _ := mem.Uint32(p + o.SchedTick)
	calls, _ := mem.Uint32(p + o.SyscallTick)
	head, _ := mem.Uint32(p + o.RunQHead)
	tail, _ := mem.Uint32(p + o.RunQTail)
	next, _ := mem.Uint64(p + o.RunNext)
	m, _ := mem.Uint64(p + o.M)
	out := evidence.Processor{ID: int(int32(id)), Status: nameAt(processorStatus, uint64(status)), SchedTick: tick,
		SyscallTick: calls, Queue: int(tail - head), M: -1}
	if next != 0 {
		out.Queue++
	}
	if machine := t.byAddr[m]; machine != nil {
		out.M, out.Running = machine.id, machine.goid
	}
	t.sawField(p, o.TickWhen)
	t.sawField(p, o.CallWhen)
	return out
}

// readPollTime finds the time from the thread that waits for the network until the next timer: sched.pollUntil is when the
// timer is due, and the delay how far away that was when the wait began (runtime/proc.go, findRunnable).
func (t *target) readPollTime() {
	if until, ok := t.field("runtime.sched", "runtime.schedt.pollUntil"); ok && t.pollDelay > 0 && until > 0 {
		t.saw(int64(until) - t.pollDelay)
	}
}

// saw notes a time that the runtime has recorded: the process lived at least until then. Times of the future (timers) must
// not be given.
func (t *target) saw(nanotime int64) {
	if nanotime > t.now && nanotime < math.MaxInt64/2 {
		t.now = nanotime
	}
}

func (t *target) sawField(base, off uint64) {
	if off == absent {
		return
	}
	if v, ok := t.core.Mem.Uint64(base + off); ok {
		t.saw(int64(v))
	}
}

// readTimes finds how long the process had run.
func (t *target) readTimes() {
	t.readPollTime()
	if last, ok := t.field("runtime.memstats", "runtime.mstats.last_gc_nanotime"); ok {
		t.saw(int64(last))
	}
	begin, ok := t.word("runtime.runtimeInitTime")
	if ok && t.now > int64(begin) && begin > 0 {
		t.b.Process(func(p *evidence.Process) { p.UptimeNS = t.now - int64(begin) })
	}
}

// readHeap reads the collector's figures.
func (t *target) readHeap() {
	var h evidence.Heap
	live, ok := t.field("runtime.gcController", "runtime.gcControllerState.heapLive")
	if !ok {
		t.b.Gap("heap figures", "the address of runtime.gcController is not known")
		return
	}
	h.Live = live
	h.Marked, _ = t.field("runtime.gcController", "runtime.gcControllerState.heapMarked")
	h.InUse, _ = t.field("runtime.gcController", "runtime.gcControllerState.heapInUse")
	h.TotalAlloc, _ = t.field("runtime.gcController", "runtime.gcControllerState.totalAlloc")
	h.Limit, _ = t.field("runtime.gcController", "runtime.gcControllerState.memoryLimit")
	if percent, ok := t.field("runtime.gcController", "runtime.gcControllerState.gcPercent"); ok {
		h.Percent = int64(int32(percent))
	}
	h.Goal = t.heapGoal(h)
	cycles, _ := t.field("runtime.memstats", "runtime.mstats.numgc")
	forced, _ := t.field("runtime.memstats", "runtime.mstats.numforcedgc")
	h.Cycles, h.Forced = uint32(cycles), uint32(forced)
	h.PauseNS, _ = t.field("runtime.memstats", "runtime.mstats.pause_total_ns")
	if cpu, ok := t.field("runtime.memstats", "runtime.mstats.gc_cpu_fraction"); ok {
		if f := math.Float64frombits(cpu); f >= 0 && f <= 1 {
			h.CPU = f
		}
	}
	h.Sys = t.heapSys()
	h.Stacks, _ = t.field("runtime.memstats", "runtime.mstats.stacks_sys")
	h.LastGCNS = -1
	if last, ok := t.field("runtime.memstats", "runtime.mstats.last_gc_nanotime"); ok && last > 0 && t.now >= int64(last) {
		h.LastGCNS = t.now - int64(last)
	}
	t.b.Heap(h)
	t.figures = h
}

// heapGoal is the goal that follows from GOGC; the memory limit can only lower it (runtime/mgcpacer.go, heapGoalInternal).
func (t *target) heapGoal(h evidence.Heap) uint64 {
	goal, _ := t.field("runtime.gcController", "runtime.gcControllerState.gcPercentHeapGoal")
	if goal == 0 || goal == math.MaxUint64 {
		return 0
	}
	if h.Limit > 0 && h.Limit < goal {
		return h.Limit
	}
	return goal
}

// heapSys is what the heap has of the system: in use, free and released together.
func (t *target) heapSys() uint64 {
	var sum uint64
	for _, part := range []string{"heapInUse", "heapFree"} {
		v, _ := t.field("runtime.gcController", "runtime.gcControllerState."+part)
		sum += v
	}
	return sum
}

// le is the byte order of both architectures.
var le = binary.LittleEndian
