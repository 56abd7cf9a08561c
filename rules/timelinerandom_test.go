package rules_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/rules"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

// lenient are limits under which little sense is enough for a finding.
var lenient = map[string]float64{"slow-dependency.max-others": 1e12, "slow-dependency.max-parallel": 1e12, "slow-dependency.max-running": 1e12,
	"slow-dependency.min-busy": 1e-6, "lock-hog.contended": 1e-6, "lock-hog.mean-waiters": 1e-6, "lock-hot.contended": 1e-6, "lock-hot.mean-waiters": 1e-6}

// TestRandomTimelines runs all rules over Timelines that make no sense. No rule may fail, and what is found must be fit to be printed.
func TestRandomTimelines(t *testing.T) {
	found := map[string]int{}
	for seed := range uint64(1500) {
		c := randomTimeline(rand.New(rand.NewPCG(seed, 1)))
		res, err := diagnosis.Run(context.Background(), c, rules.All(), diagnosis.Options{Limits: lenient})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range res.NotChecked {
			if strings.HasPrefix(s.Why, "failed") {
				t.Errorf("seed %d: %s %s", seed, s.Rule, s.Why)
			}
		}
		for i := range res.Findings {
			f := &res.Findings[i]
			found[f.Rule]++
			for _, fault := range ruletest.Faults(c, f) {
				t.Errorf("seed %d: %s: %s", seed, f.Rule, fault)
			}
			for _, text := range texts(f) {
				if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, "%!") {
					t.Errorf("seed %d: %s says %q", seed, f.Rule, text)
				}
			}
		}
	}
	t.Logf("findings %v", found)
	for _, rule := range []string{"lock-hog", "lock-hot", "slow-dependency"} {
		if found[rule] == 0 {
			t.Errorf("no Timeline gives a finding of %s: %v", rule, found)
		}
	}
}

func texts(f *diagnosis.Finding) []string {
	list := []string{f.Claim}
	for _, r := range append(f.Because[:len(f.Because):len(f.Because)], f.Against...) {
		list = append(list, r.Text)
	}
	return list
}

// randomStacks are stacks that mean something to the rules, written innermost first.
var randomStacks = []string{
	"sync.(*Mutex).Lock main.(*A).Do main.run", "sync.(*Mutex).Lock main.(*B).Do main.run", "sync.(*RWMutex).Lock main.(*A).Set", "sync.(*RWMutex).RLock main.(*A).Get",
	"sync.(*Mutex).Lock log.(*Logger).output log.Printf main.run", "sync.(*Mutex).Lock sync.(*Once).doSlow sync.(*Once).Do main.run",
	"internal/poll.(*fdMutex).rwlock internal/poll.(*FD).writeLock internal/poll.(*FD).Write os.(*File).write os.(*File).Write main.run",
	"sync.(*Mutex).Unlock main.(*A).Do main.run", "sync.(*Mutex).Unlock main.(*B).Do main.run", "sync.(*RWMutex).Unlock main.(*A).Set", "sync.(*RWMutex).RUnlock main.(*A).Get",
	"sync.(*Mutex).Unlock log.(*Logger).output log.Printf main.run", "sync.(*Mutex).Unlock sync.(*Once).doSlow sync.(*Once).Do main.run",
	"time.Sleep main.(*A).Do main.run", "runtime.chanrecv1 main.(*B).Do main.run", "runtime.chansend1 main.(*B).Do main.run", "runtime.gcParkAssist main.(*A).Do",
	"syscall.write syscall.Write internal/poll.(*FD).Write os.(*File).write os.(*File).Write main.(*A).Do main.run",
	"runtime.selectgo net/http.(*persistConn).roundTrip net/http.(*Client).do main.fetch main.run", "internal/poll.(*FD).Read net.(*netFD).Read net.(*conn).Read main.fetch",
	"internal/poll.(*FD).Accept net.(*netFD).accept main.listen", "runtime.Gosched main.spin", "main.spin", "",
}

var randomReasons = []string{"sync", "sync", "sync", "network", "select", "sleep", "chan receive", "chan send", "", "GC mark assist wait for work", "preempted"}

// random makes the rows of a Timeline.
type random struct {
	*rand.Rand
	stacks []evidence.StackID
	line   evidence.Timeline
}

func (r *random) stack() evidence.StackID { return r.stacks[r.IntN(len(r.stacks))] }

// ns is a duration of any order of magnitude.
func (r *random) ns() uint64 { return r.Uint64() >> (20 + r.IntN(44)) }

func (r *random) hist() (h evidence.Histogram) {
	for range r.IntN(4) {
		h[r.IntN(len(h))] = uint32(r.IntN(2000))
	}
	return h
}

func (r *random) load() (list []uint32) {
	for range r.IntN(evidence.MaxSlices) {
		list = append(list, uint32(r.IntN(20000)))
	}
	return list
}

func (r *random) top() (list []evidence.Share) {
	for range r.IntN(evidence.MaxShares) {
		list = append(list, evidence.Share{Goroutine: int64(r.IntN(30)), Count: uint64(r.IntN(1000))})
	}
	return list
}

func (r *random) site() evidence.Site {
	return evidence.Site{Kind: evidence.SiteKind(r.IntN(7)) * evidence.SiteKind(r.IntN(2)), Reason: randomReasons[r.IntN(len(randomReasons))], Stack: r.stack(),
		Count: uint64(r.IntN(5000)), TotalNS: r.ns(), MaxNS: r.ns(), Hist: r.hist(), BusyNS: r.ns(), Peak: r.IntN(60), Open: r.IntN(3), Unwoken: uint64(r.IntN(100)),
		RunNS: r.ns(), FirstNS: int64(r.ns()), LastNS: int64(r.ns()), Load: r.load(), Top: r.top()}
}

func (r *random) release() evidence.Release {
	v := evidence.Release{Site: r.IntN(len(r.line.Sites)), Stack: r.stack(), Count: uint64(r.IntN(5000)), WaitNS: r.ns(), MaxWait: r.ns(),
		HoldNS: r.ns() * uint64(r.IntN(2)), MaxHold: r.ns(), Holds: r.hist(), Top: r.top()}
	for range r.IntN(evidence.MaxParts) {
		v.Parts = append(v.Parts, evidence.HoldPart{State: evidence.ActState(r.IntN(4)), Reason: randomReasons[r.IntN(len(randomReasons))], Stack: r.stack(),
			NS: r.ns(), Count: uint64(r.IntN(100))})
	}
	return v
}

func randomTimeline(rnd *rand.Rand) *evidence.Case {
	b := evidence.NewBuilder()
	b.Process(func(p *evidence.Process) {
		p.Language, p.SourceRoot, p.MainModule = "go", "/go/src/", "example.com/app"
	})
	r := &random{Rand: rnd, line: evidence.Timeline{Form: fmt.Sprintf("go 1.%d trace", 20+rnd.IntN(7)), SpanNS: int64(rnd.Uint64() >> (28 + rnd.IntN(10)))}}
	for i, text := range randomStacks {
		var ids []evidence.FrameID
		for _, function := range strings.Fields(text) {
			f := evidence.Frame{Function: function, File: "/go/src/x.go", Line: i + 1}
			if strings.HasPrefix(function, "main.") {
				f.File = "/src/app/main.go"
			}
			ids = append(ids, b.Frame(f))
		}
		r.stacks = append(r.stacks, b.Stack(ids, evidence.StackNote{}))
	}
	r.line.SliceNS, r.line.Procs = r.line.SpanNS/64, r.IntN(5)
	r.line.RunNS, r.line.ReadyNS, r.line.Lost = r.ns()*uint64(r.IntN(2)), r.ns(), uint64(r.IntN(3)/2)
	for range 1 + r.IntN(40) {
		r.line.Sites = append(r.line.Sites, r.site())
	}
	for range r.IntN(40) {
		r.line.Releases = append(r.line.Releases, r.release())
	}
	for range r.IntN(5) {
		r.line.Spawns = append(r.line.Spawns, evidence.Spawn{Stack: r.stack(), Created: uint64(r.IntN(1000)), Live: r.IntN(1000), Alive: r.load(), Births: r.load()})
	}
	for g := range r.IntN(5) * min(len(r.line.Spawns), 1) {
		r.line.Actors = append(r.line.Actors, evidence.Actor{Goroutine: int64(g), Spawn: r.IntN(len(r.line.Spawns)), RunNS: r.ns(), Runs: r.ns(), Load: r.load()})
	}
	b.Timeline(r.line)
	return b.Finish()
}
