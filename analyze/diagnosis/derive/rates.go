package derive

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rates are the counters of the processors over the life of the process. A core shows a state; these averages are the only
// rates in it. The time is a lower bound, so the rates are upper bounds.
//
// Measured on two processors (Go 1.21.13 and 1.26.8, schedtrace), per second and processor: computing goroutines 30 to 50
// schedulings, a pipeline at 100 % CPU 50,000, an HTTP server under load 70,000 and 190,000 system calls, a Gosched loop
// 3,300,000 to 13,000,000, one-byte reads 1,900,000 system calls, a lock held for 3 ms at a time 150, a hot lock 3,000 to
// 130,000. A goroutine that another one wakes directly inherits the time slice and does not count: channel ping-pong and
// loops of tiny sleeps leave no trace here.
type Rates struct {
	Known    bool
	Seconds  float64 // how long the process had run, at least
	Sched    float64 // schedulings per second on the busiest processor
	Syscalls float64 // system calls per second on the busiest processor
	Ticks    uint32  // schedulings of the busiest processor
	Calls    uint32  // system calls of the busiest processor
	Refs     []evidence.Ref
}

// OfRates is the derivation of Rates.
var OfRates = &diagnosis.Derivation[Rates]{
	Name: "rates",
	Run:  func(p *diagnosis.Pass) (Rates, error) { return ratesOf(p.Case), nil },
}

// shortestRun is the time under which an average says nothing: start-up has bursts of its own.
const shortestRun = 0.1 // seconds

func ratesOf(c *evidence.Case) Rates {
	s := c.Scheduler
	if s == nil || len(s.Processors) == 0 {
		return Rates{}
	}
	var r Rates
	var sched, calls int
	for i, p := range s.Processors {
		if p.SchedTick > s.Processors[sched].SchedTick {
			sched = i
		}
		if p.SyscallTick > s.Processors[calls].SyscallTick {
			calls = i
		}
	}
	r.Ticks, r.Calls = s.Processors[sched].SchedTick, s.Processors[calls].SyscallTick
	r.Refs = []evidence.Ref{{Kind: evidence.RefProcessor, ID: uint64(s.Processors[sched].ID)}}
	if calls != sched {
		r.Refs = append(r.Refs, evidence.Ref{Kind: evidence.RefProcessor, ID: uint64(s.Processors[calls].ID)})
	}
	r.Seconds = float64(c.Process.UptimeNS) / 1e9
	if r.Seconds >= shortestRun && (r.Ticks > 0 || r.Calls > 0) {
		r.Known = true
		r.Sched, r.Syscalls = float64(r.Ticks)/r.Seconds, float64(r.Calls)/r.Seconds
	}
	return r
}
