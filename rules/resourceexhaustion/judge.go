package resourceexhaustion

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// judge is one run of the rule.
type judge struct {
	p        *diagnosis.Pass
	c        *evidence.Case
	f        *derive.Frames
	slots    *derive.Slots
	findings []diagnosis.Finding
	told     map[*derive.Resource]bool // as part of another one's circle
}

// maxFindings bounds what is told: a program with more exhausted pools has one disease.
const maxFindings = 20

func (j *judge) resource(r *derive.Resource) {
	if j.told[r] || len(j.findings) >= maxFindings {
		return
	}
	queue := float64(r.Total)
	switch shortage := r.Shortage(); {
	case shortage == derive.ShortageCircle:
		j.circle(r)
	case r.Shared():
		j.p.Silent("%d goroutines wait for the result of one call", r.Total)
	case queue < j.p.Limit("min-waiters") && !r.DeadPool():
		j.p.Silent("%d goroutines wait for %s", r.Total, r.Name)
	case shortage == derive.ShortageLost:
		j.lost(r)
	case shortage == derive.ShortageStuck && (r.DeadPool() || r.Limit > 0 && queue >= j.p.Limit("stuck-queue")*float64(r.Limit)):
		j.stuck(r)
	case r.Guessed && len(r.Holders) == 0:
		j.unseen(r)
	case shortage == derive.ShortageStuck:
		j.p.Silent("%d goroutines wait for %s, whose slots are used by goroutines that wait for something else", r.Total, r.Name)
	default:
		j.p.Silent("%d goroutines wait for %s, but those who have its slots get on", r.Total, r.Name)
	}
}

// sure reports whether every holder is the only one that can have its slot.
func sure(r *derive.Resource) bool {
	for i := range r.Holders {
		if !r.Holders[i].Sure() {
			return false
		}
	}
	return len(r.Holders) > 0
}

// outside reports whether every holder waits for something outside of the process, be it time.
func outside(r *derive.Resource) bool {
	return !slices.ContainsFunc(r.Holders, func(h derive.SlotHolder) bool {
		switch h.Doing.Activity {
		case derive.ActivityFile, derive.ActivityNetwork, derive.ActivityResolve, derive.ActivityProcess, derive.ActivitySyscall, derive.ActivitySleep:
			return false
		}
		return true
	})
}

// circle reports holders that all wait for another slot.
func (j *judge) circle(r *derive.Resource) {
	if (r.Group() || j.inGroup(r)) && !r.Guessed {
		j.p.Silent("the tasks of %s start further tasks and wait for room: see deadlock-comm", r.Name)
		return
	}
	f := j.begin(r)
	f.Claim = j.circleClaim(r)
	f.Fix = circleFix
	f.Confidence, f.Severity = diagnosis.Possible, diagnosis.Warning
	switch {
	case r.Dead():
		f.Confidence, f.Severity = diagnosis.Proved, diagnosis.Critical
	case (sure(r) || r.Self && r.Others == 0) && !r.Guessed:
		f.Confidence, f.Severity = diagnosis.Likely, diagnosis.Critical
	}
	f.Because = append(f.Because, j.holders(r)...)
	f.Against = append(f.Against, j.others(r)...)
	if r.Self {
		f.Because = append(f.Because, diagnosis.Reason{Refs: j.refs(r.Rows, 3),
			Text: "everybody whose code takes something out of it stands in the queue of those who put something in"})
	}
	for _, h := range r.Holders {
		if other := &j.slots.List[h.Asks]; other != r {
			j.tell(other)
		}
	}
	j.end(r, f)
}

// inGroup reports whether a channel is that of an errgroup with a limit: everybody asks for its slots in Go (golang.org/x/sync/errgroup,
// errgroup.go, since v0.1.0).
func (j *judge) inGroup(r *derive.Resource) bool {
	return len(r.Asking) > 0 && !slices.ContainsFunc(r.Asking, func(a derive.SlotAsking) bool {
		_, in := derive.Has(j.c.Stack(j.c.Goroutines().StackOf(int(a.Row))), "golang.org/x/sync/errgroup.(*Group).Go")
		return !in
	})
}

// tell leaves out a resource that stands in another one's finding.
func (j *judge) tell(r *derive.Resource) {
	if j.told == nil {
		j.told = map[*derive.Resource]bool{}
	}
	j.told[r] = true
}

// lost reports slots that nobody is seen to have.
func (j *judge) lost(r *derive.Resource) {
	if r.Self && !r.Blank {
		j.p.Silent("%d goroutines wait to receive from %s, and may just have nothing to do", r.Total, r.Name)
		return
	}
	f := j.begin(r)
	f.Claim = j.lostClaim(r)
	f.Fix = lostFix
	f.Confidence, f.Severity = diagnosis.Likely, diagnosis.Warning
	if len(r.Holders) > 0 || r.Used < 0 || r.Self {
		f.Confidence = diagnosis.Possible
	}
	switch {
	case r.Dead():
		f.Confidence, f.Severity = diagnosis.Proved, diagnosis.Critical
	case float64(r.Oldest) >= j.p.Limit("critical-seconds") && f.Confidence == diagnosis.Likely:
		f.Severity = diagnosis.Critical
	case r.Self && r.Sends && float64(r.Total) < j.p.Limit("stuck-queue")*float64(r.Limit):
		f.Severity = diagnosis.Info // a slot may belong to something that is no goroutine: a connection that is open
	}
	f.Because = append(f.Because, j.unowned(r)...)
	f.Because = append(f.Because, j.holders(r)...)
	f.Against = append(f.Against, j.others(r)...)
	if f.Confidence < diagnosis.Proved {
		f.Against = append(f.Against, diagnosis.Reason{Refs: []evidence.Ref{r.Ref},
			Text: "who keeps a slot in a structure that is far from its frames, or in a global, is not seen"})
	}
	j.end(r, f)
}

// others speaks against a queue that nobody else would serve: who refers to it may.
func (j *judge) others(r *derive.Resource) []diagnosis.Reason {
	if !r.Self || r.Others == 0 {
		return nil
	}
	may := "put something in"
	if r.Sends {
		may = "take something out"
	}
	return []diagnosis.Reason{{Refs: []evidence.Ref{r.Ref},
		Text: derive.Count(r.Others, "other goroutine refers", "other goroutines refer") + " to the channel and may " + may}}
}

// stuck reports holders that are blocked in something else.
func (j *judge) stuck(r *derive.Resource) {
	f := j.begin(r)
	f.Claim = j.stuckClaim(r)
	f.Confidence, f.Severity = diagnosis.Possible, diagnosis.Warning
	switch {
	case r.Dead():
		f.Confidence, f.Severity = diagnosis.Proved, diagnosis.Critical
	case float64(r.Oldest) < j.p.Limit("stuck-seconds") && outside(r):
		f.Severity = diagnosis.Info // just what a limit on calls to the outside looks like under load
	case float64(r.Oldest) >= j.p.Limit("stuck-seconds") && sure(r):
		f.Confidence = diagnosis.Likely
	}
	f.Because = append(f.Because, j.holders(r)...)
	if r.Oldest == 0 {
		f.Against = append(f.Against, diagnosis.Reason{Refs: j.refs(r.Rows, 1),
			Text: "the evidence has no waiting times: it is one moment, and what the holders wait for may come right after it"})
	}
	j.end(r, f)
}

// unseen reports waiters in a dump that shows nobody who could have a slot.
func (j *judge) unseen(r *derive.Resource) {
	f := j.begin(r)
	f.Claim = j.lostClaim(r)
	f.Fix = lostFix
	f.Confidence, f.Severity = diagnosis.Possible, diagnosis.Warning
	f.Against = append(f.Against, diagnosis.Reason{Refs: j.refs(r.Rows, 1),
		Text: "stacks alone do not show who keeps a slot while it is outside of the pool's own code"})
	j.end(r, f)
}
