package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// modes are the wait reasons that only the program itself can end (runtime/runtime2.go, waitReasonStrings, Go 1.21 to 1.26;
// "semacquire" is a wait group up to Go 1.24).
var modes = map[string]evidence.WaitMode{
	"chan receive": evidence.WaitReceive, "chan send": evidence.WaitSend, "select": evidence.WaitAny,
	"sync.Mutex.Lock": evidence.WaitLock, "sync.RWMutex.Lock": evidence.WaitLock, "sync.RWMutex.RLock": evidence.WaitRLock,
	"sync.WaitGroup.Wait": evidence.WaitZero, "semacquire": evidence.WaitAny, "sync.Cond.Wait": evidence.WaitSignal,
}

// modeOf is what a wait reason wants; the runtime appends a remark inside of testing/synctest (Go 1.24 to 1.26).
func modeOf(reason string) (evidence.WaitMode, bool) {
	if at := strings.Index(reason, " (durable)"); at >= 0 {
		reason = reason[:at]
	}
	mode, ok := modes[strings.TrimSuffix(reason, " (synctest)")]
	return mode, ok
}

// forever reports whether a wait reason is that of a wait that nothing ends.
func forever(reason string) bool { return reasonActivities[reason] == ActivityForever }

// addWaiters adds the goroutines that wait for an object of the graph, or that never wake. A goroutine with a timer that is about
// to fire is none, nor is one of the runtime's own.
func (g *WaitGraph) addWaiters() {
	rows, alarms := g.c.Goroutines(), map[int64]bool{}
	for _, a := range g.c.Alarms {
		alarms[a.Goroutine] = true
	}
	known := 0
	for i := range g.objects {
		known += len(g.c.Waiters(g.objects[i].sync.Addr))
	}
	g.waiters, g.edges = make([]waiter, 0, known), make([]waitEdge, 0, known)
	reason, mode, program, ever := "", evidence.WaitAny, false, false // of the row before: most have the same
	for i := range rows.Len() {
		row := rows.At(i)
		if (row.State != evidence.StateWaiting && row.State != evidence.StateLeaked) || row.Flags.Has(evidence.FlagSystem) {
			continue
		}
		if row.Reason != reason {
			reason, ever = row.Reason, forever(row.Reason)
			mode, program = modeOf(reason)
		}
		never := row.Wake == evidence.WakeNever || row.State == evidence.StateLeaked
		switch {
		case ever:
			g.addWaiter(i, never, true)
		case program && !alarms[row.ID]:
			g.addWaits(i, row, mode, never || g.asleep)
		}
	}
}

func (g *WaitGraph) addWaiter(row int, never, forever bool) int32 {
	n := int32(len(g.waiters))
	g.waiting[row] = n
	g.waiters = append(g.waiters, waiter{row: uint32(row), edge: -1, never: never || g.asleep, forever: forever})
	return n
}

// addWaits adds a goroutine with the ports it waits at. It is left out when it may be woken by what the graph does not know: then
// it may wake, and so may who depends on it.
func (g *WaitGraph) addWaits(i int, row evidence.Goroutine, mode evidence.WaitMode, never bool) {
	if row.WaitsOn != 0 {
		if _, known := g.index[row.WaitsOn]; known || never {
			n := g.addWaiter(i, never, false)
			g.addEdges(n, row.WaitsOn, mode)
		}
		return
	}
	waits := g.c.Waits(i)
	if len(waits) == 0 && !never {
		return
	}
	for _, w := range waits {
		if _, known := g.index[w.Sync]; !known && !never {
			return
		}
	}
	n := g.addWaiter(i, never, false)
	for _, w := range waits {
		g.addEdges(n, w.Sync, w.Mode)
	}
}

// addEdges adds the edge to the port that a mode asks for; where the direction of a select's case is not known, to both.
func (g *WaitGraph) addEdges(n int32, addr uint64, mode evidence.WaitMode) {
	at := g.object(addr)
	if mode != evidence.WaitSend {
		g.addEdge(n, portOf(at, false))
	}
	if mode == evidence.WaitSend || (mode == evidence.WaitAny && g.objects[at].sync.Kind == evidence.SyncChannel) {
		g.addEdge(n, portOf(at, true))
	}
}

func (g *WaitGraph) addEdge(n, p int32) {
	e := waitEdge{waiter: n, port: p, ofWaiter: g.waiters[n].edge, intoPort: g.ports[p].edge}
	g.waiters[n].edge, g.ports[p].edge = int32(len(g.edges)), int32(len(g.edges))
	g.edges = append(g.edges, e)
}

// WaitModeOf is what a goroutine with this wait reason wants of its object; WaitAny when the reason does not tell.
func WaitModeOf(reason string) evidence.WaitMode {
	mode, _ := modeOf(reason)
	return mode
}
