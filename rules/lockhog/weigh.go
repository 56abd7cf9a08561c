package lockhog

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// confidence is Likely when every holder on the way was inferred from memory without a rival that does something else, and
// the root's slowness does not rest on the shape of its stack. It is never Proved: Go's locks do not record their owner.
func confidence(q derive.Queue) diagnosis.Confidence {
	if q.Guessed || !q.Firm || q.Root.Holder.Doing.Activity == derive.ActivityLock {
		return diagnosis.Possible
	}
	for _, link := range q.Chain {
		sure := link.Holder.Grade == evidence.HoldPendingUnlock || link.Holder.Grade == evidence.HoldUnique
		if !sure && !q.Agree {
			return diagnosis.Possible
		}
	}
	return diagnosis.Likely
}

// severity is Critical when the holder is surely slow and either many wait, or half of the program waits for a holder that is
// parked. A system call alone is not enough for the latter: the snapshot may have caught an ordinary short write.
func (h *hog) severity(lock *derive.Lock, q derive.Queue) diagnosis.Severity {
	switch {
	case h.accepts(q.Root.Holder), h.leads(lock, q), lock.Once && !q.Root.Holder.Doing.Blocked():
		return diagnosis.Info // a turn that is taken, a leader, an initialisation that computes
	case lock.Once || !q.Firm:
		return diagnosis.Warning
	case float64(lock.Total) >= h.p.Limit("critical-waiters"):
		return diagnosis.Critical
	}
	half := float64(lock.Total) >= h.p.Limit("critical-share")*float64(h.users)
	parked := q.Root.Holder.G.State == evidence.StateWaiting || lock.Oldest > 0
	if half && parked {
		return diagnosis.Critical
	}
	return diagnosis.Warning
}

// leads reports whether a lock looks like one that makes a leader: who has it waits to receive, all others stand by at the line where it
// took it, and nobody needs them, be it main or a request.
func (h *hog) leads(lock *derive.Lock, q derive.Queue) bool {
	holder := q.Root.Holder
	if a := holder.Doing.Activity; a != derive.ActivityReceive && a != derive.ActivitySelect || len(q.Chain) != 1 || q.Guessed {
		return false
	}
	took, lines := h.c.Frame(holder.Site), h.waiterLines(lock)
	if len(lines) != 1 || lines[0].Frame.Function != took.Function || lines[0].Frame.Line != took.Line || len(h.forEver(q)) > 0 {
		return false
	}
	return !slices.ContainsFunc(lock.Waiters, func(w derive.LockWaiters) bool { return h.graph.Needs(w.Row) != derive.WantedByNobody })
}

// line is the line to open: what a blocked holder called, or for one that computes the line of the section that leads there.
func (h *hog) line(holder derive.Holder) (evidence.Frame, bool) {
	s := h.c.Stack(holder.G.Stack)
	from := 0
	if !holder.Doing.Blocked() && holder.Doing.Activity != derive.ActivityLock && !h.inOnce(holder) {
		from = min(holder.Depth, s.Len())
	}
	i, ok := h.f.UserFrameFrom(s, from)
	if !ok && from > 0 {
		i, ok = h.f.UserFrame(s)
	}
	if !ok {
		return evidence.Frame{}, false
	}
	return s.At(i), true
}

// inOnce reports whether the frame that holds the lock is sync.Once's: then the program's code is what it calls, not its caller.
func (h *hog) inOnce(holder derive.Holder) bool {
	s := h.c.Stack(holder.G.Stack)
	return holder.Depth < s.Len() && s.At(holder.Depth).Function == "sync.(*Once).doSlow"
}

// locations are the holder's line, where it took the lock, the middle of a chain, and where the waiters ask for it.
func (h *hog) locations(lock *derive.Lock, q derive.Queue) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(role diagnosis.Role, f evidence.Frame, ref evidence.Ref) {
		l := diagnosis.Location{Role: role, Frame: f, Ref: ref}
		if f.Function != "" && !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	for i := len(q.Chain) - 1; i >= 0; i-- {
		holder := q.Chain[i].Holder
		if at, ok := h.line(holder); ok {
			add(diagnosis.RoleHolder, at, holder.G.Ref())
		}
		add(diagnosis.RoleLock, h.c.Frame(holder.Site), holder.G.Ref())
	}
	if len(list) == 0 {
		s := h.c.Stack(q.Root.Holder.G.Stack)
		if s.Len() > 0 {
			add(diagnosis.RoleHolder, s.At(min(q.Root.Holder.Depth, s.Len()-1)), q.Root.Holder.G.Ref())
		}
	}
	return append(list, h.waiterLines(lock)...)
}

// maxWaiterLines bounds the places of waiters in one finding.
const maxWaiterLines = 5

// waiterLines are the distinct lines at which goroutines ask for the lock, those of most waiters first.
func (h *hog) waiterLines(lock *derive.Lock) []diagnosis.Location {
	var list []diagnosis.Location
	for _, w := range lock.Waiters {
		s := h.c.Stack(w.Stack)
		i, ok := h.f.UserFrame(s)
		if !ok {
			i = w.Frame
		}
		if i < 0 || i >= s.Len() {
			continue
		}
		at := s.At(i)
		known := slices.ContainsFunc(list, func(l diagnosis.Location) bool { return l.Frame.Function == at.Function && l.Frame.Line == at.Line })
		if !known && len(list) < maxWaiterLines {
			list = append(list, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: at})
		}
	}
	return list
}
